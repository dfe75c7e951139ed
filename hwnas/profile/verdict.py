"""Whether a measurement is to be believed, judged from what was read around it.

One judge for all agents and targets: an agent only says what it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.sensors.rpi import reasons
from hwnas.agent.settings import FEWEST_TURNS, Settings
from hwnas.profile.record import Record, Verdict
from hwnas.profile.samples import (
    OUTLIER,
    SLOW_CLOCK,
    THROTTLED,
    WAITED,
    fast_canary,
    flags,
    statistics,
)

__all__ = ["judge"]

Marks = NDArray[np.int64]

_MOST_LEFT_OUT: Final = 0.2
"""Share of turns that may be left out before that is worth a flag."""

_MOST_THROTTLED: Final = 0.5
_FAR_SLOWER: Final = 1.15
"""A canary so far above the best means another clock, not a flutter."""

_NOW: Final = 0xF
"""Bits of a Raspberry Pi's word that are not of the time since boot."""

_MOST_WAITING: Final = 0.2
_SITTINGS_APART: Final = 0.05
"""Two processes differ by 1 to 3% by where weights happen to lie; more is something else."""


def judge(
    record: Record,
    settings: Settings,
    max_temperature_c: float | None = None,
    factors: Sequence[float] | None = None,
) -> Record:
    """``record`` with its verdict and the reasons for it.

    ``invalid`` if outputs are wrong, the CPU quota stopped the process in most rounds, the clock
    was lowered in most rounds, or it waited so much that too few turns went by undisturbed;
    ``unknown`` if nothing says that outputs are right; ``flag`` with whatever else to keep in mind;
    else ``ok``.

    Args:
        record: not judged yet.
        settings: how it was measured.
        max_temperature_c: above it, it is flagged.
        factors: by what each turn's round was slower than the typical one; by default 1.
    """
    marks = flags(record.turns, record.rounds, settings.threads, factors)
    invalid = [*_outputs(record), *_stolen(record, marks)]
    notes = [*_certainty(record, settings, factors), *_disturbed(marks)]
    notes += _readings(record, max_temperature_c)
    verdict: Verdict = "ok"
    if invalid:
        verdict = "invalid"
    elif notes:
        verdict = "flag"
    elif record.outputs_ok is None:
        verdict = "unknown"
    if record.outputs_ok is None:
        notes.append("outputs were not compared")
    return replace(record, verdict=verdict, reasons=(*invalid, *notes))


def _outputs(record: Record) -> list[str]:
    if record.outputs_ok is not False:
        return []
    by = (
        "not finite, or of another shape"
        if record.error is None
        else (f"off by {record.error:.2g} of their size")
    )
    return [f"outputs are {by}: the runtime computes in lower precision, or something else"]


def _stolen(record: Record, marks: Marks) -> list[str]:
    found = []
    rounds = len(record.rounds)
    stopped = sum(bool(one.throttled) for one in record.rounds)
    if stopped > _MOST_THROTTLED * rounds:
        found.append(
            f"the CPU quota of its control group stopped it in {stopped} of {rounds} rounds"
        )
    canary = np.array([sum(one.canary) / 2 for one in record.rounds])
    fast = fast_canary(record.rounds)
    slower = int((canary > _FAR_SLOWER * fast).sum())
    if slower > rounds / 2:
        worst = float(np.median(canary)) / fast - 1
        found.append(f"the clock was lowered by about {worst:.0%} in {slower} of {rounds} rounds")
    waited = int((marks & WAITED != 0).sum())
    if waited and int((marks == 0).sum()) < FEWEST_TURNS:
        waiting = 1 - sum(turn.cpu for turn in record.turns) / sum(t.wall for t in record.turns)
        if waiting > _MOST_WAITING:
            turns = "every turn" if waited == len(marks) else f"{waited} of {len(marks)} turns"
            found.append(f"the system let it wait for {waiting:.0%} of the time, in {turns}")
    return found


def _certainty(record: Record, settings: Settings, factors: Sequence[float] | None) -> list[str]:
    found = []
    if record.stopped_by != "converged":
        found.append(
            f"the median is not known to {settings.relative_ci:.1%}: ended by {record.stopped_by}"
        )
    if record.warmup_stopped_by not in ("steady", ""):
        found.append(f"still getting faster when warm-up ended by {record.warmup_stopped_by}")
    spread = statistics(record.turns, record.rounds, settings.threads, factors).spread
    if spread is not None and spread > _SITTINGS_APART:
        found.append(f"its sittings differ by {spread:.1%}")
    return found


def _disturbed(marks: Marks) -> list[str]:
    kinds = [
        (WAITED, "the system let it wait"),
        (SLOW_CLOCK, "the clock was lower"),
        (OUTLIER, "it took far longer or shorter than else"),
    ]
    found = []
    for kind, what in kinds:
        # What waited is far longer for that reason, which is said already.
        there = marks == kind if kind == OUTLIER else marks & kind != 0
        number = int(there.sum())
        if number > _MOST_LEFT_OUT * len(marks):
            found.append(f"{what} in {number} of {len(marks)} turns, which are left out")
    throttled = int((marks & THROTTLED != 0).sum())
    if 0 < throttled <= _MOST_THROTTLED * len(marks):
        found.append(f"the CPU quota stopped it in {throttled} of {len(marks)} turns")
    return found


def _readings(record: Record, limit: float | None) -> list[str]:
    found = []
    hottest = max((r.readings.get("temperature_c", -273.0) for r in record.rounds), default=-273.0)
    if limit is not None and hottest > limit:
        found.append(f"it was {hottest:.0f} C warm, more than {limit:g}")
    word = 0
    for one in record.rounds:
        word |= int(one.readings.get("rpi_throttled", 0)) & _NOW
    if word:
        found.append(f"the board's firmware held it back meanwhile: {', '.join(reasons(word))}")
    return found
