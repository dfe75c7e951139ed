"""From an agent's events to records. What a device sends is checked before anything believes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hwnas.agent import events as ev
from hwnas.agent.job import Document
from hwnas.agent.rounds import Pace
from hwnas.agent.samples import waited
from hwnas.errors import ProfileError
from hwnas.profile.record import Energy, Record, Round, Turn
from hwnas.profile.verdict import judge

__all__ = ["Collector"]


@dataclass
class _Item:
    """What is known of an item so far, from whole sittings."""

    loaded: ev.Loaded | None = None
    finished: bool = False
    warmed: list[ev.Warm] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    energy: list[ev.Energy] = field(default_factory=list)


class Collector:
    """Told every event of a job, from the first one on; yields what has become of items.

    Events of a sitting count once it is whole; what an agent that was killed had said of
    unfinished items does not.

    Args:
        document: the job.
        max_temperature_c: above it, a measurement is flagged.
        job_id: the job's; events of another are refused. Empty: not compared.
    """

    def __init__(
        self, document: Document, max_temperature_c: float | None = None, job_id: str = ""
    ) -> None:
        self._document = document
        self._id = job_id
        self._limit = max_temperature_c
        self._items = [_Item() for _ in document.items]
        # Finished before the agent's last start: it may tell of them once more.
        self._before: set[int] = set()
        self._sit: ev.Sit | None = None
        self._last, self._rounds = -1, 0
        self._said: list[ev.Warm | ev.Round | ev.Stopped | ev.Energy] = []
        self.fingerprint: dict[str, object] | None = None
        self.units = 0
        # Of calm turns of whole sittings: items by number, rounds by sitting and number.
        self._pace = Pace()

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        each = 1 + self._document.settings.sittings
        return min(1.0, self.units / max(1, each * len(self._items)))

    def add(self, event: ev.Event) -> Iterator[Record | ev.ItemFailed]:
        """Tell one event.

        Raises:
            ProfileError: it cannot be said at this point.
        """
        match event:
            case ev.Start():
                self._start(event)
            case ev.Probe() | ev.Loaded() | ev.ItemDone() | ev.ItemFailed():
                yield from self._about(event)
            case ev.Sit():
                self._begin(event)
            case ev.Warm() | ev.Round() | ev.Stopped():
                self._within(event)
            case ev.Energy():
                if self._sit is None or event.item not in self._sit.items:
                    raise _nonsense("energy outside a sitting")
                self._said.append(event)
            case ev.Sat():
                self._whole(event)
            case ev.Described():
                raise _nonsense("a description")
            case ev.End():
                left = [index for index, item in enumerate(self._items) if not item.finished]
                if left:
                    raise _nonsense(f"the end, though item {left[0]} is not finished")
            case ev.AgentError():
                pass

    def _begin(self, event: ev.Sit) -> None:
        if event.sitting <= self._last:
            raise _nonsense(f"sitting {event.sitting} after sitting {self._last}")
        for index in event.items:
            self._item(index)
        self._sit, self._said = event, []
        self._last, self._rounds = event.sitting, 0

    def _start(self, event: ev.Start) -> None:
        if self._id and event.job != self._id:
            raise _nonsense(f"job {event.job[:12]}, where {self._id[:12]} was asked for")
        self.fingerprint = dict(event.fingerprint)
        self._sit, self._said = None, []
        # A power cut may have taken lines that were read already: their numbers come again, and
        # so does what they said of items that are finished here.
        self._last = -1
        self._before = {index for index, item in enumerate(self._items) if item.finished}
        for index, item in enumerate(self._items):
            if not item.finished:
                self._items[index] = _Item()
        self._pace.keep(self._before)

    def _about(
        self, event: ev.Probe | ev.Loaded | ev.ItemDone | ev.ItemFailed
    ) -> Iterator[Record | ev.ItemFailed]:
        item = self._item(event.item)
        if event.item in self._before:
            return
        if item.finished:
            raise _nonsense(f"item {event.item} again after it was finished")
        if isinstance(event, ev.Loaded):
            item.loaded = event
            self.units += 1
        elif isinstance(event, ev.ItemDone):
            yield self._record(event.item, item)
        elif isinstance(event, ev.ItemFailed):
            yield event
        item.finished = isinstance(event, ev.ItemDone | ev.ItemFailed)
        if isinstance(event, ev.ItemFailed):
            self.units += 1 + self._document.settings.sittings

    def _within(self, event: ev.Warm | ev.Round | ev.Stopped) -> None:
        sit = self._sit
        if sit is None or event.sitting != sit.sitting:
            raise _nonsense(f"sitting {event.sitting}, which has not begun")
        about = [t.item for t in event.turns] if isinstance(event, ev.Round) else [event.item]
        if len(set(about)) != len(about) or set(about) - set(sit.items):
            raise _nonsense(f"an item that is not in sitting {sit.sitting}, or twice")
        if isinstance(event, ev.Round):
            if event.round != self._rounds:
                raise _nonsense(f"round {event.round} where round {self._rounds} is due")
            self._rounds += 1
        if isinstance(event, ev.Stopped) and event.item not in self._before:
            self.units += 1
        self._said.append(event)

    def _whole(self, event: ev.Sat) -> None:
        if self._sit is None or event.sitting != self._sit.sitting:
            raise _nonsense(f"the end of sitting {event.sitting}, which has not begun")
        for said in self._said:
            match said:
                case ev.Warm():
                    self._items[said.item].warmed.append(said)
                case ev.Stopped():
                    self._items[said.item].stops.append(said.stopped_by)
                case ev.Energy():
                    self._items[said.item].energy.append(said)
                case ev.Round():
                    self._round(said)
        self._sit, self._said = None, []

    def _round(self, said: ev.Round) -> None:
        around = Round(said.sitting, said.round, said.canary, said.throttled, said.readings)
        for turn in said.turns:
            item = self._items[turn.item]
            if item.finished:
                continue
            if not waited(turn.wall, turn.cpu, self._document.settings.threads):
                self._pace.tell(turn.item, (said.sitting, said.round), turn.ns)
            item.rounds.append(around)
            item.turns.append(
                Turn(
                    said.sitting, said.round, turn.cold, turn.ns, turn.wall, turn.cpu, turn.switches
                )
            )

    def _record(self, index: int, item: _Item) -> Record:
        if item.loaded is None or not item.turns or not item.stops:
            raise _nonsense(f"item {index} is done, though nothing was measured of it")
        wanted = self._document.items[index]
        record = Record(
            key=wanted.key,
            scope=wanted.scope,
            label=wanted.label,
            stopped_by=_worst(item.stops),
            verdict="unknown",
            reasons=(),
            load_bytes=item.loaded.load_bytes,
            run_bytes=item.loaded.run_bytes,
            error=item.loaded.error,
            outputs_ok=item.loaded.outputs_ok,
            warmup_runs=2 + sum(warm.runs for warm in item.warmed),
            warmup_stopped_by=_worst([warm.stopped_by for warm in item.warmed]),
            turns=tuple(item.turns),
            rounds=tuple(item.rounds),
            energy=_sum(item.energy),
        )
        return judge(record, self._document.settings, self._limit, self._factors(record))

    def _factors(self, record: Record) -> list[float]:
        """By how much each turn's round was slower than the typical one, from all items so far."""
        factors = self._pace.factors()
        return [factors.get((turn.sitting, turn.round), 1.0) for turn in record.turns]

    def _item(self, index: int) -> _Item:
        if index >= len(self._items):
            raise _nonsense(f"item {index} of {len(self._items)}")
        return self._items[index]


_BEST_FIRST = ("steady", "converged", "max_rounds", "max_runs", "time")


def _worst(reasons: list[str]) -> str:
    """The one that says least for the measurement."""
    known = [reason for reason in _BEST_FIRST if reason in reasons]
    return known[-1] if known else (reasons[0] if reasons else "")


def _sum(found: list[ev.Energy]) -> Energy | None:
    if not found:
        return None
    return Energy(
        sum(one.joules for one in found),
        sum(one.runs for one in found),
        sum(one.seconds for one in found),
        found[0].sensor,
    )


def _nonsense(what: str) -> ProfileError:
    return ProfileError(
        f"the agent does not speak the protocol: it tells of {what}",
        "install the same hwnas on the device; if it is the same, measure into a new table",
    )
