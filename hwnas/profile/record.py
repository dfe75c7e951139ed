"""What measuring one item gave: the raw turns and rounds, and what was judged of them.

The host derives a record from the agent's events and hands it to a sink, which stores it raw:
statistics are derived on reading (``profile.samples``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["VERDICTS", "Energy", "OpenJob", "Record", "Round", "Scope", "Turn", "Verdict"]

Scope = Literal["block", "subnet"]
"""What an item is: a kind of block, or a whole subnet."""

Verdict = Literal["ok", "flag", "invalid", "unknown"]
"""``ok``: to be believed; ``flag``: believed, but read the reasons; ``invalid``: not to be used;
``unknown``: nobody could judge it."""

VERDICTS: tuple[Verdict, ...] = ("ok", "flag", "invalid", "unknown")
"""All verdicts, the best first."""


@dataclass(frozen=True)
class Turn:
    """The runs of one item within one round.

    Attributes:
        sitting: which process, numbered from 0 over the whole job.
        round: which round of the sitting, from 0.
        cold: time of the first run after others had the caches, in ns; ``None`` if not taken.
        ns: times of the warm runs that followed, in ns, in order.
        wall: wall time over all timed runs, in ns.
        cpu: CPU time of the thread over the same, in ns.
        switches: involuntary context switches over the turn; ``None`` where not told.
    """

    sitting: int
    round: int
    cold: int | None
    ns: tuple[int, ...]
    wall: int
    cpu: int
    switches: int | None


@dataclass(frozen=True)
class Round:
    """What was read around the turns of one round.

    Attributes:
        sitting, round: as in :class:`Turn`.
        canary: time of one step of a fixed arithmetic chain before and after, in ns.
        throttled: periods in which the control group was throttled meanwhile; ``None`` where not
            told.
        readings: sensors by name, such as ``temperature_c``; may be empty.
    """

    sitting: int
    round: int
    canary: tuple[float, float]
    throttled: int | None
    readings: Mapping[str, float]


@dataclass(frozen=True)
class Energy:
    """Energy over many runs in a row.

    Attributes:
        joules: over all these runs, in J.
        runs: how many.
        seconds: wall time that they took, in s.
        sensor: what counted, such as ``rapl:package-0``.
    """

    joules: float
    runs: int
    seconds: float
    sensor: str


@dataclass(frozen=True)
class Record:
    """One finished item.

    Attributes:
        key: a block's kind or a whole subnet's kind.
        scope: which of the two.
        label: the block id or the subnet's ``spec``.
        stopped_by: why sampling ended: ``converged``, ``max_rounds`` or ``time``.
        verdict: see :data:`Verdict`.
        reasons: why it is not ``ok``, one line each.
        load_bytes, run_bytes: memory that loading and then running added, in bytes; ``None``
            where unknown.
        error: relative error of the outputs; ``None`` if not checked.
        outputs_ok: whether the outputs are as expected; ``None`` if not checked.
        warmup_runs: runs of warm-up, over all sittings.
        warmup_stopped_by: why warm-up ended: ``steady``, ``max_runs`` or ``time``.
        turns: in the order in which they were taken.
        rounds: those that the turns were in, in order.
        energy: where there is a counter.
    """

    key: str
    scope: Scope
    label: str
    stopped_by: str
    verdict: Verdict
    reasons: tuple[str, ...]
    load_bytes: int | None
    run_bytes: int | None
    error: float | None
    outputs_ok: bool | None
    warmup_runs: int
    warmup_stopped_by: str
    turns: tuple[Turn, ...]
    rounds: tuple[Round, ...]
    energy: Energy | None


@dataclass(frozen=True)
class OpenJob:
    """A job that was begun on a device and not yet read to its end.

    Attributes:
        id: SHA-256 of the document, in hexadecimal.
        document: the bytes of ``job.json``.
        target: the address of the target's jobs, as in ``ssh://user@host/work``; its name where it
            has none.
    """

    id: str
    document: bytes
    target: str
