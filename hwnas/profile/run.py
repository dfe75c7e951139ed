"""The whole loop: jobs in, records and errors into a sink."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hwnas.agent.events import Event, ItemFailed
from hwnas.agent.job import Document
from hwnas.agent.protocol import Job, Profiler, Scope
from hwnas.agent.settings import Settings
from hwnas.errors import OtherDevice, ProfileError
from hwnas.profile.collect import Collector
from hwnas.profile.fingerprint import Fingerprint, read_fingerprint
from hwnas.profile.package import Package, make_package, reference_outputs
from hwnas.profile.protocol import Target
from hwnas.profile.record import OpenJob, Record

__all__ = ["Failure", "Progress", "Sink", "Summary", "collect", "profile"]


class Sink(Protocol):
    """Where measurements go: a lookup table.

    Used by one thread. Each call has been written when it returns, or has changed nothing.

    Raises, from any of them:
        ProfileError: it cannot be written, such as on a full disk.
    """

    @property
    def fingerprint(self) -> Fingerprint:
        """The device that it is of."""

    def done(self, key: str, scope: Scope) -> bool:
        """Whether this was measured before, or failed before."""

    def record(self, record: Record) -> None:
        """Store what was measured."""

    def fail(self, key: str, scope: Scope, label: str, error: str) -> None:
        """Store that something failed, with its error in one line."""

    def open_job(self, package: Package, target: str) -> None:
        """Note that a job is begun on a device."""

    def open_jobs(self) -> list[OpenJob]:
        """The jobs that were begun and not closed."""

    def close_job(self, job_id: str) -> None:
        """Note that everything of a job is stored, or that it is lost."""


@dataclass(frozen=True)
class Failure:
    """A job that failed, and why, in one line."""

    key: str
    scope: Scope
    label: str
    error: str


@dataclass(frozen=True)
class Progress:
    """How far measuring is.

    Attributes:
        fraction: of the work, from 0 to 1.
        label: what was last said something of.
        status: ``measuring``, ``ok``, ``skipped`` or ``error``.
        error: why, where it failed.
        seconds_left: a guess; ``None`` where there is nothing to guess from.
    """

    fraction: float
    label: str
    status: str
    error: str
    seconds_left: float | None


@dataclass(frozen=True)
class Summary:
    """What :func:`profile` did.

    Attributes:
        measured: items that were measured now.
        skipped: items that the sink had.
        failures: items that failed now.
        invalid: records of those measured now that are not to be used.
        withheld: items that an emulated target measured, and that were not stored.
    """

    measured: int
    skipped: int
    failures: tuple[Failure, ...]
    invalid: tuple[Record, ...] = ()
    withheld: int = 0


def profile(
    jobs: Sequence[Job],
    sink: Sink,
    target: Target,
    profiler: Profiler,
    settings: Settings,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Measure every job that ``sink`` lacks, on ``target``.

    What an earlier run began there and did not read to the end is read first. A job that fails,
    crashes or hangs becomes a row with its error; measuring goes on.

    Raises:
        ProfileError: the sink cannot be written, the agent cannot run.
        OtherDevice: the target is another device now.
        UnreachableDevice: the device does not answer.
    """
    tally = _Tally(progress)
    with _full_disk():
        for job in sink.open_jobs():
            if job.target != target.name:
                continue  # of another device of this kind: its results are fetched from there
            events = target.resume(job.id)
            if events is not None:
                _drain(job.document, events, sink, target, tally)
                target.forget(job.id)
            sink.close_job(job.id)
        left = []
        for one in jobs:
            if sink.done(one.key, one.scope):
                tally.skip(one)
            else:
                left.append(one)
        if left:
            package = make_package(
                left,
                profiler.name,
                settings,
                reference_outputs,
                emulated=target.descriptor.emulated,
            )
            sink.open_job(package, target.name)
            _drain(package.document, target.measure(package), sink, target, tally)
            sink.close_job(package.id)
            target.forget(package.id)
    return tally.summary()


def collect(document: bytes, events: Iterator[Event], sink: Sink) -> Summary:
    """Store what an agent has said of a job elsewhere, in whole or in part.

    Raises:
        ProfileError: the document or the events are not what they should be.
        OtherDevice: it was measured on another device than the sink is of.
    """
    tally = _Tally(lambda _: None)
    job = Document.decode(document)
    collector = Collector(job, None, hashlib.sha256(document).hexdigest())
    with _full_disk():
        for event in events:
            for found in collector.add(event):
                _same_device(collector, sink)
                if job.emulated:
                    tally.withhold(found, job)
                else:
                    _store(found, job, sink, tally)
    return tally.summary()


def _drain(
    text: bytes,
    events: Generator[Event],
    sink: Sink,
    target: Target,
    tally: _Tally,
) -> None:
    document = Document.decode(text)
    limit = target.descriptor.limits.max_temperature_c
    collector = Collector(document, limit, hashlib.sha256(text).hexdigest())
    # Closed at once when the sink raises or the user interrupts: that stops a local agent.
    with closing(events):
        for event in events:
            item = getattr(event, "item", None)
            for found in collector.add(event):
                _same_device(collector, sink)
                if document.emulated:
                    tally.withhold(found, document)
                else:
                    _store(found, document, sink, tally)
            label = "" if item is None else document.items[item].label
            tally.tell(collector.fraction, label)


def _same_device(collector: Collector, sink: Sink) -> None:
    if collector.fingerprint is None:
        raise ProfileError("the agent did not say what device it is on", "measure again")
    differences = read_fingerprint(collector.fingerprint).differences(sink.fingerprint)
    if differences:
        raise OtherDevice(
            f"this was measured on another device than the table's: {'; '.join(differences)}",
            "name another table with -o for that device",
        )


def _store(found: Record | ItemFailed, document: Document, sink: Sink, tally: _Tally) -> None:
    if isinstance(found, Record):
        if not sink.done(found.key, found.scope):
            sink.record(found)
            tally.good(found)
        return
    item = document.items[found.item]
    if not sink.done(item.key, item.scope):
        sink.fail(item.key, item.scope, item.label, found.error)
        tally.bad(Failure(item.key, item.scope, item.label, found.error))


@dataclass
class _Tally:
    progress: Callable[[Progress], None]
    measured: int = 0
    skipped: int = 0
    withheld: int = 0
    failures: list[Failure] = field(default_factory=list)
    invalid: list[Record] = field(default_factory=list)
    fraction: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def skip(self, job: Job) -> None:
        self.skipped += 1
        self._say(job.label, "skipped")

    def good(self, record: Record) -> None:
        self.measured += 1
        if record.verdict == "invalid":
            self.invalid.append(record)
        self._say(record.label, "ok")

    def bad(self, failure: Failure) -> None:
        self.failures.append(failure)
        self._say(failure.label, "error", failure.error)

    def withhold(self, found: Record | ItemFailed, document: Document) -> None:
        if isinstance(found, Record):
            self.withheld += 1
            self._say(found.label, "ok")
        else:
            item = document.items[found.item]
            self.bad(Failure(item.key, item.scope, item.label, found.error))

    def tell(self, fraction: float, label: str) -> None:
        self.fraction = fraction
        self._say(label, "measuring")

    def summary(self) -> Summary:
        return Summary(
            self.measured, self.skipped, tuple(self.failures), tuple(self.invalid), self.withheld
        )

    def _say(self, label: str, status: str, error: str = "") -> None:
        left = None
        if self.fraction > 0:
            left = (time.monotonic() - self.start) * (1 - self.fraction) / self.fraction
        self.progress(Progress(self.fraction, label, status, error, left))


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
