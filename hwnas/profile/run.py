"""The whole loop: jobs in, raw samples and errors into a sink."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hwnas.errors import ProfileError
from hwnas.profile.isolation import measure
from hwnas.profile.protocol import Job, Profiler, Scope, Target
from hwnas.profile.settings import Settings
from hwnas.profile.wire import Done, Failed, Loaded, Samples

__all__ = ["Failure", "Progress", "Sink", "Summary", "profile"]


class Sink(Protocol):
    """Where measurements go: a lookup table.

    Used by one thread. Calls come in this order, per job: ``done``; if that says no, ``begin``,
    then ``add_samples`` any number of times, then ``finish`` or ``fail``. Each call has been
    written when it returns. A job that was begun and neither finished nor failed was cut off.

    Raises, from any of them:
        ProfileError: it cannot be written, such as on a full disk.
    """

    def done(self, key: str, scope: Scope) -> bool:
        """Whether this was measured before, or failed before."""

    def begin(self, job: Job) -> int:
        """Open a row; returns its id."""

    def add_samples(self, measurement: int, ns: Sequence[int]) -> None:
        """Append run times, in ns, in order."""

    def finish(self, measurement: int, done: Done, load_bytes: int | None) -> None:
        """Close the row as measured."""

    def fail(self, measurement: int, error: str) -> None:
        """Close the row with its error, in one line."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        label: the job that begins, or that has just ended.
        status: ``begin``, or how it ended: ``ok``, ``error``, ``skipped`` (done before).
        done: jobs that have ended, skipped ones included.
        total: all jobs.
        failed: jobs that have failed.
        seconds_left: estimate from the jobs that were measured in this run; ``None`` before the
            first has ended.
        error: the error of a job that failed.
    """

    label: str
    status: str
    done: int
    total: int
    failed: int
    seconds_left: float | None
    error: str = ""


@dataclass(frozen=True)
class Failure:
    """A job that failed: its key, scope and label, and the error in one line."""

    key: str
    scope: Scope
    label: str
    error: str


@dataclass(frozen=True)
class Summary:
    """What a run did: numbers of jobs measured and skipped, and the failures."""

    measured: int
    skipped: int
    failures: tuple[Failure, ...]


@dataclass
class _Tally:
    total: int
    tell: Callable[[Progress], None] | None
    measured: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    spent_s: float = 0.0

    def say(self, job: Job, status: str, error: str = "") -> None:
        if self.tell is None:
            return
        ended = self.measured + len(self.failures)
        left = self.total - ended - self.skipped
        self.tell(
            Progress(
                label=job.label,
                status=status,
                done=ended + self.skipped,
                total=self.total,
                failed=len(self.failures),
                seconds_left=self.spent_s / ended * left if ended else None,
                error=error,
            )
        )


def profile(
    jobs: Sequence[Job],
    sink: Sink,
    target: Target,
    profiler: Profiler,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Measure all ``jobs`` that ``sink`` does not have yet, one after the other.

    A job that fails is a row with its error, and the run goes on. The run itself can be cut off
    at any time: what ``sink`` has by then stays, and a later run goes on with the rest.

    Args:
        jobs: what to measure.
        sink: where measurements go.
        target: where to measure.
        profiler: how.
        settings: how long and with how many threads.
        progress: called when a job begins and ends.

    Returns:
        What was done in this run.

    Raises:
        ProfileError: the sink cannot be written, or workers cannot be started.
        UnreachableDevice: the device does not answer.
    """
    tally = _Tally(len(jobs), progress)
    with _full_disk():
        for job in jobs:
            if sink.done(job.key, job.scope):
                tally.skipped += 1
                tally.say(job, "skipped")
                continue
            tally.say(job, "begin")
            start = time.monotonic()
            error = _measure_into(sink, job, target, profiler, settings)
            tally.spent_s += time.monotonic() - start
            if error is None:
                tally.measured += 1
                tally.say(job, "ok")
            else:
                tally.failures.append(Failure(job.key, job.scope, job.label, error))
                tally.say(job, "error", error)
    return Summary(tally.measured, tally.skipped, tuple(tally.failures))


def _measure_into(
    sink: Sink, job: Job, target: Target, profiler: Profiler, settings: Settings
) -> str | None:
    """Measure one job into ``sink``; returns its error, if any."""
    row = sink.begin(job)
    load_bytes: int | None = None
    samples = 0
    error = "the worker said nothing about the job"
    # Closed at once when the sink raises or the user interrupts: that kills the worker.
    with closing(measure(job, target, profiler, settings)) as events:
        for event in events:
            match event:
                case Loaded():
                    load_bytes = event.load_bytes
                case Samples():
                    sink.add_samples(row, event.ns)
                    samples += len(event.ns)
                case Done() if not samples:
                    error = "the worker sent no samples"
                case Done():
                    sink.finish(row, event, load_bytes)
                    return None
                case Failed():
                    error = event.error
    sink.fail(row, error)
    return error


@contextmanager
def _full_disk() -> Iterator[None]:
    """Sinks that write plain files have ``OSError`` for a full disk, a quota, a size limit."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ProfileError(
            f"measurements cannot be written: {error.strerror}",
            "free space, then go on with --resume",
        ) from error
