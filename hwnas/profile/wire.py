"""What a parent and its worker say to each other.

To the worker, once: a line of JSON (what to do, and how many bytes of model follow), then the
model. From the worker: lines of JSON, each one event, until ``done``, ``fingerprint`` or
``error``. What a worker sends is checked here before anything believes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from hwnas import errors
from hwnas.errors import HwnasError, ProfileError
from hwnas.profile.protocol import Job
from hwnas.profile.settings import Settings
from hwnas.program import TensorSpec

__all__ = [
    "LONGEST_LINE",
    "Described",
    "Done",
    "Event",
    "Failed",
    "Loaded",
    "Request",
    "Samples",
    "encode_request",
    "parse_event",
    "read_request",
    "rebuild_error",
]

LONGEST_LINE = 1 << 24
"""A longer line is not the protocol: 0.2 s of samples of 1 us are 2 MB."""


@dataclass(frozen=True)
class Request:
    """What a worker is asked: to describe its device, or to measure ``job``."""

    op: Literal["describe", "measure"]
    profiler: str
    settings: Settings
    job: Job | None = None


@dataclass(frozen=True)
class Loaded:
    """The job is loaded, which added ``load_bytes`` to the process (``None``: unknown)."""

    load_bytes: int | None


@dataclass(frozen=True)
class Samples:
    """Run times in ns, in order, since the last such event."""

    ns: tuple[int, ...]


@dataclass(frozen=True)
class Done:
    """The job is measured.

    Attributes:
        stopped_by: why sampling ended: ``converged``, ``max_runs``, ``time``.
        warmup_runs: runs before sampling.
        warmup_stopped_by: why the warm-up ended: ``steady``, ``max_runs``, ``time``.
        run_bytes: what running added to the process on top of loading (``None``: unknown).
    """

    stopped_by: str
    warmup_runs: int
    warmup_stopped_by: str
    run_bytes: int | None


@dataclass(frozen=True)
class Failed:
    """The job failed; ``error`` is one line. ``fix`` and ``type`` where it was a HwnasError."""

    error: str
    fix: str = ""
    type: str = ""


@dataclass(frozen=True)
class Described:
    """The device's fingerprint, as plain values."""

    fingerprint: dict[str, Any]


Event = Loaded | Samples | Done | Failed | Described


def encode_request(request: Request) -> bytes:
    """The request as bytes for the worker's stdin."""
    header: dict[str, Any] = {
        "op": request.op,
        "profiler": request.profiler,
        "settings": request.settings.to_dict(),
    }
    model = b""
    if request.job is not None:
        job, model = request.job, request.job.model
        header["job"] = {
            "key": job.key,
            "scope": job.scope,
            "label": job.label,
            "folder": str(job.folder.resolve()),
            "inputs": [spec.model_dump(mode="json") for spec in job.inputs],
            "model_bytes": len(model),
        }
    return json.dumps(header).encode() + b"\n" + model


def read_request(stream: BinaryIO) -> Request | None:
    """Read a request; ``None`` if the stream ends before or within it."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    job = None
    if "job" in header:
        fields = header["job"]
        model = stream.read(fields.pop("model_bytes"))
        inputs = tuple(TensorSpec.model_validate(spec) for spec in fields.pop("inputs"))
        job = Job(model=model, inputs=inputs, folder=Path(fields.pop("folder")), **fields)
    settings = Settings.from_dict(header["settings"])
    return Request(header["op"], header["profiler"], settings, job)


def parse_event(line: bytes) -> Event:
    """Read one line of a worker.

    Raises:
        ValueError: it is not an event.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not an object")
    name = values.pop("event", None)
    if not isinstance(name, str) or name not in _EVENTS:
        raise ValueError(f"unknown event {name!r}")
    kind, fields = _EVENTS[name]
    if set(values) - set(fields):
        raise ValueError(f"{name} with {', '.join(sorted(set(values) - set(fields)))}")
    checked = {key: _check(name, key, values, wanted) for key, wanted in fields.items()}
    event: Event = kind(**checked)
    return event


def _check(name: str, key: str, values: Mapping[str, Any], wanted: str) -> Any:
    value = values.get(key, "" if wanted == "text?" else None)
    good = {
        "text": isinstance(value, str) and bool(value),
        "text?": isinstance(value, str),
        "count": _whole(value),
        "count?": value is None or _whole(value),
        "counts": isinstance(value, list) and all(_whole(item) and item > 0 for item in value),
        "object": isinstance(value, dict),
    }
    if not good[wanted]:
        raise ValueError(f"{name} with {key}={value!r}")
    return tuple(value) if wanted == "counts" else value


def _whole(value: object) -> bool:
    # 63 bits: what SQLite and NumPy can hold.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


_EVENTS: dict[str, tuple[Any, dict[str, str]]] = {
    "loaded": (Loaded, {"load_bytes": "count?"}),
    "samples": (Samples, {"ns": "counts"}),
    "done": (
        Done,
        {
            "stopped_by": "text",
            "warmup_runs": "count",
            "warmup_stopped_by": "text",
            "run_bytes": "count?",
        },
    ),
    "error": (Failed, {"error": "text", "fix": "text?", "type": "text?"}),
    "fingerprint": (Described, {"fingerprint": "object"}),
}


def rebuild_error(failed: Failed) -> HwnasError:
    """The error that a worker had, of its own type where that is one of hwnas."""
    kind = getattr(errors, failed.type, None) if failed.type in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, HwnasError)):
        kind = ProfileError
    error: HwnasError = kind.__new__(kind)
    HwnasError.__init__(error, failed.error, failed.fix)
    return error
