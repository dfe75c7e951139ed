"""Exact selection where cost and quality are sums over blocks: integer programs, and HiGHS."""

from hwnas.select.milp.highs import solver
from hwnas.select.milp.problem import SECONDS, AdditiveProblem, Best, Query

__all__ = ["SECONDS", "AdditiveProblem", "Best", "Query", "solver"]
