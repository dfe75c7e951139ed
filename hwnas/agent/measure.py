"""What happens in the forked children: a look at one item, and a sitting of several."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.canary import canary_ns
from hwnas.agent.child import Voice
from hwnas.agent.energy import Meter
from hwnas.agent.events import Energy, ItemFailed, Loaded, Round, Stopped, Turn, Warm
from hwnas.agent.expected import Expected, compare
from hwnas.agent.inputs import make_inputs
from hwnas.agent.protocol import Job, Profiler, Runner
from hwnas.agent.readings import involuntary_switches, pss_bytes, throttled, trim
from hwnas.agent.rounds import Pace
from hwnas.agent.samples import waited
from hwnas.agent.settings import Settings
from hwnas.agent.stopping import MedianConverged, WarmUp
from hwnas.agent.wire import MOST_READINGS, as_word, is_reading
from hwnas.errors import HwnasError, ProfileError

__all__ = ["Sensors", "Work", "failure", "probe", "sit"]

_NS_PER_S = 1e9
_LONGEST_ERROR = 1000

Sensors = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Work:
    """One item: its number in the job, and what a profiler takes."""

    item: int
    job: Job
    expected: Sequence[Expected]


def probe(work: Work, profiler: Profiler, settings: Settings, voice: Voice) -> None:
    """Load one item alone, read its memory, run it twice and check its outputs."""
    voice.at(work.item)
    try:
        inputs = make_inputs(work.job.inputs, settings.seed)
        profiler.prepare(settings)
        gc.collect()
        trim()
        before = pss_bytes()
        runner = profiler.load(work.job, settings, inputs)
        trim()
        loaded = pss_bytes()
        _run(runner)
        first_ns = _run(runner)
        trim()
        ran = pss_bytes()
        error, good = _check(runner, work.expected)
        runner.close()
    except Exception as error_:
        voice.say(failure(work.item, error_))
        return
    voice.say(
        Loaded(
            work.item, _difference(loaded, before), _difference(ran, loaded), first_ns, error, good
        )
    )


def _check(runner: Runner, expected: Sequence[Expected]) -> tuple[float | None, bool | None]:
    outputs = runner.outputs() if expected else {}
    if not outputs:
        return None, None
    error, good = compare(expected, outputs)
    return (error if math.isfinite(error) else None), good


def failure(item: int, error: Exception) -> ItemFailed:
    """An error as an event: its own type where it is one of hwnas, in one line."""
    if isinstance(error, HwnasError):
        return ItemFailed(item, _one_line(error.cause), _one_line(error.fix), type(error).__name__)
    return ItemFailed(item, _one_line(f"{type(error).__name__}: {error}"))


class _Seat:
    """One item in a sitting."""

    def __init__(self, work: Work, runner: Runner, settings: Settings) -> None:
        self.item, self.runner = work.item, runner
        self.rule = MedianConverged(settings)
        warmup = WarmUp(settings)
        while warmup.add(_run(runner)) is None:
            pass
        self.warm_runs, self.warm_stopped_by = warmup.runs, warmup.stopped_by or ""
        seconds = warmup.median_ns / _NS_PER_S
        self.cold = seconds < settings.cold_limit_s
        self.runs = settings.turn_runs(seconds)
        self.threads = settings.threads

    def turn(self) -> Turn:
        """Run, and tell the rule."""
        runner = self.runner
        runner.refresh()
        switches = involuntary_switches()
        cold = _run(runner) if self.cold else None
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        ns = [runner.run() for _ in range(self.runs)]
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        after = involuntary_switches()
        if min(ns) <= 0:
            raise ProfileError(f"the profiler says that a run took {min(ns)} ns")
        self.rule.tell(ns, not waited(wall, cpu, self.threads))
        taken = None if switches is None or after is None else after - switches
        return Turn(self.item, cold, tuple(ns), wall, cpu, taken)


def sit(
    works: Sequence[Work],
    number: int,
    profiler: Profiler,
    settings: Settings,
    voice: Voice,
    sensors: Sensors = dict,
    meter: Meter | None = None,
) -> None:
    """Load ``works`` side by side, warm them up, and run them in rounds until all have stopped."""
    profiler.prepare(settings)
    seats: list[_Seat] = []
    for work in works:
        voice.at(work.item)
        try:
            inputs: dict[str, NDArray[Any]] = make_inputs(work.job.inputs, settings.seed)
            seat = _Seat(work, profiler.load(work.job, settings, inputs), settings)
        except Exception as error:
            voice.say(failure(work.item, error))
            return
        seats.append(seat)
        voice.say(Warm(number, seat.item, seat.warm_runs, seat.warm_stopped_by))
    gc.collect()
    gc.disable()
    order = random.Random(f"{settings.seed} {number}")
    left, pace, rounds = list(seats), Pace(), 0
    while left:
        order.shuffle(left)
        # Whoever stores the round before has the caches; the first canary is not its business.
        before, stops = canary_ns(), throttled()
        turns = []
        for seat in left:
            voice.at(seat.item)
            try:
                turns.append(seat.turn())
            except Exception as error:
                voice.say(failure(seat.item, error))
                return
        voice.at(None)
        canary, after = (before, canary_ns()), throttled()
        stopped = None if stops is None or after is None else after - stops
        voice.say(Round(number, rounds, canary, stopped, _told(sensors()), tuple(turns)))
        for turn in turns:
            pace.tell(turn.item, rounds, turn.ns)
        rounds += 1
        factors = np.array(list(pace.factors().values()))
        for seat in left:
            if (why := seat.rule.judge(factors)) is not None:
                voice.say(Stopped(number, seat.item, why))
        left = [seat for seat in left if seat.rule.stopped_by is None]
    if meter is not None:
        for event in _energy(seats, settings, meter, voice):
            voice.say(event)


def _energy(
    seats: Sequence[_Seat], settings: Settings, meter: Meter, voice: Voice
) -> Iterator[Energy]:
    """Joules of each item run in a row for a while: counters are too coarse for single runs."""
    for seat in seats:
        voice.at(seat.item)
        runs, start = 0, time.perf_counter()
        meter.begin()
        while (spent := time.perf_counter() - start) < settings.energy_s or runs == 0:
            # As many in a row as in a turn: what is done between them costs energy too.
            for _ in range(seat.runs):
                seat.runner.run()
            runs += seat.runs
            meter.tick()
            voice.at(seat.item)
        joules = meter.end()
        if joules is not None and joules > 0:
            yield Energy(seat.item, joules, runs, spent, as_word(meter.source))
    voice.at(None)


def _told(readings: Mapping[str, float]) -> dict[str, float]:
    """Those that can be told: a driver's odd word must not cost a measurement."""
    good = [(name, value) for name, value in readings.items() if is_reading(name, value)]
    return dict(good[:MOST_READINGS])


def _run(runner: Runner) -> int:
    ns = runner.run()
    if ns <= 0:
        raise ProfileError(f"the profiler says that a run took {ns} ns")
    return ns


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_ERROR else line[:_LONGEST_ERROR] + " ..."
