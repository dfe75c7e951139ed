"""Search: good subnets where quality is known only by evaluating, and nothing can be proven.

Needs ``pip install 'hwnas[search]'``; what is missing is named when a search starts.
"""

from hwnas.select.search.hypervolume import Box, hypervolumes, reached
from hwnas.select.search.report import check_history, plot_histories, write_history
from hwnas.select.search.result import SearchResult
from hwnas.select.search.run import METHODS, POPULATION, Solve, search
from hwnas.select.search.surrogate import Surrogate

__all__ = [
    "METHODS",
    "POPULATION",
    "Box",
    "SearchResult",
    "Solve",
    "Surrogate",
    "check_history",
    "hypervolumes",
    "plot_histories",
    "reached",
    "search",
    "write_history",
]
