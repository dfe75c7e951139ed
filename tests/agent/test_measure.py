"""What a child does with several items: who runs when, how often, and what is said of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.agent import measure
from hwnas.agent.child import Child, Voice
from hwnas.agent.energy import Meter
from hwnas.agent.events import Energy, Event, ItemFailed, Loaded, Round, Stopped, Warm
from hwnas.agent.expected import expect
from hwnas.agent.measure import Work, probe, sit
from hwnas.agent.protocol import Job, RuntimeInfo, Tensor
from hwnas.agent.settings import Settings
from hwnas.agent.wire import encode_event, parse_event

MS = 1_000_000
SETTINGS = Settings(min_rounds=6, max_rounds=10, warmup_window_s=0.0, sample_time_s=60.0)


@dataclass
class Told:
    """In place of a pipe to the parent."""

    events: list[Event] = field(default_factory=list)
    item: int | None = None

    def at(self, item: int | None) -> None:
        self.item = item

    def say(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Fake:
    """A profiler of which runs take what each job's label says, in ns; notes what is asked."""

    name = "fake"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sleep_s = 0.0

    def runtime(self, settings: Settings) -> RuntimeInfo:
        return RuntimeInfo("fake", "1", "fake")

    def prepare(self, settings: Settings) -> None:
        self.log.append("prepare")

    def load(self, job: Job, settings: Settings, inputs: Mapping[str, NDArray[Any]]) -> FakeRunner:
        self.log.append(f"load {job.key}")
        return FakeRunner(self, job, inputs)


class FakeRunner:
    def __init__(self, profiler: Fake, job: Job, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._profiler, self._log = profiler, profiler.log
        self._job, self._inputs = job, inputs

    def refresh(self) -> None:
        self._log.append(f"refresh {self._job.key}")

    def run(self) -> int:
        self._log.append(f"run {self._job.key}")
        time.sleep(self._profiler.sleep_s)
        return int(self._job.label)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return self._inputs

    def close(self) -> None:
        self._log.append(f"close {self._job.key}")


@pytest.fixture
def fake() -> Iterator[Fake]:
    yield Fake()
    gc.enable()  # a child that ends anyway leaves it off


def work(item: int, ns: int, *expected: Any) -> Work:
    tensors = (Tensor("x", "float32", (2, 3)),)
    return Work(item, Job("abc"[item], "block", str(ns), b"", Path(), tensors), expected)


def sat(fake: Fake, *works: Work, settings: Settings = SETTINGS, **more: Any) -> Told:
    told = Told()
    sit(works, 4, fake, settings, cast(Voice, told), **more)
    return told


class TestProbe:
    def told(self, fake: Fake, item: Work) -> list[Event]:
        told = Told()
        probe(item, fake, SETTINGS, cast(Voice, told))
        assert told.item == item.item, "so that a crash is booked on it"
        return told.events

    def test_prepares_loads_runs_twice_and_closes(self, fake: Fake) -> None:
        [event] = self.told(fake, work(1, 5 * MS))
        assert fake.log == ["prepare", "load b", "run b", "run b", "close b"]
        assert isinstance(event, Loaded)
        assert (event.item, event.first_ns) == (1, 5 * MS)
        assert (event.error, event.outputs_ok) == (None, None)
        assert isinstance(event.load_bytes, int) and isinstance(event.run_bytes, int)

    def test_freed_memory_is_given_back_before_each_reading(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(measure, "trim", lambda: fake.log.append("trim"))
        monkeypatch.setattr(measure, "pss_bytes", lambda: fake.log.append("pss"))
        self.told(fake, work(0, MS))
        read = [i for i, entry in enumerate(fake.log) if entry == "pss"]
        assert len(read) == 3 and all(fake.log[i - 1] == "trim" for i in read)

    def test_compares_outputs_with_what_is_expected(self, fake: Fake) -> None:
        from hwnas.agent.inputs import make_inputs

        same = make_inputs(work(0, MS).job.inputs, SETTINGS.seed)
        [event] = self.told(fake, work(0, MS, *expect(same)))
        assert isinstance(event, Loaded) and (event.error, event.outputs_ok) == (0.0, True)
        other = {"x": np.asarray(same["x"] * np.float32(1.01))}
        [event] = self.told(fake, work(0, MS, *expect(other)))
        assert isinstance(event, Loaded) and event.outputs_ok is False
        assert event.error is not None and 0.01 < event.error < 0.018

    def test_says_what_fails(self, fake: Fake) -> None:
        [event] = self.told(fake, work(2, 0))
        assert event == ItemFailed(2, "the profiler says that a run took 0 ns", "", "ProfileError")


class TestSitting:
    def test_all_are_loaded_and_warm_before_the_first_round(self, fake: Fake) -> None:
        told = sat(fake, work(0, MS), work(1, 2 * MS))
        kinds = [type(event) for event in told.events]
        assert kinds[:3] == [Warm, Warm, Round]
        assert told.events[0] == Warm(4, 0, 10, "steady")
        assert fake.log.index("load b") > fake.log.index("run a")
        assert fake.log.count("prepare") == 1

    def test_a_turn_is_a_refresh_a_cold_run_and_some_that_are_kept(self, fake: Fake) -> None:
        settings = replace(SETTINGS, turn_s=0.003)
        told = sat(fake, work(0, MS), settings=settings)
        start = fake.log.index("refresh a")
        assert fake.log[start : start + 6] == ["refresh a", *["run a"] * 4, "refresh a"]
        for one in told.of(Round):
            [turn] = one.turns
            assert turn.cold == MS and turn.ns == (MS,) * 3
            assert turn.wall > 0 and turn.cpu >= 0

    def test_long_ones_have_no_cold_run(self, fake: Fake) -> None:
        told = sat(fake, work(0, 10 * MS), work(1, 10 * MS - 1))
        for one in told.of(Round):
            assert {t.item: t.cold is None for t in one.turns} in ({0: True, 1: False}, {1: False})
            assert all(len(turn.ns) == 1 for turn in one.turns)

    def test_rounds_are_numbered_and_have_each_item_that_goes_on(self, fake: Fake) -> None:
        # The second one has used up its time after the fewest rounds.
        settings = replace(SETTINGS, sample_time_s=0.5, min_rounds=10)
        told = sat(fake, work(0, MS), work(1, 100 * MS), settings=settings)
        rounds = told.of(Round)
        assert [one.round for one in rounds] == list(range(10))
        assert {one.sitting for one in rounds} == {4}
        there = [sorted(turn.item for turn in one.turns) for one in rounds]
        assert there == [[0, 1]] * 6 + [[0]] * 4
        stopped = {one.item: one.stopped_by for one in told.of(Stopped)}
        assert stopped[1] == "time" and stopped[0] in ("converged", "max_rounds")

    def test_sensors_are_read_once_a_round(self, fake: Fake) -> None:
        degrees = iter(range(100))
        told = sat(fake, work(0, MS), sensors=lambda: {"temperature_c": float(next(degrees))})
        rounds = told.of(Round)
        assert [one.readings["temperature_c"] for one in rounds] == list(range(len(rounds)))
        assert all(min(one.canary) > 0 for one in rounds)

    def test_readings_that_cannot_be_told_are_left_out(self, fake: Fake) -> None:
        odd = {"a b": 1.0, "nan": float("nan"), "good_c": 2.0}
        many = {f"n{i}": float(i) for i in range(100)}
        for one in sat(fake, work(0, MS), sensors=lambda: odd).of(Round):
            assert one.readings == {"good_c": 2.0}
            parse_event(encode_event(one))
        assert len(sat(fake, work(0, MS), sensors=lambda: many).of(Round)[0].readings) == 64

    def test_one_that_fails_ends_it_and_is_named(self, fake: Fake) -> None:
        told = sat(fake, work(0, MS), work(1, -3), work(2, MS))
        assert told.events[-1] == ItemFailed(
            1, "the profiler says that a run took -3 ns", "", "ProfileError"
        )
        assert "load c" not in fake.log and told.of(Round) == []

    def test_nobody_is_blamed_between_turns(self, fake: Fake) -> None:
        assert sat(fake, work(0, MS)).item is None


class TestEnergy:
    class Counter:
        name = source = "counter"

        def __init__(self, step: float) -> None:
            self._said, self._step = 0.0, step

        def joules(self) -> float:
            self._said += self._step
            return self._said

    def test_is_of_each_item_run_in_a_row(self, fake: Fake) -> None:
        settings = replace(SETTINGS, energy_s=0.05)
        meter = Meter(self.Counter(2.5))
        told = sat(fake, work(0, MS), work(1, MS), settings=settings, meter=meter)
        found = told.of(Energy)
        assert [one.item for one in found] == [0, 1]
        for one in found:
            assert (one.joules, one.sensor) == (2.5, "counter")
            assert one.seconds >= 0.05 and one.runs > 1
        assert told.events[-2:] == found, "after the last round"

    def test_it_runs_as_many_in_a_row_as_in_a_turn(self, fake: Fake) -> None:
        asked = []

        class Ticks(Meter):
            def tick(self) -> None:
                asked.append(len(fake.log))

        settings = replace(SETTINGS, turn_s=0.005, energy_s=1e-9)
        told = sat(fake, work(0, MS), settings=settings, meter=Ticks(self.Counter(1.0)))
        assert [one.runs for one in told.of(Energy)] == [5 * len(asked)]
        assert fake.log[-5:] == ["run a"] * 5

    def test_the_time_limit_begins_anew_while_it_runs(self, fake: Fake) -> None:
        settings = replace(SETTINGS, energy_s=3.0, turn_s=0.0)
        meter = Meter(self.Counter(1.0))
        fake.sleep_s = 0.01
        child = Child(
            lambda voice: sit([work(0, MS)], 0, fake, settings, voice, meter=meter), limit_s=2.0
        )
        try:
            said = list(child.events())
        finally:
            child.close()
        assert isinstance(said[-1], Energy) and said[-1].seconds >= 3.0

    def test_none_is_not_said_to_be_0(self, fake: Fake) -> None:
        told = sat(
            fake,
            work(0, MS),
            settings=replace(SETTINGS, energy_s=0.01),
            meter=Meter(self.Counter(0.0)),
        )
        assert told.of(Energy) == []
