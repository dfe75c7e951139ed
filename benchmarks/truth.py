"""What predictions are held against: random subnets, their truth, the protocol of other tools.

Measuring is in fresh processes; the truth is taken by other code than the tool's own agent, so that
a fault there cannot hide.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import numpy as np

from hwnas.agent.inputs import make_inputs
from hwnas.agent.readings import pss_bytes, trim
from hwnas.processes import die_with_parent
from hwnas.profile import Job, Runner, Settings, load_profiler
from hwnas.profile.interleave import interleave, pinned
from hwnas.space import EqualChoice, Space, Subnet

__all__ = ["REPLICATES", "Fixed", "draw", "fixed_protocol", "footprints", "replicate"]

REPLICATES = 4
"""Sessions of each subnet: where weights happen to lie in memory moves one by about 1%."""

_SECONDS = 12.0
_ROUNDS = 7

_WARMUPS, _RUNS = 10, 100
"""The fixed protocol, as in nn-Meter, Once-for-All and their like."""

_TILT = 4.0
"""Log of how much likelier the last choice is than the first, at most, and the reverse."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Fixed:
    """What the fixed protocol gave.

    Attributes:
        mean_ns: of the timed runs, by job key.
        seconds: in runs, warm-ups included, by job key.
        wall_s: for all, loading included.
    """

    mean_ns: dict[str, float]
    seconds: dict[str, float]
    wall_s: float


def draw(space: Space, rng: random.Random) -> Subnet:
    """A random subnet; the sizes of many spread over the space.

    With every choice equally likely, nearly all subnets of a space with many slots are of one
    size, and to order them is to order noise. So each subnet first draws how much it prefers late
    choices and depths to early ones.
    """
    tilt = rng.uniform(-_TILT, _TILT)

    def pick(options: Sequence[_T]) -> _T:
        last = max(1, len(options) - 1)
        return rng.choices(options, [math.exp(tilt * i / last) for i in range(len(options))])[0]

    words: list[str] = []
    skipped: set[str] = set()
    group: dict[str, int] = {}
    for number, rule in enumerate(space.rules):
        if isinstance(rule, EqualChoice):
            group |= dict.fromkeys(rule.slots, number)
            continue
        depth = pick(rule.depths)
        skipped |= set(rule.slots) - rule.active(depth)
        words += [f"{rule.name}{depth}"] if len(rule.depths) > 1 else []
    drawn: set[int] = set()
    for slot in space.slots:
        number = group.get(slot.name, -1)
        if len(slot.choices) < 2 or slot.name in skipped or number in drawn:
            continue
        prefix = f"{slot.name}." if number < 0 else ""
        drawn |= {number} - {-1}
        words.append(prefix + pick(slot.choices))
    return space.find("-".join(words))


def replicate(jobs: Sequence[Job], seed: int) -> list[float]:
    """Median latency of each job in ms, all in sessions of one fresh process, in turn.

    Rounds are put on one level before: what slows the machine for a while slows all of a round.
    """
    return _apart(_replicate, jobs, seed)


def footprints(jobs: Sequence[Job]) -> list[float]:
    """Memory that each of ``jobs`` adds to a process of its own, loaded and run twice, in bytes."""
    return [_apart(_footprint, job) for job in jobs]


def _footprint(job: Job) -> float:
    profiler, settings = load_profiler("onnxruntime"), Settings()
    inputs = make_inputs(job.inputs, 0)
    profiler.prepare(settings)
    trim()
    before = pss_bytes() or math.nan
    runner = profiler.load(job, settings, inputs)
    for _ in range(2):
        runner.run()
    trim()
    found = (pss_bytes() or math.nan) - before
    runner.close()
    return found


def fixed_protocol(jobs: Sequence[Job]) -> Fixed:
    """Time one job after the other, a fixed number of runs each."""
    return _apart(_fixed, jobs)


def _apart(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    with ProcessPoolExecutor(1, get_context("spawn"), die_with_parent) as pool:
        return pool.submit(work, *args, **kwargs).result()


def _load(jobs: Sequence[Job], order: Sequence[int]) -> list[Runner]:
    profiler, settings = load_profiler("onnxruntime"), Settings()
    profiler.prepare(settings)
    runners = {
        i: profiler.load(jobs[i], settings, make_inputs(jobs[i].inputs, settings.seed))
        for i in order
    }
    return [runners[i] for i in range(len(jobs))]


def _replicate(jobs: Sequence[Job], seed: int) -> list[float]:
    order = list(range(len(jobs)))
    random.Random(seed).shuffle(order)
    with pinned(1):
        runners = _load(jobs, order)
        times, _ = interleave([runner.run for runner in runners], _SECONDS, _ROUNDS)
    level = np.median(times / np.median(times, axis=0), axis=1, keepdims=True)
    medians: list[float] = (np.median(times / level, axis=0) / 1e6).tolist()
    return medians


def _fixed(jobs: Sequence[Job]) -> Fixed:
    means, seconds = {}, {}
    start = time.monotonic()
    with pinned(1):
        for job in jobs:
            [runner] = _load([job], [0])
            warmups = [runner.run() for _ in range(_WARMUPS)]
            runs = [runner.run() for _ in range(_RUNS)]
            runner.close()
            means[job.key] = sum(runs) / len(runs)
            seconds[job.key] = (sum(warmups) + sum(runs)) / 1e9
    return Fixed(means, seconds, time.monotonic() - start)
