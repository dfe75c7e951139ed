"""When warm-up is over and when enough has been sampled. Each rule is an object that is told runs.

A rule is told with ``add`` and says in ``stopped_by`` why it has stopped, or ``None`` while it has
not. Time is the sum of the runs' own times, so a rule needs no clock and gives the same answer for
the same series. Not thread-safe.

The idea of stopping rules as objects is nvbench's (``nvbench/stopping_criterion.cuh``).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.samples import quantile_interval
from hwnas.agent.settings import FEWEST_TURNS, Settings

__all__ = ["MedianConverged", "Reason", "WarmUp"]

Reason = Literal["steady", "converged", "max_runs", "max_rounds", "time"]

_NS_PER_S = 1e9


class WarmUp:
    """Ends ``steady`` once a window's median is no longer clearly better than the one before.

    A window ends when it has ``warmup_window_runs`` runs and ``warmup_window_s`` seconds. Only
    improvement is waited for: a series that gets slower is as warm as it will be. Ends by
    ``max_runs`` or ``time`` where it keeps improving.

    Attributes:
        stopped_by: why it has stopped; ``None`` while it goes on.
        runs: number of runs told so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.stopped_by: Reason | None = None
        self.runs = 0
        self._settings = settings
        self._window = array("q")
        self._window_ns = 0
        self._total_ns = 0
        self._before: float | None = None

    @property
    def median_ns(self) -> float:
        """Median of the last full window, or of what there is."""
        if self._before is not None:
            return self._before
        return float(np.median(np.array(self._window, dtype=np.int64)))

    def add(self, ns: int) -> Reason | None:
        """Tell one run's time, in ns; returns :attr:`stopped_by`."""
        self.runs += 1
        self._window.append(ns)
        self._window_ns += ns
        self._total_ns += ns
        if self.stopped_by is None:
            self.stopped_by = self._judge()
        return self.stopped_by

    def _judge(self) -> Reason | None:
        settings = self._settings
        if (
            len(self._window) >= settings.warmup_window_runs
            and self._window_ns >= settings.warmup_window_s * _NS_PER_S
        ):
            median = float(np.median(np.array(self._window, dtype=np.int64)))
            before, self._before = self._before, median
            self._window, self._window_ns = array("q"), 0
            if before is not None and median > before * (1 - settings.warmup_improvement):
                return "steady"
        if self.runs >= settings.warmup_max_runs:
            return "max_runs"
        return "time" if self._total_ns >= settings.warmup_time_s * _NS_PER_S else None


class MedianConverged:
    """Ends ``converged`` once the median over turns is known well enough.

    It looks at the medians of calm turns, those in which the system did not let the thread wait,
    each divided by how slow its round was. Converged means that the order-statistics confidence
    interval of their median is at most ``sitting_ci`` of the median wide, and the intervals of the
    first and the second half overlap, since the interval of a drifting series is narrow around a
    value that means nothing. Ends by ``max_rounds`` or ``time`` where that does not come about.

    Attributes:
        stopped_by: why it has stopped; ``None`` while it goes on.
        turns: number of turns told so far, calm or not.
    """

    def __init__(self, settings: Settings) -> None:
        self.stopped_by: Reason | None = None
        self.turns = 0
        self._settings = settings
        self._calm: list[float] = []
        self._rounds: list[int] = []
        self._total_ns = 0

    def add(self, ns: Sequence[int], calm: bool) -> Reason | None:
        """Tell the run times of one turn, in ns, and judge; all rounds count as equally fast."""
        self.tell(ns, calm)
        return self.judge()

    def tell(self, ns: Sequence[int], calm: bool) -> None:
        """Tell the run times of the turn in the next round, in ns."""
        if calm:
            self._calm.append(float(np.median(ns)))
            self._rounds.append(self.turns)
        self.turns += 1
        self._total_ns += sum(ns)

    def judge(self, factors: NDArray[np.float64] | None = None) -> Reason | None:
        """Whether to stop now; returns :attr:`stopped_by`.

        Args:
            factors: by what factor each round was slower than the typical one
                (:func:`hwnas.agent.rounds.round_factors`), shape (turns or more,).
        """
        if self.stopped_by is None:
            self.stopped_by = self._judge(factors)
        return self.stopped_by

    def _judge(self, factors: NDArray[np.float64] | None) -> Reason | None:
        settings = self._settings
        if len(self._calm) >= settings.min_rounds and self._rounds[-1] == self.turns - 1:
            values = np.array(self._calm)
            if factors is not None:
                values /= factors[self._rounds]
            if self._converged(values):
                return "converged"
        if self.turns >= settings.max_rounds:
            return "max_rounds"
        over = self._total_ns >= settings.sample_time_s * _NS_PER_S
        return "time" if over and self.turns >= FEWEST_TURNS else None

    def _converged(self, values: NDArray[np.float64]) -> bool:
        confidence = self._settings.confidence
        ends = quantile_interval(values, 0.5, confidence)
        if ends is None or ends[1] - ends[0] > self._settings.sitting_ci * np.median(values):
            return False
        half = len(values) // 2
        first = quantile_interval(values[:half], 0.5, confidence)
        second = quantile_interval(values[half:], 0.5, confidence)
        if first is None or second is None:
            return True
        return first[0] <= second[1] and second[0] <= first[1]
