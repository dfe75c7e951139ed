"""The child: ``python -P -m hwnas.profile.worker``. Measures one job, says what it finds, ends.

See ``wire`` for what goes in and out. Native libraries print to file descriptor 1 as they like,
so the events go through a duplicate of it, and descriptor 1 itself is pointed to stderr.
"""

from __future__ import annotations

import os

# Before any import that could bring ONNX Runtime with it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import gc
import json
import sys
import time
from typing import Any

from hwnas.errors import HwnasError, ProfileError
from hwnas.processes import die_with_parent
from hwnas.profile.fingerprint import collect
from hwnas.profile.memory import pss_bytes
from hwnas.profile.protocol import Job, Profiler, Runner, load_profiler
from hwnas.profile.settings import MEMORY_RUNS, Settings
from hwnas.profile.stopping import MedianConverged, StoppingRule, WarmUp
from hwnas.profile.wire import read_request

__all__ = ["main"]

_BATCH_S = 0.2
"""Samples are sent this often: what a crash can lose, against what sending disturbs."""

_LONGEST_ERROR = 1000


def main() -> int:
    """Serve one request from stdin; the exit code is 0 unless there was none."""
    events = _Events.claim_stdout()
    die_with_parent()
    try:
        request = read_request(sys.stdin.buffer)
        if request is None:
            return 1
        _pin(request.settings)
        profiler = load_profiler(request.profiler)
        if request.job is None:
            found = collect(profiler.runtime(request.settings), request.settings)
            events.send("fingerprint", fingerprint=found.model_dump(mode="json"))
        else:
            _measure(request.job, profiler, request.settings, events)
    except HwnasError as error:
        cause = _one_line(error.cause)
        events.send("error", error=cause, fix=error.fix, type=type(error).__name__)
    except Exception as error:
        events.send("error", error=_one_line(f"{type(error).__name__}: {error}"))
    return 0


class _Events:
    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb", buffering=0)

    @classmethod
    def claim_stdout(cls) -> _Events:
        own = os.dup(1)
        os.dup2(2, 1)
        return cls(own)

    def send(self, event: str, **values: Any) -> None:
        data = memoryview(json.dumps({"event": event, **values}).encode() + b"\n")
        while data:
            data = data[self._stream.write(data) :]


def _pin(settings: Settings) -> None:
    available = os.sched_getaffinity(0)
    wanted = set(settings.affinity or available)
    names = ", ".join(map(str, sorted(available)))
    if wanted - available:
        missing = ", ".join(map(str, sorted(wanted - available)))
        raise ProfileError(
            f"core {missing} is not available on this device", f"choose among the cores {names}"
        )
    if settings.threads > len(wanted):
        raise ProfileError(
            f"{settings.threads} threads cannot run at once on {len(wanted)} of the cores {names}",
            "ask for fewer threads, or more cores in the affinity",
        )
    os.sched_setaffinity(0, wanted)


def _measure(job: Job, profiler: Profiler, settings: Settings, events: _Events) -> None:
    profiler.runtime(settings)
    profiler.prepare(settings)
    gc.collect()
    before = pss_bytes()
    runner = profiler.load(job, settings)
    loaded = pss_bytes()
    events.send("loaded", load_bytes=_difference(loaded, before))
    try:
        # Memory is read before anything is kept of the runs, which would be booked on them.
        for _ in range(MEMORY_RUNS):
            runner.run()
        ran = pss_bytes()
        warmup, sampling = WarmUp(settings), MedianConverged(settings)
        _repeat(runner, warmup)
        _repeat(runner, sampling, events)
    finally:
        runner.close()
    events.send(
        "done",
        stopped_by=sampling.stopped_by,
        warmup_runs=MEMORY_RUNS + warmup.runs,
        warmup_stopped_by=warmup.stopped_by,
        run_bytes=_difference(ran, loaded),
    )


def _repeat(runner: Runner, rule: StoppingRule, events: _Events | None = None) -> None:
    """Run until ``rule`` stops; with ``events``, send the samples in batches as they come."""
    batch: list[int] = []
    next_send = time.monotonic() + _BATCH_S
    reason = None
    while reason is None:
        ns = runner.run()
        if ns <= 0:
            raise ProfileError(f"the profiler says that a run took {ns} ns")
        reason = rule.add(ns)
        if events is None:
            continue
        batch.append(ns)
        if reason is not None or time.monotonic() >= next_send:
            events.send("samples", ns=batch)
            batch = []
            next_send = time.monotonic() + _BATCH_S


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_ERROR else line[:_LONGEST_ERROR] + " ..."


if __name__ == "__main__":
    sys.exit(main())
