"""Events as lines of JSON. What comes from a device is untrusted: only exact events are taken."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from hwnas.agent.events import (
    SCHEMA_VERSION,
    AgentError,
    Described,
    End,
    Energy,
    Event,
    ItemDone,
    ItemFailed,
    Loaded,
    Probe,
    Round,
    Sat,
    Sit,
    Start,
    Stopped,
    Turn,
    Warm,
)

__all__ = [
    "LONGEST_LINE",
    "MOST_READINGS",
    "as_word",
    "encode_event",
    "is_reading",
    "parse_event",
]

LONGEST_LINE = 1 << 22
"""Bytes; a longer line is no event."""

MOST_READINGS = 64
"""Of one round."""

_LONGEST_TEXT = 4096
_LONGEST_WORD = 128
_NOT_IN_WORDS = r"[^A-Za-z0-9_.:+-]"
_MOST = 65_536
"""Items, turns or runs in one event."""

_KINDS: dict[str, type[Any]] = {
    "start": Start,
    "probe": Probe,
    "loaded": Loaded,
    "sit": Sit,
    "warm": Warm,
    "round": Round,
    "stopped": Stopped,
    "energy": Energy,
    "sat": Sat,
    "done": ItemDone,
    "failed": ItemFailed,
    "fingerprint": Described,
    "error": AgentError,
    "end": End,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode_event(event: Event) -> bytes:
    """The event's line, with its newline."""
    text = json.dumps({"event": _NAMES[type(event)], **asdict(event)}, separators=(",", ":"))
    return text.encode() + b"\n"


def parse_event(line: bytes) -> Event:
    """Read one line.

    Raises:
        ValueError: it is not an event; says what is wrong with it.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a line of {len(line)} bytes")
    try:
        return _event(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _event(line: bytes) -> Event:
    values = json.loads(line, parse_constant=_no_constant)
    if not isinstance(values, dict):
        raise ValueError("not an object")
    name = values.pop("event", None)
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(f"unknown event {str(name)[:40]!r}")
    event: Event = _build(_KINDS[name], name, values)
    if isinstance(event, Start) and event.schema_version != SCHEMA_VERSION:
        raise ValueError(f"events of schema_version {event.schema_version}")
    return event


def _build(kind: type[Any], name: str, values: Any) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{name} is not an object")
    known = [field.name for field in fields(kind)]
    extra = [key for key in values if key not in known]
    if extra:
        raise ValueError(f"{name} with {extra[0][:40]!r}")
    found = {}
    for key in known:
        if key not in values:
            if key in ("fix", "type"):
                continue
            raise ValueError(f"{name} without {key}")
        if key == "turns":
            found[key] = tuple(_build(Turn, "turn", one) for one in _listed(values[key]))
        else:
            found[key] = _FIELDS[key](values[key], f"{name}: {key}")
    return kind(**found)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError(f"not a list of at most {_MOST}")
    return value


def _count(value: Any, where: str) -> int:
    # 63 bits: what SQLite and NumPy can hold.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{where} is {str(value)[:40]!r}, not a count")
    return value


def _time(value: Any, where: str) -> int:
    if _count(value, where) == 0:
        raise ValueError(f"{where} is 0")
    return int(value)


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise ValueError(f"{where} is {str(value)[:40]!r}, not a whole number")
    return value


def _number(value: Any, where: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or abs(value) > 1e300 or not math.isfinite(value):
        raise ValueError(f"{where} is {str(value)[:40]!r}, not a number")
    return float(value)


def _positive(value: Any, where: str) -> float:
    found = _number(value, where)
    if found <= 0:
        raise ValueError(f"{where} is {found}")
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError(f"{where} is not a text")
    # What a device sends is shown to people: nothing that moves their cursor.
    return "".join(c if c.isprintable() else " " for c in value)


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or value != as_word(value):
        raise ValueError(f"{where} is {str(value)[:40]!r}, not a word")
    return value


def as_word(text: str) -> str:
    """``text`` as a word that an event can hold."""
    return re.sub(_NOT_IN_WORDS, "_", text)[:_LONGEST_WORD] or "_"


def is_reading(name: object, value: object) -> bool:
    """Whether an event can hold this reading."""
    try:
        _readings({name: value}, "readings")
    except ValueError:
        return False
    return True


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, where: None if value is None else check(value, where)


def _times(value: Any, where: str) -> tuple[int, ...]:
    if not value:
        raise ValueError(f"{where} is empty")
    return tuple(_time(one, where) for one in _listed(value))


def _counts(value: Any, where: str) -> tuple[int, ...]:
    return tuple(_count(one, where) for one in _listed(value))


def _pair(value: Any, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where} is not a pair")
    return _positive(value[0], where), _positive(value[1], where)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} is neither true nor false")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")
    return value


def _readings(value: Any, where: str) -> dict[str, float]:
    found = _object(value, where)
    if len(found) > MOST_READINGS:
        raise ValueError(f"{where} has {len(found)} entries")
    return {_word(key, where): _number(one, where) for key, one in found.items()}


_FIELDS: dict[str, Callable[[Any, str], Any]] = {
    "schema_version": _count,
    "job": _word,
    "agent": _word,
    "version": _word,
    "time": _word,
    "fingerprint": _object,
    "item": _count,
    "items": _counts,
    "load_bytes": _optional(_whole),
    "run_bytes": _optional(_whole),
    "first_ns": _time,
    "outputs_ok": _optional(_flag),
    "sitting": _count,
    "runs": _count,
    "stopped_by": _word,
    "round": _count,
    "canary": _pair,
    "throttled": _optional(_count),
    "readings": _readings,
    "cold": _optional(_time),
    "ns": _times,
    "wall": _time,
    "cpu": _count,
    "switches": _optional(_count),
    "joules": _number,
    "seconds": _positive,
    "sensor": _word,
    "fix": _text,
    "type": _text,
}


def _error(value: Any, where: str) -> Any:
    """``error`` is a text where something failed, and a number where outputs were compared."""
    if where.startswith("loaded"):
        return None if value is None else _number(value, where)
    text = _text(value, where)
    if not text.strip():
        raise ValueError(f"{where} is empty")
    return text


_FIELDS["error"] = _error
