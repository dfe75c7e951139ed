"""Statistics of one measurement, from its raw turns: what counts, quantiles, their intervals.

A turn is a few runs in a row of one item; between two turns of it every other item has had one.
Turns that something else disturbed are flagged and left out of medians; they stay in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.samples import interval_ranks, quantile_interval, waited
from hwnas.profile.record import Round, Turn

__all__ = [
    "OUTLIER",
    "SLOW_CLOCK",
    "THROTTLED",
    "WAITED",
    "Statistics",
    "fast_canary",
    "flags",
    "interval_ranks",
    "quantile_interval",
    "statistics",
]

WAITED = 1
"""The thread did not have the core all the time: see :func:`hwnas.agent.samples.waited`."""

SLOW_CLOCK = 2
"""The canaries of the round took over 5% longer than the sitting's fast ones."""

THROTTLED = 4
"""The control group was throttled during the round."""

OUTLIER = 8
"""The median is more than 5 MADs from that of the sitting's turns, as in few other turns."""

_NS_PER_MS = 1e6
_SLOWER = 1.05
"""A neighbour on the same core slows even a dependent chain by 3 to 4%: that is no lower clock."""

_MADS = 5.0
_MOST_OUTLIERS = 0.25
"""Of a sitting: where more turns are so far away, they are a second mode, which is no accident."""

_LEAST_MAD = 1e-3
"""Of the median: a series without any spread must not make outliers of a clock's last digit."""


def flags(
    turns: Sequence[Turn],
    rounds: Sequence[Round],
    threads: int = 1,
    factors: Sequence[float] | None = None,
) -> NDArray[np.int64]:
    """What was wrong with each turn: sums of the flags above, shape (turns,); 0 for nothing.

    Args:
        turns: of one measurement, each with a run at least; a ``wall`` of 0 means that CPU time
            was not taken.
        rounds: those that they were in; what is missing flags nothing.
        threads: of one inference. With more than one, no turn is flagged as one that waited.
        factors: by what each turn's round was slower than the typical one; by default 1.
    """
    found = np.zeros(len(turns), dtype=np.int64)
    by_place = {(r.sitting, r.round): r for r in rounds}
    fast = {
        sitting: fast_canary([r for r in rounds if r.sitting == sitting])
        for sitting in {r.sitting for r in rounds}
    }
    for i, turn in enumerate(turns):
        if waited(turn.wall, turn.cpu, threads):
            found[i] |= WAITED
        around = by_place.get((turn.sitting, turn.round))
        if around is not None and sum(around.canary) / 2 > _SLOWER * fast[turn.sitting]:
            found[i] |= SLOW_CLOCK
        if around is not None and around.throttled:
            found[i] |= THROTTLED
    medians = _medians(turns, factors)
    sittings = np.array([turn.sitting for turn in turns])
    # Within a sitting: where weights lie in memory moves whole sittings, which is no accident.
    for sitting in np.unique(sittings):
        there = sittings == sitting
        calm = medians[there & (found == 0)]
        if calm.size:
            middle = np.median(calm)
            mad = max(float(np.median(np.abs(calm - middle))), _LEAST_MAD * float(middle))
            outliers = there & (np.abs(medians - middle) > _MADS * mad)
            if outliers.sum() <= _MOST_OUTLIERS * there.sum():
                found[outliers] |= OUTLIER
    return found


def fast_canary(rounds: Sequence[Round]) -> float:
    """The canary of the fast ones among ``rounds``, in ns per step: their first decile.

    Not the fastest: a core that is boosted for a moment would make all others look slow.
    """
    return float(np.quantile([sum(r.canary) / 2 for r in rounds], 0.1))


@dataclass(frozen=True)
class Statistics:
    """What the turns of one measurement say.

    Attributes:
        runs: number of warm runs, over all turns.
        turns, flagged: number of turns, and of those that medians leave out.
        p50_ms: median in ms: of turns that are not flagged, each by its own median over its
            round's factor; then of sittings, so that each sitting counts alike.
        p95_ms: 95th percentile in ms, over all warm runs of turns that were not throttled, as
            they were.
        p50_interval_ms: 95% confidence interval of the median over these turns, widened to hold
            each sitting's own median; ``None`` with fewer than 6 turns.
        cold_p50_ms: median in ms of the first runs after others had the caches, as ``p50_ms``;
            ``None`` where none was taken.
        spread: greatest less least median of a sitting over ``p50_ms``; ``None`` with one sitting.
    """

    runs: int
    turns: int
    flagged: int
    p50_ms: float
    p95_ms: float
    p50_interval_ms: tuple[float, float] | None
    cold_p50_ms: float | None
    spread: float | None


def statistics(
    turns: Sequence[Turn],
    rounds: Sequence[Round] = (),
    threads: int = 1,
    factors: Sequence[float] | None = None,
) -> Statistics:
    """Derive :class:`Statistics`; arguments as of :func:`flags`.

    Where every turn is flagged, those that were not throttled count, and else all: the verdict
    says what that is worth.

    Raises:
        ValueError: no turns.
    """
    if not turns:
        raise ValueError("no samples")
    marks = flags(turns, rounds, threads, factors)
    sittings = np.array([turn.sitting for turn in turns])
    unthrottled = marks & THROTTLED == 0
    if not unthrottled.any():
        unthrottled = np.full(len(turns), True)
    good = marks == 0 if (marks == 0).any() else unthrottled
    medians = _medians(turns, factors)
    middles = _by_sitting(medians[good], sittings[good])
    middle = float(np.median(middles))
    # One series without turns, as hwnas 0.1 measured: its runs are all that there is to go by.
    single = len(turns) == 1 and turns[0].sitting == 0
    ends = quantile_interval(turns[0].ns if single else medians[good])
    if ends is not None:
        ends = (min(ends[0], *middles) / _NS_PER_MS, max(ends[1], *middles) / _NS_PER_MS)
    every = np.concatenate([t.ns for t, ok in zip(turns, unthrottled, strict=True) if ok])
    first_runs = np.array([turn.cold or np.nan for turn in turns]) / _ones(turns, factors)
    cold = good & np.isfinite(first_runs)
    first = _by_sitting(first_runs[cold], sittings[cold])
    return Statistics(
        runs=sum(len(turn.ns) for turn in turns),
        turns=len(turns),
        flagged=int((marks != 0).sum()),
        p50_ms=middle / _NS_PER_MS,
        p95_ms=float(np.quantile(every, 0.95)) / _NS_PER_MS,
        p50_interval_ms=ends,
        cold_p50_ms=float(np.median(first)) / _NS_PER_MS if first else None,
        spread=(max(middles) - min(middles)) / middle if len(middles) > 1 else None,
    )


def _medians(turns: Sequence[Turn], factors: Sequence[float] | None) -> NDArray[np.float64]:
    return np.array([np.median(turn.ns) for turn in turns]) / _ones(turns, factors)


def _ones(turns: Sequence[Turn], factors: Sequence[float] | None) -> NDArray[np.float64]:
    return np.ones(len(turns)) if factors is None else np.asarray(factors, dtype=float)


def _by_sitting(values: NDArray[np.float64], sittings: NDArray[np.int64]) -> list[float]:
    return [float(np.median(values[sittings == s])) for s in np.unique(sittings)]
