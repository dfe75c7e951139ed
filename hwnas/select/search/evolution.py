"""NSGA-II over rows of integers, whose objectives others work out.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002): survivors by rank
of domination and crowding distance, parents by binary tournament. The machinery is pymoo's. Choices
have no order, so parents are crossed gene by gene and a gene mutates to any of its other values.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import MissingExtra
from hwnas.select.search.encoding import Encoding, Genomes

__all__ = ["Evolution", "check_pymoo", "select_best"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ROUNDS = 50
"""Times that parents are paired at most to fill a generation with rows that are wanted."""


def check_pymoo() -> None:
    """Raise :class:`MissingExtra` if pymoo is not installed."""
    try:
        import pymoo  # noqa: F401
    except ImportError as error:
        raise MissingExtra("pymoo", "search") from error


class Evolution:
    """A population that is told what was evaluated and asked what to evaluate next.

    Args:
        encoding: of the space.
        size: how many survive a generation.
        objectives: how many there are.
        constrained: whether some rows may not be chosen.
    """

    def __init__(
        self, encoding: Encoding, size: int, objectives: int, *, constrained: bool
    ) -> None:
        from pymoo.algorithms.moo.nsga2 import binary_tournament
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.selection.tournament import TournamentSelection
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        self._encoding, self._size = encoding, size
        self._problem: Any = Problem(
            encoding.genes, objectives, n_ieq_constr=int(constrained), vtype=int
        )
        self._selection: Any = TournamentSelection(func_comp=binary_tournament)
        self._crossover: Any = UniformCrossover()
        self._survival: Any = RankAndCrowding()
        self._population: Any = None

    def tell(
        self, genomes: Genomes, objectives: Floats, excess: Floats, rng: np.random.Generator
    ) -> None:
        """Add rows and let the fittest survive.

        Args:
            genomes: [n, genes].
            objectives: [n, objectives], smaller is better.
            excess: [n], 0 or less where the row may be chosen; smaller is nearer.
            rng: breaks ties of crowding.
        """
        from pymoo.core.population import Population

        new = Population.new("X", genomes, "F", objectives, "G", excess[:, None])
        merged = new if self._population is None else Population.merge(self._population, new)
        self._population = self._survival.do(
            self._problem, merged, n_survive=self._size, random_state=rng
        )

    def ask(
        self, count: int, rng: np.random.Generator, wanted: Callable[[Genomes], Mask]
    ) -> Genomes:
        """Up to ``count`` new rows from survivors as parents.

        Args:
            count: of rows.
            rng: all that is drawn.
            wanted: [n, genes] to [n]: whether a row may be among them. Given those already found
                before the new ones; rows that it wants must be distinct.
        """
        found: Genomes = np.empty((0, self._encoding.genes), dtype=np.int64)
        if self._encoding.genes == 0 or count <= 0:
            return found
        for _ in range(_ROUNDS):
            children = self._children(count - len(found), rng)
            together = np.concatenate((found, children))
            mask = wanted(together)
            mask[: len(found)] = True
            found = together[mask][:count]
            if len(found) == count:
                break
        return found

    def _children(self, count: int, rng: np.random.Generator) -> Genomes:
        context = SimpleNamespace(tournament_type="comp_by_dom_and_crowding", random_state=rng)
        parents = self._selection(
            self._problem,
            self._population,
            -(-count // self._crossover.n_offsprings),
            n_parents=self._crossover.n_parents,
            random_state=rng,
            algorithm=context,
        )
        crossed = self._crossover(self._problem, parents, random_state=rng).get("X")
        return self._encoding.canonical(self._mutated(crossed.astype(np.int64), rng))

    def _mutated(self, genomes: Genomes, rng: np.random.Generator) -> Genomes:
        """Each gene changes with a chance of one in the number of genes, to any other value."""
        sizes = self._encoding.sizes
        change = rng.random(genomes.shape) < 1 / len(sizes)
        step = rng.integers(1, np.broadcast_to(sizes, genomes.shape))
        return np.where(change, (genomes + step) % sizes, genomes)


def select_best(objectives: Floats, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Indices of the ``count`` best rows: whole fronts, and of the last the least crowded.

    Args:
        objectives: [n, objectives], smaller is better.
        count: of rows; all if there are fewer.
        rng: breaks ties.
    """
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    indices = np.arange(len(objectives))
    if len(indices) <= count:
        return indices
    population = Population.new("X", indices[:, None], "F", objectives)
    problem = Problem(1, objectives.shape[1])
    kept = RankAndCrowding().do(problem, population, n_survive=count, random_state=rng)
    return np.sort(kept.get("X")[:, 0].astype(np.intp))
