"""LINAS: evolve against a predictor, evaluate the best of what it promises, train again.

Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture Search Across
Modalities" (2022), with its 50 evaluations a round and 20,000 predicted ones between rounds. Only
quality is predicted: what subnets cost is known exactly, from the cost model that plans use too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwnas.select.pareto import pareto_front
from hwnas.select.search.encoding import Genomes
from hwnas.select.search.evolution import Evolution, select_best
from hwnas.select.search.predictor import Predictor
from hwnas.select.search.problem import Problem

__all__ = ["PREDICTED", "Linas"]

Floats = npt.NDArray[np.float64]

PREDICTED = 20_000
"""Predictions per round."""
_POPULATION = 200
_DRAWN = 50
"""Random rows among the first generation; the rest of it is what was evaluated."""


class Linas:
    """Follows :class:`hwnas.select.search.protocol.Strategy`.

    Args:
        problem: searched.
        min_quality: what a subnet below is worth only as a parent.
        predicted: predictions per round.
    """

    def __init__(
        self, problem: Problem, min_quality: float | None, predicted: int = PREDICTED
    ) -> None:
        self._problem, self._min_quality, self._predicted = problem, min_quality, predicted
        self._genomes: Genomes = np.empty((0, problem.encoding.genes), dtype=np.int64)
        self._quality: Floats = np.empty(0)

    def tell(self, genomes: Genomes, quality: Floats, rng: np.random.Generator) -> None:
        """Add to what the next predictor is trained on."""
        self._genomes = np.concatenate((self._genomes, genomes))
        self._quality = np.concatenate((self._quality, quality))

    def ask(self, count: int, seen: set[bytes], rng: np.random.Generator) -> Genomes:
        """The best by prediction of those not evaluated yet, spread over the predicted front."""
        encoding = self._problem.encoding
        if len(self._quality) < 2:
            return self._problem.draw(count, rng, seen)
        predictor = Predictor(
            encoding.one_hot(self._genomes), self._quality, int(rng.integers(2**31))
        )
        genomes, objectives, excess = self._evolve(predictor, rng, seen)
        fits = excess <= 0
        if np.count_nonzero(fits) >= count:
            genomes, objectives = genomes[fits], objectives[fits]
        else:
            objectives = objectives + np.maximum(excess, 0)[:, None] * 1e6
        return genomes[select_best(objectives, count, rng)]

    def _evolve(
        self,
        predictor: Predictor,
        rng: np.random.Generator,
        seen: set[bytes],
    ) -> tuple[Genomes, Floats, Floats]:
        """Rows not seen, their objectives as predicted, and by how much the floor is missed."""
        problem = self._problem
        evolution = Evolution(
            problem.encoding,
            _POPULATION,
            len(problem.objectives) + 1,
            constrained=self._min_quality is not None,
        )
        # What was measured takes part as it was measured: the predictor has to promise more.
        known, _ = problem.prices(self._genomes)
        measured = np.column_stack((-self._quality, known))
        best = pareto_front(measured)
        evolution.tell(self._genomes[best], measured[best], self._floor(self._quality[best]), rng)
        taken = set(seen)
        batches: list[tuple[Genomes, Floats, Floats]] = []
        children = problem.draw(_DRAWN, rng, taken)
        left = self._predicted
        while len(children) and left > 0:
            quality = predictor(problem.encoding.one_hot(children))
            prices, _ = problem.prices(children)
            told = (children, np.column_stack((-quality, prices)), self._floor(quality))
            batches.append(told)
            evolution.tell(*told, rng)
            taken.update(row.tobytes() for row in children)
            left -= len(children)
            children = evolution.ask(min(_POPULATION, left), rng, problem.unseen(taken))
        if not batches:  # nothing is left that was not seen
            return self._genomes[:0], measured[:0], measured[:0, 0]
        columns = zip(*batches, strict=True)
        genomes, objectives, excess = (np.concatenate(column) for column in columns)
        return genomes, objectives, excess

    def _floor(self, quality: Floats) -> Floats:
        if self._min_quality is None:
            return np.zeros(len(quality))
        return self._min_quality - quality
