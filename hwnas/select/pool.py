"""The pool: the subnets that one selection is about, what they cost, and how good they are.

A cost is *believed*: the whole measurement where there is one, else the prediction. Where subnets
are measured during the selection, predictions are multiplied by the median of measured to
predicted, per metric, because a model that is 10% off for one subnet is about 10% off for the next;
without that, each candidate of a band would have to be measured to learn the same thing again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwnas.errors import TableError, shorten
from hwnas.select.budgets import Limit
from hwnas.select.protocol import Costs, Goal, Measure, Progress
from hwnas.space import Subnet
from hwnas.table.cost import METRICS, Cost

__all__ = ["LOOKUP_LIMIT", "Pool", "exceeded"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Scores = Callable[[Sequence[Subnet]], list[float]]

LOOKUP_LIMIT = 2000
"""Up to this many subnets, each is looked up for a whole measurement before anything is chosen.

A look-up hashes a whole program, so in a larger pool only those that are about to be chosen are.
"""

_ALWAYS_KNOWN = ("p50", "bytes")
_ABOVE_ZERO = ("p50", "p95")
_RATED = 0.05
"""Where there is a least quality, candidates up to so far above a budget are rated."""

_COUNTED = ("bytes", "macs")
"""Known exactly, so that no measurement corrects them."""


_BEST_QUALITY = Goal()


class Pool:
    """Subnets by index, candidates first. Owned by one selection, used from one thread.

    Args:
        candidates: what may be chosen; more may be added where there is no ``extra``.
        extra: what is priced too, but not chosen: the largest subnet, those that ship anyway.
        costs: prices.
        scores: rates candidates; asked only for those whose rank matters.
        metrics: what budgets are on; must be known for every subnet.
        goal: what makes one candidate better than another.
        measure: measures a subnet whole; None if costs are to be taken as they are.
        progress: told of each measurement.

    Raises:
        TableError: a cost is not known or not possible.
    """

    def __init__(
        self,
        candidates: Sequence[Subnet],
        extra: Sequence[Subnet],
        costs: Costs,
        scores: Scores,
        metrics: Sequence[str],
        *,
        goal: Goal = _BEST_QUALITY,
        measure: Measure | None = None,
        progress: Progress | None = None,
    ) -> None:
        seen = {subnet.name for subnet in candidates}
        self.subnets = [*candidates, *(s for s in extra if s.name not in seen)]
        self.index = {subnet.name: i for i, subnet in enumerate(self.subnets)}
        self.candidates = len(candidates)
        self.goal = goal
        needed = {*_ALWAYS_KNOWN, *metrics, goal.minimize}
        self.metrics = tuple(name for name in METRICS if name in needed)
        self.predicted = list(costs.predict_many(self.subnets))
        self.measured: dict[int, Cost] = {}
        self.count = 0
        self._costs, self._scores, self._measure = costs, scores, measure
        self._progress = progress
        self._raw = _table(self.predicted)
        self._check(range(len(self.subnets)), self._raw)
        self._score = np.full(len(self.subnets), np.nan)
        self._looked_up: Mask = np.zeros(len(self.subnets), dtype=np.bool_)
        self._name_rank = self._ranks()
        if len(self.subnets) <= LOOKUP_LIMIT:
            for i in range(len(self.subnets)):
                self._look_up(i)

    def _ranks(self) -> npt.NDArray[np.intp]:
        return np.argsort(np.argsort([s.name for s in self.subnets], kind="stable"))

    def add(self, subnet: Subnet) -> int:
        """The index of ``subnet``, which becomes a candidate if it was not known yet.

        Raises:
            TableError: its cost is not known or not possible.
        """
        self.extend([subnet])
        return self.index[subnet.name]

    def extend(self, subnets: Iterable[Subnet]) -> None:
        """Make candidates of those that are not known yet; raises as :meth:`add`."""
        new = list({s.name: s for s in subnets if s.name not in self.index}.values())
        if not new:
            return
        assert self.candidates == len(self.subnets), "candidates come before what is none"
        predicted = list(self._costs.predict_many(new))
        rows, first = _table(predicted), len(self.subnets)
        self.subnets += new
        self.index |= {subnet.name: first + j for j, subnet in enumerate(new)}
        self._check(range(first, len(self.subnets)), rows)
        self.candidates = len(self.subnets)
        self.predicted += predicted
        self._raw = np.vstack((self._raw, rows))
        self._score = np.append(self._score, np.full(len(new), np.nan))
        self._looked_up = np.append(self._looked_up, np.zeros(len(new), dtype=np.bool_))
        self._name_rank = self._ranks()

    @property
    def measuring(self) -> bool:
        """Whether what is chosen has to be measured whole."""
        return self._measure is not None

    def settled(self) -> Mask:
        """[n]: nothing more can be learned of this subnet's cost."""
        if self._measure is None:
            return self._looked_up
        mask = np.zeros(len(self.subnets), dtype=np.bool_)
        mask[list(self.measured)] = True
        return mask

    def settle(self, i: int) -> None:
        """Learn what can be learned of subnet ``i``: from the table, else by measuring it.

        Raises:
            HwnasError: the measurement fails.
        """
        if i in self.measured:
            return
        # A measurement may since have put a subnet of the same structure into the table.
        self._look_up(i, again=self.measuring)
        if self._measure is None or i in self.measured:
            return
        self._record(i, self._measure(self.subnets[i]))
        self.count += 1
        if self._progress is not None:
            self._progress("measure", self.count, 0)

    def _look_up(self, i: int, *, again: bool = False) -> None:
        if again or not self._looked_up[i]:
            self._looked_up[i] = True
            known = self._costs.measured(self.subnets[i])
            if known is not None:
                self._record(i, known)

    def _record(self, i: int, cost: Cost) -> None:
        # Weights and arithmetic are counted, not measured: the bundle knows them exactly.
        known = self.predicted[i]
        exact = replace(cost, measured=True, weight_bytes=known.weight_bytes, macs=known.macs)
        self._check([i], _table([exact]))
        self.measured[i] = exact

    def _check(self, indices: Sequence[int], table: Floats) -> None:
        for column, metric in enumerate(METRICS):
            if metric not in self.metrics:
                continue
            values = table[:, column]
            low = values <= 0 if metric in _ABOVE_ZERO else values < 0
            wrong = np.flatnonzero(~np.isfinite(values) | low)
            if len(wrong):
                names = shorten(self.subnets[indices[int(j)]].name for j in wrong)
                raise TableError(
                    f"{metric} is not known of {names} (the table gives {values[wrong[0]]:g})",
                    f"drop the budget on {metric}, or profile where it can be measured"
                    if metric not in _ALWAYS_KNOWN
                    else "profile again",
                )

    def correction(self, of: Collection[int] | None = None) -> dict[str, float]:
        """By what predictions are multiplied, per metric: see the module's docstring.

        Args:
            of: measured subnets to learn it from; all by default.
        """
        factors = dict.fromkeys(METRICS, 1.0)
        rows = list(self.measured if of is None else of)
        if self._measure is not None and rows:
            actual = _table([self.measured[i] for i in rows])
            for column, metric in enumerate(METRICS):
                expected = self._raw[rows, column]
                usable = (expected > 0) & np.isfinite(actual[:, column]) & (actual[:, column] > 0)
                if metric in (*self.metrics, "p95") and metric not in _COUNTED and usable.any():
                    ratios = actual[usable, column] / expected[usable]
                    factors[metric] = float(np.median(ratios))
        return factors

    def believed(self) -> Floats:
        """[n, len(METRICS)]: costs, in the metrics' units, as they are now believed."""
        table: Floats = self._raw * np.array(list(self.correction().values()))
        for i, cost in self.measured.items():
            table[i] = _row(cost)
        return table

    def cost(self, i: int) -> Cost:
        """Cost of subnet ``i`` as it is now believed."""
        if i in self.measured:
            return self.measured[i]
        predicted, factor = self.predicted[i], self.correction()
        return replace(
            predicted,
            p50_ms=predicted.p50_ms * factor["p50"],
            p95_ms=predicted.p95_ms * factor["p95"],
            memory_bytes=predicted.memory_bytes * factor["memory"],
            energy_j=predicted.energy_j * factor["energy"],
            # Intervals are of the model alone, which the factor has just left behind.
            p50_prediction_ms=None,
            p95_prediction_ms=None,
            memory_prediction_bytes=None,
            energy_prediction_j=None,
        )

    def over(self, limits: Sequence[Limit], *, raw: bool = False) -> Floats:
        """[candidates]: by what share the worst budget is exceeded; at most 0 where all are met.

        Infinite where the quality is known to be too low: measuring does not mend that.

        Args:
            limits: the budgets.
            raw: of the predictions as the model gave them.
        """
        table = self._raw if raw else self.believed()
        worst: Floats = exceeded(table[: self.candidates], limits).max(axis=1, initial=-np.inf)
        if self.goal.floor is not None:
            self.rate(np.flatnonzero(worst <= _RATED))
            worst[self._score[: self.candidates] < self.goal.floor] = np.inf
        return worst

    def rate(self, indices: Sequence[int] | npt.NDArray[np.intp]) -> None:
        """Make sure that these candidates have a score."""
        missing = [int(i) for i in indices if np.isnan(self._score[i])]
        if missing:
            self._score[missing] = self._scores([self.subnets[i] for i in missing])

    def score(self, i: int) -> float | None:
        """The score of subnet ``i``, if it was asked for."""
        return None if np.isnan(self._score[i]) else float(self._score[i])

    def value(self, i: int) -> float:
        """What the goal is about, of candidate ``i``: its score, or the metric to be least."""
        self.rate([i])
        if self.goal.minimize is not None:
            return self.cost(i).metric(self.goal.minimize)
        return float(self._score[i])

    def scores(self) -> Floats:
        """[candidates]: their scores; NaN for those that were not asked for."""
        return self._score[: self.candidates].copy()

    def rated(self) -> npt.NDArray[np.intp]:
        """Indices of all candidates whose score is known."""
        return np.flatnonzero(~np.isnan(self._score[: self.candidates]))

    def ranked(self, indices: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """``indices``, best first: score, then lower p50, then fewer bytes, then name.

        Where a metric is to be least, it comes before the score.
        """
        self.rate(indices)
        table = self.believed()[indices]
        p50, size = table[:, METRICS.index("p50")], table[:, METRICS.index("bytes")]
        keys = [self._name_rank[indices], size, p50, -self._score[indices]]
        if self.goal.minimize is not None:
            keys.append(table[:, METRICS.index(self.goal.minimize)])
        return indices[np.lexsort(keys)]


def exceeded(table: Floats, limits: Sequence[Limit]) -> Floats:
    """[n, limits]: cost over budget minus one, of costs [n, len(METRICS)]; at most 0 where met."""
    columns = [METRICS.index(limit.metric) for limit in limits]
    bounds = np.array([limit.limit for limit in limits], dtype=np.float64)
    values = table[:, columns]
    # The quotient rounds: a value just above its bound must not come out as met.
    return np.where(values <= bounds, np.minimum(values / bounds - 1, 0), _above(values, bounds))


def _above(values: Floats, bounds: Floats) -> Floats:
    return np.maximum(values / bounds - 1, np.finfo(np.float64).eps)


def _row(cost: Cost) -> list[float]:
    return [cost.metric(name) for name in METRICS]


def _table(costs: Sequence[Cost]) -> Floats:
    return np.array([_row(cost) for cost in costs], dtype=np.float64).reshape(-1, len(METRICS))
