"""Timing several runs in turn, and the ratio of two of them with its interval.

What drifts (clocks, other load) hits all runs of a round alike, so ratios are taken within a round
and their median is quoted. Where a session's weights happen to lie in memory moves its latency by
about 1%; that does not drift, so sessions are opened anew a few times (replicates).
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ratio", "Rounds", "interleave", "pinned", "ratio"]

Samples = NDArray[np.float64]

_TURN_NS = 2_000_000
"""Short runs are repeated for this long in a turn."""

_TRIED = 3
"""Runs that warm everything up, the fastest of which says how often to run in a turn."""

_WARM_NS = 10_000_000
"""What runs for less than this is run once untimed in every turn: the others have emptied its
caches, as nothing does in service. Longer runs do not live on what they find there."""

_WAITED = 0.02
"""A round is disturbed if the system let the thread wait for more than this share of a turn."""

_PATIENCE = 2.0
_LONGEST_TURN = 1000
_RESAMPLES = 1000
_CHUNK = 2_000_000
"""Numbers resampled at once: bounds the memory that an interval takes."""


@dataclass(frozen=True)
class Rounds:
    """How long to compare one subnet.

    Each replicate opens new sessions and runs rounds, in which everything runs once in a random
    order, for ``seconds / replicates`` and at least ``fewest`` of them: at least
    ``replicates * fewest`` rounds per subnet.

    Attributes:
        seconds: per subnet.
        replicates: how often sessions are opened anew.
        fewest: rounds of each replicate.
    """

    seconds: float = 6.0
    replicates: int = 3
    fewest: int = 7


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios.

    Attributes:
        value: median over replicates of each one's median over rounds.
        low, high: 95% bootstrap interval of ``value``; replicates and, within them, rounds are
            resampled.
        replicates: each one's median.
    """

    value: float
    low: float
    high: float
    replicates: tuple[float, ...]

    @property
    def half(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def interleave(
    runs: Sequence[Callable[[], object]], seconds: float, fewest: int, *, gate: bool = True
) -> tuple[Samples, int]:
    """Time ``runs`` in turn, in an order that is random in every round.

    Args:
        runs: what to time.
        seconds: how long; twice as long if hardly any round went by undisturbed.
        fewest: rounds to go through, and to keep.
        gate: leave out rounds in which the system let this thread wait. Only one-threaded runs
            can be held against their own CPU time.

    Returns:
        ns per run, of shape (rounds kept, runs), and the number of all rounds. A turn of several
        short runs counts with their median, so that being interrupted in one does not show.
    """
    plans = [_plan(run) for run in runs]
    order = list(range(len(runs)))
    shuffle = random.Random(0).shuffle
    rounds: list[list[float]] = []
    waited: list[float] = []
    start = time.monotonic()
    while True:
        shuffle(order)
        row, worst = [0.0] * len(runs), 0.0
        for index in order:
            row[index], lost = _turn(runs[index], *plans[index])
            worst = max(worst, lost)
        rounds.append(row)
        waited.append(worst if gate else 0.0)
        calm = sum(lost <= _WAITED for lost in waited)
        spent = time.monotonic() - start
        enough = calm >= fewest or spent >= _PATIENCE * seconds
        if len(rounds) >= fewest and spent >= seconds and enough:
            break
    limit = max(_WAITED, sorted(waited)[fewest - 1])
    return np.array(rounds)[np.array(waited) <= limit], len(rounds)


def _turn(run: Callable[[], object], warm: bool, times: int) -> tuple[float, float]:
    """Time per run in ns, and the share of the turn in which this thread waited."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    if warm:
        run()
    found = median([_timed(run) for _ in range(times)])
    cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    return found, 1 - cpu / wall


def _plan(run: Callable[[], object]) -> tuple[bool, int]:
    """Whether to warm up in every turn, and how often to run in it."""
    fastest = max(1, _timed(run))
    for _ in range(_TRIED - 1):
        if fastest < _WARM_NS:
            fastest = max(1, min(fastest, _timed(run)))
    return fastest < _WARM_NS, min(_LONGEST_TURN, max(1, -(-_TURN_NS // fastest)))


def _timed(run: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def ratio(replicates: Sequence[Samples]) -> Ratio:
    """Summarise the paired ratios of each replicate, one number per round."""
    medians = [float(np.median(found)) for found in replicates]
    generator = np.random.default_rng(0)
    resampled = np.stack([_medians(found, generator) for found in replicates], axis=1)
    chosen = generator.integers(0, len(replicates), (_RESAMPLES, len(replicates)))
    values = np.median(np.take_along_axis(resampled, chosen, axis=1), axis=1)
    low, high = np.quantile(values, [0.025, 0.975])
    return Ratio(float(np.median(medians)), float(low), float(high), tuple(medians))


def _medians(found: Samples, generator: np.random.Generator) -> Samples:
    """Medians of resamples of ``found``."""
    at_once = max(1, _CHUNK // len(found))
    parts = []
    for start in range(0, _RESAMPLES, at_once):
        size = (min(at_once, _RESAMPLES - start), len(found))
        parts.append(np.median(generator.choice(found, size), axis=1))
    return np.concatenate(parts)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this thread on one core and the collector quiet, while one-threaded runs are timed."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    collecting = gc.isenabled()
    gc.disable()
    if before and threads == 1:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        if before and threads == 1:
            os.sched_setaffinity(0, before)
        if collecting:
            gc.enable()
