"""The whole loop: jobs in, records and errors into a sink."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from hwnas.agent.events import Event, ItemFailed
from hwnas.agent.job import Document
from hwnas.agent.protocol import Job, Profiler, Scope
from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError, OtherDevice, ProfileError
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
        skipped: items that the sink had before.
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
    retry: Callable[[], object] | None = None,
) -> Summary:
    """Measure every job that ``sink`` lacks, on ``target``.

    What an earlier run began there and did not read to the end is read first. A job that fails,
    crashes or hangs becomes a row with its error; measuring goes on.

    Args:
        jobs: what is wanted.
        sink: where it goes.
        target: where it is measured.
        profiler: what measures.
        settings: how.
        progress: told as it goes.
        retry: makes ``sink`` forget what failed or is invalid. Called after an earlier run's job
            was read, whose failures it would store again otherwise.

    Raises:
        ProfileError: the sink cannot be written, the agent cannot run.
        OtherDevice: the target is another device now.
        UnreachableDevice: the device does not answer.
    """
    tally = _Tally(progress)
    address = _address(target)
    with _full_disk():
        for job in sink.open_jobs():
            if job.target != address:
                continue  # of another device of this kind: its results are fetched from there
            events = target.resume(job.id)
            if events is not None:
                _drain_target(job.document, events, sink, target, tally)
            _finish(job.id, sink, target)
        if retry is not None:
            retry()
            tally.forget_failed()
        left = []
        for one in jobs:
            if sink.done(one.key, one.scope):
                tally.skip(one.key, one.scope, one.label)
            elif (one.key, one.scope) not in tally.withheld:
                left.append(one)
        if left:
            package = make_package(
                left,
                profiler.name,
                settings,
                reference_outputs,
                emulated=target.descriptor.emulated,
            )
            sink.open_job(package, address)
            _drain_target(package.document, target.measure(package), sink, target, tally)
            _finish(package.id, sink, target)
    return tally.summary()


def collect(
    document: bytes,
    events: Iterator[Event],
    sink: Sink,
    max_temperature_c: float | None = None,
) -> Summary:
    """Store what an agent has said of a job elsewhere, in whole or in part.

    What is measured above ``max_temperature_c`` is flagged.

    Raises:
        ProfileError: the document or the events are not what they should be.
        OtherDevice: it was measured on another device than the sink is of.
    """
    tally = _Tally(lambda _: None)
    with _full_disk():
        _drain(document, events, sink, max_temperature_c, tally)
    return tally.summary()


def _finish(job_id: str, sink: Sink, target: Target) -> None:
    """Everything of a job is stored: what is left of it must not fail the run."""
    with suppress(HwnasError):
        target.forget(job_id)
    sink.close_job(job_id)


def _address(target: Target) -> str:
    """Where a target's jobs are: two devices may have one name, as that of their host."""
    descriptor, where = target.descriptor, target.descriptor.transport
    if not where.host and not where.serial:
        return target.name
    host = f"[{where.host}]" if ":" in where.host else where.host
    user = f"{where.user}@" if where.user else ""
    port = "" if where.port is None else f":{where.port}"
    work = where.work if where.work.startswith("/") else f"/{where.work}"
    return f"{descriptor.kind}://{user}{host or where.serial}{port}{work}"


def _drain_target(
    text: bytes, events: Generator[Event], sink: Sink, target: Target, tally: _Tally
) -> None:
    # Closed at once when the sink raises or the user interrupts: that stops a local agent.
    with closing(events):
        _drain(text, events, sink, target.descriptor.limits.max_temperature_c, tally)


def _drain(
    text: bytes, events: Iterable[Event], sink: Sink, limit: float | None, tally: _Tally
) -> None:
    document = Document.decode(text)
    collector = Collector(document, limit, hashlib.sha256(text).hexdigest())
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
    item = found if isinstance(found, Record) else document.items[found.item]
    if sink.done(item.key, item.scope):
        tally.skip(item.key, item.scope, item.label)
    elif isinstance(found, Record):
        sink.record(found)
        tally.good(found)
    else:
        failure = _failure(found, document)
        sink.fail(failure.key, failure.scope, failure.label, failure.error)
        tally.bad(failure)


def _failure(found: ItemFailed, document: Document) -> Failure:
    item = document.items[found.item]
    error = f"{found.error}; fix: {found.fix}" if found.fix else found.error
    return Failure(item.key, item.scope, item.label, error)


@dataclass
class _Tally:
    progress: Callable[[Progress], None]
    measured: int = 0
    skipped: int = 0
    counted: set[tuple[str, str]] = field(default_factory=set)
    withheld: set[tuple[str, str]] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    invalid: list[Record] = field(default_factory=list)
    fraction: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def skip(self, key: str, scope: str, label: str) -> None:
        if (key, scope) not in self.counted:
            self.counted.add((key, scope))
            self.skipped += 1
            self._say(label, "skipped")

    def good(self, record: Record) -> None:
        self.counted.add((record.key, record.scope))
        self.measured += 1
        if record.verdict == "invalid":
            self.invalid.append(record)
        self._say(record.label, "ok")

    def bad(self, failure: Failure) -> None:
        self.counted.add((failure.key, failure.scope))
        self.failures.append(failure)
        self._say(failure.label, "error", failure.error)

    def withhold(self, found: Record | ItemFailed, document: Document) -> None:
        if isinstance(found, Record):
            self.withheld.add((found.key, found.scope))
            self._say(found.label, "ok")
        else:
            self.bad(_failure(found, document))

    def forget_failed(self) -> None:
        """What failed so far is tried again, and counts when that is known."""
        self.measured -= len(self.invalid)
        self.failures.clear()
        self.invalid.clear()

    def tell(self, fraction: float, label: str) -> None:
        self.fraction = fraction
        self._say(label, "measuring")

    def summary(self) -> Summary:
        return Summary(
            self.measured,
            self.skipped,
            tuple(self.failures),
            tuple(self.invalid),
            len(self.withheld),
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
