"""Jobs on devices apart: begun, cut off, found again, of an emulator, of another device."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hwnas.agent.events import End, Event, ItemDone, Round, Start
from hwnas.errors import LinkLost, OtherDevice, ProfileError, UnreachableDevice
from hwnas.profile import (
    Descriptor,
    Fingerprint,
    Job,
    Package,
    Settings,
    collect,
    load_profiler,
    load_target,
    profile,
)
from hwnas.profile.transport import Transport
from hwnas.table import Lut
from tests.support.measuring import QUICK, named
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("example_plugins")

SETTINGS = replace(QUICK, sitting_items=1)
LABELS = ("one", "raise", "two")


@dataclass
class Apart:
    """A device that goes on by itself: real events, kept as a journal would keep them."""

    name: str = "apart"
    emulated: bool = False
    said_before_the_link_is_lost: int | None = None
    transport: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, list[Event]] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

    @property
    def descriptor(self) -> Descriptor:
        values = {"schema_version": 1, "name": self.name, "kind": "apart"}
        more = {"emulated": self.emulated, "transport": self.transport}
        return Descriptor.model_validate({**values, **more})

    def cores(self) -> tuple[int, ...]:
        return load_target("cpu").cores()

    def fingerprint(self, profiler: str, settings: Settings) -> Fingerprint:
        return load_target("cpu").fingerprint(profiler, settings)

    def measure(self, package: Package) -> Generator[Event]:
        if package.id not in self.jobs:
            self.jobs[package.id] = list(load_target("cpu").measure(package))
        yield from self._read(package.id)

    def resume(self, job_id: str) -> Generator[Event] | None:
        return self._read(job_id) if job_id in self.jobs else None

    def _read(self, job_id: str) -> Generator[Event]:
        for number, event in enumerate(self.jobs[job_id]):
            if number == self.said_before_the_link_is_lost:
                self.said_before_the_link_is_lost = None
                raise LinkLost("the link to apart was lost", "check the network")
            yield event

    def forget(self, job_id: str) -> None:
        self.forgotten.append(job_id)
        self.jobs.pop(job_id, None)

    def shell(self) -> Transport | None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return named(tmp_path, *LABELS)


@pytest.fixture
def lut(tmp_path: Path) -> Iterator[Lut]:
    device = load_target("cpu").fingerprint("faulty", SETTINGS)
    with Lut.create(tmp_path / "lut.db", device, SETTINGS) as opened:
        yield opened


def measure(jobs: list[Job], lut: Lut, target: Apart) -> tuple[int, int, int]:
    summary = profile(jobs, lut, target, load_profiler("faulty"), SETTINGS)
    return summary.measured, summary.skipped, len(summary.failures)


def labels(lut: Lut) -> list[str]:
    return [row.label for row in lut.rows()]


def test_a_job_is_read_to_its_end_and_forgotten(lut: Lut, jobs: list[Job]) -> None:
    target = Apart()
    assert measure(jobs, lut, target) == (2, 0, 1)
    assert sorted(labels(lut)) == ["one", "raise", "two"]
    assert len(target.forgotten) == 1 and target.jobs == {}
    assert lut.open_jobs() == []


def test_a_link_that_is_lost_for_good_leaves_the_job_open(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=20)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    [job] = lut.open_jobs()
    assert job.id in target.jobs and target.forgotten == []
    before = labels(lut)
    assert 0 < len(before) < 3
    # It is read from its first event on, and what is in the table is not stored again.
    measured, skipped, failed = measure(jobs, lut, target)
    assert measured + failed == 3 - len(before) and skipped == len(before)
    assert sorted(labels(lut)) == ["one", "raise", "two"]
    assert lut.open_jobs() == [] and target.forgotten == [job.id]


def test_what_a_device_has_finished_meanwhile_is_read_without_measuring(
    lut: Lut, jobs: list[Job]
) -> None:
    target = Apart(said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    assert measure([], lut, target) == (2, 0, 1)
    assert lut.open_jobs() == []


def test_a_job_that_the_device_has_lost_is_measured_anew(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=3)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    target.jobs.clear()
    assert measure(jobs, lut, target) == (2, 0, 1)
    assert lut.open_jobs() == []


def test_a_job_of_another_device_stays_open(lut: Lut, jobs: list[Job]) -> None:
    first = Apart(name="first", said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, first)
    assert measure(jobs[:2], lut, Apart(name="second")) == (1, 0, 1)
    [job] = lut.open_jobs()
    assert job.target == "first"


def test_a_job_of_a_device_of_the_same_name_stays_open(lut: Lut, jobs: list[Job]) -> None:
    there = Apart(said_before_the_link_is_lost=0, transport={"host": "a", "user": "me"})
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, there)
    assert measure(jobs[:2], lut, Apart(transport={"host": "b", "work": "~/w"})) == (1, 0, 1)
    [job] = lut.open_jobs()
    assert job.target.startswith("apart://me@a/")
    assert measure(jobs, lut, there) == (1, 2, 0)
    assert lut.open_jobs() == []


def test_a_job_that_cannot_be_removed_is_closed(
    lut: Lut, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Apart, job_id: str) -> None:
        raise LinkLost("gone", "come back")

    monkeypatch.setattr(Apart, "forget", refuse)
    assert measure(jobs, lut, Apart()) == (2, 0, 1)
    assert lut.open_jobs() == []


def test_what_an_earlier_job_ended_with_is_counted_once(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    assert measure(jobs, lut, target) == (2, 0, 1)
    assert measure(jobs, lut, target) == (0, 3, 0)


def test_a_failure_that_an_earlier_job_tells_of_is_tried_again(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    forgotten: list[int] = []
    summary = profile(
        jobs,
        lut,
        target,
        load_profiler("faulty"),
        SETTINGS,
        retry=lambda: forgotten.append(lut.clear_failures()),
    )
    assert forgotten == [1]
    assert (summary.measured, summary.skipped, len(summary.failures)) == (2, 0, 1)
    assert len(target.forgotten) == 2, "the earlier job, and one of what had failed"


def test_an_emulators_job_is_not_measured_twice(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(emulated=True, said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs[:1], lut, target)
    summary = profile(jobs[:1], lut, target, load_profiler("faulty"), SETTINGS)
    assert (summary.measured, summary.withheld) == (0, 1)
    assert len(target.forgotten) == 1


def test_what_an_emulator_measures_is_not_stored(lut: Lut, jobs: list[Job]) -> None:
    summary = profile(jobs, lut, Apart(emulated=True), load_profiler("faulty"), SETTINGS)
    assert (summary.measured, summary.withheld, len(summary.failures)) == (0, 2, 1)
    assert labels(lut) == []


def test_another_device_is_refused_and_nothing_stored(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    [(job, events)] = target.jobs.items()
    target.jobs[job] = [
        replace(event, fingerprint={**event.fingerprint, "cpu": "another"})
        if isinstance(event, Start)
        else event
        for event in events
    ]
    with pytest.raises(OtherDevice, match="CPU: another here"):
        measure(jobs, lut, target)
    assert labels(lut) == []


def test_an_end_before_the_work_is_done_is_nonsense(lut: Lut, jobs: list[Job]) -> None:
    target = Apart(said_before_the_link_is_lost=0)
    with pytest.raises(UnreachableDevice):
        measure(jobs, lut, target)
    [(job, events)] = target.jobs.items()
    target.jobs[job] = [e for e in events if e != ItemDone(2)]
    with pytest.raises(ProfileError, match="item 2 is not finished"):
        measure(jobs, lut, target)
    assert [one.id for one in lut.open_jobs()] == [job], "nothing is given up"
    assert job not in target.forgotten


class TestCollect:
    """What was fetched as files is stored, in whole or in part."""

    @pytest.fixture
    def fetched(self, lut: Lut, jobs: list[Job]) -> tuple[bytes, list[Event]]:
        target = Apart(said_before_the_link_is_lost=0)
        with pytest.raises(UnreachableDevice):
            measure(jobs, lut, target)
        [job] = lut.open_jobs()
        return job.document, target.jobs[job.id]

    def test_whole(self, lut: Lut, fetched: tuple[bytes, list[Event]]) -> None:
        document, events = fetched
        summary = collect(document, iter(events), lut)
        assert (summary.measured, len(summary.failures)) == (2, 1)
        again = collect(document, iter(events), lut)
        assert (again.measured, again.skipped, len(again.failures)) == (0, 3, 0)
        assert sorted(labels(lut)) == ["one", "raise", "two"]

    def test_part(self, lut: Lut, fetched: tuple[bytes, list[Event]]) -> None:
        document, events = fetched
        assert isinstance(events[-1], End)
        upto = events.index(ItemDone(0)) + 1
        assert collect(document, iter(events[:upto]), lut).measured == 1
        assert labels(lut) == ["one"]

    def test_what_was_too_hot_is_flagged(
        self, lut: Lut, fetched: tuple[bytes, list[Event]]
    ) -> None:
        document, events = fetched
        hot = [
            replace(event, readings={"temperature_c": 71.0}) if isinstance(event, Round) else event
            for event in events
        ]
        collect(document, iter(hot), lut, max_temperature_c=70.0)
        measured = lut.measurement(lut.keys("block", invalid=True)[0], "block", invalid=True)
        assert measured is not None
        assert any("more than 70" in reason for reason in measured.reasons), measured.reasons

    def test_a_document_that_is_none(self, lut: Lut, fetched: tuple[bytes, list[Event]]) -> None:
        with pytest.raises(ProfileError, match="not a job"):
            collect(b"{}", iter(fetched[1]), lut)
