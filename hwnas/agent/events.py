"""What an agent says, line by line: the one language of children, journals and both agents.

Each event is a JSON object on a line of its own (``wire``). Times are in ns unless said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "SCHEMA_VERSION",
    "AgentError",
    "Described",
    "End",
    "Energy",
    "Event",
    "ItemDone",
    "ItemFailed",
    "Loaded",
    "Probe",
    "Round",
    "Sat",
    "Sit",
    "Start",
    "Stopped",
    "Turn",
    "Warm",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Start:
    """An agent has started on the job ``job`` (its id); the first line of every start.

    ``schema_version`` is that of these events, ``fingerprint`` the device's, as plain values.
    """

    schema_version: int
    job: str
    agent: str
    version: str
    time: str
    fingerprint: Mapping[str, Any]


@dataclass(frozen=True)
class Probe:
    """``item`` is loaded alone now, to read its memory and to check it."""

    item: int


@dataclass(frozen=True)
class Loaded:
    """``item`` can be run.

    Attributes:
        load_bytes: memory that loading added to a process; ``None``: unknown.
        run_bytes: memory that running added on top; ``None``: unknown.
        first_ns: time of its second run.
        error: of its outputs, see ``expected.compare``; ``None``: not checked, or infinite.
        outputs_ok: whether that passes; ``None``: not checked.
    """

    item: int
    load_bytes: int | None
    run_bytes: int | None
    first_ns: int
    error: float | None
    outputs_ok: bool | None


@dataclass(frozen=True)
class Sit:
    """A process begins to measure ``items`` together; ``sitting`` numbers rise."""

    sitting: int
    items: tuple[int, ...]


@dataclass(frozen=True)
class Warm:
    """``item`` is warm after ``runs`` runs; why that ended."""

    sitting: int
    item: int
    runs: int
    stopped_by: str


@dataclass(frozen=True)
class Turn:
    """One item's part of a round.

    Attributes:
        cold: the first run, before it the others had the caches; ``None`` for long ones.
        ns: the runs after it.
        wall, cpu: time that passed, and time that this thread ran, during ``ns``.
        switches: how often the scheduler took the core away; ``None``: unknown.
    """

    item: int
    cold: int | None
    ns: tuple[int, ...]
    wall: int
    cpu: int
    switches: int | None


@dataclass(frozen=True)
class Round:
    """One turn of each item that is not stopped.

    Attributes:
        canary: ns per step of the fixed arithmetic, before and after.
        throttled: how often the CPU quota stopped this process meanwhile; ``None``: unknown.
        readings: of sensors, by name, such as ``temperature_c``.
    """

    sitting: int
    round: int
    canary: tuple[float, float]
    throttled: int | None
    readings: Mapping[str, float]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Stopped:
    """``item`` takes no more turns in this sitting."""

    sitting: int
    item: int
    stopped_by: str


@dataclass(frozen=True)
class Energy:
    """``runs`` runs in a row took ``joules`` in ``seconds``, as ``sensor`` says."""

    item: int
    joules: float
    runs: int
    seconds: float
    sensor: str


@dataclass(frozen=True)
class Sat:
    """The sitting is whole: what was said in it counts."""

    sitting: int


@dataclass(frozen=True)
class ItemDone:
    """All sittings of ``item`` are whole."""

    item: int


@dataclass(frozen=True)
class ItemFailed:
    """``item`` cannot be measured; ``error`` is one line. ``fix``, ``type``: of a HwnasError."""

    item: int
    error: str
    fix: str = ""
    type: str = ""


@dataclass(frozen=True)
class Described:
    """The device's fingerprint, as plain values."""

    fingerprint: Mapping[str, Any]


@dataclass(frozen=True)
class AgentError:
    """The agent cannot go on."""

    error: str
    fix: str = ""
    type: str = ""


@dataclass(frozen=True)
class End:
    """Every item is done or failed."""


Event = (
    Start
    | Probe
    | Loaded
    | Sit
    | Warm
    | Round
    | Stopped
    | Energy
    | Sat
    | ItemDone
    | ItemFailed
    | Described
    | AgentError
    | End
)
