"""From a job to its events: batches, a look at each item, then sittings; crashes become data.

The supervisor forks children that measure and stores what they say. It never loads a model itself,
so nothing that a model does can end it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from hwnas._version import __version__
from hwnas.agent.child import Child, Lost, Voice
from hwnas.agent.energy import Meter
from hwnas.agent.events import (
    SCHEMA_VERSION,
    End,
    Event,
    ItemDone,
    ItemFailed,
    Loaded,
    Probe,
    Sat,
    Sit,
    Start,
)
from hwnas.agent.fingerprint import collect, pin
from hwnas.agent.job import Document
from hwnas.agent.measure import Sensors, Work, probe, sit
from hwnas.agent.protocol import Profiler
from hwnas.agent.readings import free_bytes
from hwnas.agent.settings import Settings
from hwnas.errors import ProfileError

__all__ = ["Supervisor"]

Emit = Callable[[Event], None]

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MOST_SEATS = 256
"""Items side by side: what a round says of them all must stay one line."""

_MOST_CRASHES = 3
"""Sittings in a row that may end without an item to blame."""


@dataclass
class _Past:
    """What earlier starts of the agent have said."""

    finished: set[int] = field(default_factory=set)
    sittings: int = 0


class Supervisor:
    """Measures a job.

    Args:
        document: the job.
        job_id: its id.
        profiler: what measures.
        blobs, data: folders of its files, verified.
        emit: stores an event, durably if it is to be resumed.
        sensors: read once per round.
        meter: what counts energy, if that is asked for.
    """

    def __init__(
        self,
        document: Document,
        job_id: str,
        profiler: Profiler,
        blobs: Path,
        data: Path,
        emit: Emit,
        sensors: Sensors = dict,
        meter: Meter | None = None,
    ) -> None:
        self._document, self._id, self._profiler = document, job_id, profiler
        self._blobs, self._data, self._emit = blobs, data, emit
        self._sensors, self._meter = sensors, meter
        self._settings: Settings = document.settings

    def run(self, before: Iterable[Event] = ()) -> None:
        """Measure what ``before``, the journal so far, has not finished.

        Raises:
            HwnasError: the profiler cannot be used, a core is not there; the journal is of another
                job.
        """
        past, event = _Past(), None
        for event in before:
            if isinstance(event, Start) and event.job != self._id:
                raise ProfileError(
                    "the journal is of another job", "remove the job's folder and send it again"
                )
            if isinstance(event, (ItemDone, ItemFailed)):
                past.finished.add(event.item)
            elif isinstance(event, Sit):
                past.sittings = max(past.sittings, event.sitting + 1)
        if isinstance(event, End):
            return
        with pin(self._settings):
            info = self._profiler.runtime(self._settings)
            fingerprint = collect(info, self._settings)
        # Python 3.10 has no datetime.UTC.
        now = datetime.now(timezone.utc).strftime(_TIME)  # noqa: UP017
        self._emit(Start(SCHEMA_VERSION, self._id, "python", __version__, now, fingerprint))
        left = [i for i in range(len(self._document.items)) if i not in past.finished]
        while left:
            batch, left = self._batch(left)
            for _ in range(self._settings.sittings):
                batch, past.sittings = self._sit(batch, past.sittings)
            for item in batch:
                self._emit(ItemDone(item))
        self._emit(End())

    def _batch(self, left: list[int]) -> tuple[list[int], list[int]]:
        """Look at items until a sitting is full; those that can be measured, and the rest."""
        settings, seconds, memory = self._settings, 0.0, 0
        room = free_bytes() / 2
        most = min(settings.sitting_items, _MOST_SEATS)
        batch: list[int] = []
        for position, item in enumerate(left):
            if len(batch) >= most or seconds > settings.sitting_s or memory > room:
                return batch, left[position:]
            loaded = self._probe(item)
            if loaded is not None:
                t = loaded.first_ns / 1e9
                seconds += settings.min_rounds * (max(settings.turn_s, t) + 2 * t)
                memory += max(0, loaded.load_bytes or 0) + max(0, loaded.run_bytes or 0)
                batch.append(item)
        return batch, []

    def _probe(self, item: int) -> Loaded | None:
        self._emit(Probe(item))
        found = None
        try:
            for event in self._child(
                lambda voice: probe(self._work(item), self._profiler, self._settings, voice)
            ):
                self._emit(event)
                found = event
        except Lost as lost:
            self._emit(ItemFailed(item, lost.error))
            return None
        return found if isinstance(found, Loaded) else None

    def _sit(self, batch: list[int], number: int) -> tuple[list[int], int]:
        """One whole sitting of ``batch``, less what fails in it; and the next sitting's number."""
        crashes = 0
        while batch:
            # Not in the child, whose time is limited.
            time.sleep(self._settings.cooldown_s)
            self._emit(Sit(number, tuple(batch)))
            failed: int | None = None
            try:
                for event in self._child(partial(self._measure, tuple(batch), number)):
                    self._emit(event)
                    failed = event.item if isinstance(event, ItemFailed) else failed
            except Lost as lost:
                failed, crashes = lost.item, crashes + 1
                if failed is None and crashes >= _MOST_CRASHES:
                    for item in batch:
                        self._emit(ItemFailed(item, f"measured with others: {lost.error}"))
                    return [], number + 1
                if failed is not None:
                    self._emit(ItemFailed(failed, lost.error))
            else:
                if failed is None:
                    self._emit(Sat(number))
                    return batch, number + 1
            batch = [item for item in batch if item != failed]
            number += 1
        return batch, number

    def _measure(self, batch: Sequence[int], number: int, voice: Voice) -> None:
        works = [self._work(item) for item in batch]
        sit(works, number, self._profiler, self._settings, voice, self._sensors, self._meter)

    def _work(self, item: int) -> Work:
        found = self._document.items[item]
        return Work(item, found.job(self._blobs, self._data), found.expected)

    def _child(self, work: Callable[[Voice], None]) -> Iterator[Event]:
        def pinned(voice: Voice) -> None:
            with pin(self._settings):
                work(voice)

        child = Child(pinned, self._settings.time_limit_s)
        try:
            yield from child.events()
        finally:
            child.close()
