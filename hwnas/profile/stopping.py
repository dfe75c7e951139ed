"""When warm-up is over and when enough has been sampled. Each rule is an object that is told runs.

A rule is told each run's time with ``add`` and says in ``stopped_by`` why it has stopped, or
``None`` while it has not. Time is the sum of the runs' own times, so a rule needs no clock and
gives the same answer for the same series. Not thread-safe.

The idea of stopping rules as objects is nvbench's (``nvbench/stopping_criterion.cuh``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.profile.samples import quantile_interval
from hwnas.profile.settings import FEWEST_RUNS, Settings

__all__ = ["MedianConverged", "Reason", "StoppingRule", "WarmUp"]

Reason = Literal["steady", "converged", "max_runs", "time"]

_NS_PER_S = 1e9
_GROWTH = 1.1
"""The interval is looked at again after 10% more runs: looking sorts, which disturbs the caches."""


class StoppingRule(ABC):
    """Base of the rules: collects runs, counts time, asks :meth:`_judge` after each run.

    Attributes:
        stopped_by: why it has stopped; ``None`` while it goes on.
    """

    def __init__(self) -> None:
        self.stopped_by: Reason | None = None
        self._ns = array("q")
        self._total_ns = 0

    @property
    def runs(self) -> int:
        """Number of runs told so far."""
        return len(self._ns)

    def add(self, ns: int) -> Reason | None:
        """Tell one run's time, in ns; returns :attr:`stopped_by`."""
        self._ns.append(ns)
        self._total_ns += ns
        if self.stopped_by is None:
            self.stopped_by = self._judge()
        return self.stopped_by

    def _seconds(self) -> float:
        return self._total_ns / _NS_PER_S

    def _values(self) -> NDArray[np.int64]:
        return np.array(self._ns, dtype=np.int64)

    @abstractmethod
    def _judge(self) -> Reason | None:
        """Why to stop now, or ``None``."""


class WarmUp(StoppingRule):
    """Ends ``steady`` once a window's median is no longer clearly better than the one before.

    A window ends when it has ``warmup_window_runs`` runs and ``warmup_window_s`` seconds. Only
    improvement is waited for: a series that gets slower is as warm as it will be. Ends by
    ``max_runs`` or ``time`` where it keeps improving.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._window_start = 0
        self._window_ns = 0
        self._before: float | None = None

    def _judge(self) -> Reason | None:
        settings = self._settings
        self._window_ns += self._ns[-1]
        length = self.runs - self._window_start
        if (
            length >= settings.warmup_window_runs
            and self._window_ns >= settings.warmup_window_s * _NS_PER_S
        ):
            median = float(np.median(self._values()[self._window_start :]))
            before, self._before = self._before, median
            self._window_start, self._window_ns = self.runs, 0
            if before is not None and median > before * (1 - settings.warmup_improvement):
                return "steady"
        if self.runs >= settings.warmup_max_runs:
            return "max_runs"
        return "time" if self._seconds() >= settings.warmup_time_s else None


class MedianConverged(StoppingRule):
    """Ends ``converged`` once the median is known well enough.

    That is: the order-statistics confidence interval of the median is at most ``relative_ci`` of
    the median wide, and the intervals of the first and the second half overlap, since the
    interval of a drifting series is narrow around a value that means nothing. Ends by ``time``
    or ``max_runs`` where that does not come about.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._next_look = settings.min_runs

    def _judge(self) -> Reason | None:
        settings = self._settings
        if (
            self.runs >= self._next_look
            and self._seconds() >= settings.min_time_s
            and self._converged()
        ):
            return "converged"
        if self.runs >= settings.max_runs:
            return "max_runs"
        over = self.runs >= FEWEST_RUNS and self._seconds() >= settings.sample_time_s
        return "time" if over else None

    def _converged(self) -> bool:
        self._next_look = max(self.runs + 1, int(self.runs * _GROWTH))
        values, confidence = self._values(), self._settings.confidence
        ends = quantile_interval(values, 0.5, confidence)
        if ends is None or ends[1] - ends[0] > self._settings.relative_ci * np.median(values):
            return False
        first = quantile_interval(values[: self.runs // 2], 0.5, confidence)
        second = quantile_interval(values[self.runs // 2 :], 0.5, confidence)
        if first is None or second is None:
            return True
        return first[0] <= second[1] and second[0] <= first[1]
