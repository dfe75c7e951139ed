"""What a search needs of a way of searching.

A strategy is asked for a batch, the batch is evaluated whole, and the strategy is told of it; then
again. It is told of the batches in their order, but a batch need not be the one that it asked for:
when a search goes on from a file, batches that were evaluated before are told without being asked
for. All it draws comes from the generator that it is handed with a call, which depends on the seed
and the number of the batch alone. So nothing else needs to be kept to go on, and neither the number
of workers nor their pace can change a result. One thread calls it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hwnas.select.search.encoding import Genomes

__all__ = ["Strategy"]

Floats = npt.NDArray[np.float64]


class Strategy(Protocol):
    """A way of searching; owned by one search."""

    def tell(self, genomes: Genomes, quality: Floats, rng: np.random.Generator) -> None:
        """A batch was evaluated: its rows [n, genes] and qualities [n], higher is better."""

    def ask(self, count: int, seen: set[bytes], rng: np.random.Generator) -> Genomes:
        """Up to ``count`` rows to evaluate next, distinct, none ``seen``, all within budgets.

        Called only after a batch was told. Fewer, or none, if it knows of no more.
        """
