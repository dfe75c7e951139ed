"""NSGA-II: each generation is bred from the survivors of those before, and evaluated whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwnas.select.search.encoding import Genomes
from hwnas.select.search.evolution import Evolution
from hwnas.select.search.problem import Problem

__all__ = ["Nsga2"]

Floats = npt.NDArray[np.float64]


class Nsga2:
    """Follows :class:`hwnas.select.search.protocol.Strategy`.

    Args:
        problem: searched.
        population: how many survive a generation.
        min_quality: what a subnet below is worth only as a parent.
    """

    def __init__(self, problem: Problem, population: int, min_quality: float | None) -> None:
        self._problem, self._min_quality = problem, min_quality
        self._evolution = Evolution(
            problem.encoding,
            population,
            len(problem.objectives) + 1,
            constrained=min_quality is not None,
        )

    def tell(self, genomes: Genomes, quality: Floats, rng: np.random.Generator) -> None:
        """Let the fittest of the population and the batch survive."""
        prices, _ = self._problem.prices(genomes)
        excess = (
            np.zeros(len(quality)) if self._min_quality is None else self._min_quality - quality
        )
        self._evolution.tell(genomes, np.column_stack((-quality, prices)), excess, rng)

    def ask(self, count: int, seen: set[bytes], rng: np.random.Generator) -> Genomes:
        """Children of the survivors."""
        return self._evolution.ask(count, rng, self._problem.unseen(seen))
