"""Random search: the baseline that any other way of searching has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwnas.select.search.encoding import Genomes
from hwnas.select.search.problem import Problem

__all__ = ["RandomSearch"]


class RandomSearch:
    """Follows :class:`hwnas.select.search.protocol.Strategy`; learns nothing."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def tell(
        self, genomes: Genomes, quality: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        """Nothing to learn."""

    def ask(self, count: int, seen: set[bytes], rng: np.random.Generator) -> Genomes:
        """Random subnets that meet the budgets."""
        return self._problem.draw(count, rng, seen)
