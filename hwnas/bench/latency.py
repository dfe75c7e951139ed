"""Latency and outputs of every contender, subnet by subnet, interleaved with static sessions.

Each contender is compared with the static export run by the same library: the native chain with
two native sessions, all others with a stock session of the onnxruntime package. Of two equal
static sessions the ratio is taken as well: it is the noise floor, below which a difference means
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from hwnas.bench.contenders import Arrays, Contender, Runner, Stock, Switched, SwitchModel
from hwnas.bench.static import Statics
from hwnas.bundle import Bundle
from hwnas.profile.interleave import Ratio, Rounds, Samples, interleave, pinned, ratio
from hwnas.runtime.compare import difference
from hwnas.runtime.inputs import random_inputs

__all__ = ["Compared", "Latency", "compare_subnets"]

_SEEDS = 3
"""Inputs on which outputs are compared."""

_SWITCHES = 1000
"""Switches timed at once: one takes less than a clock tick."""

_FEWEST_SWITCHED = 2
_SHARE_SWITCHED = 0.25
"""First runs after a switch are timed for this share of the time."""

_STATIC = "native static"


@dataclass(frozen=True)
class Latency:
    """One contender on one subnet.

    Attributes:
        ms: median of a run, in ms.
        ratio: to the mean of the static sessions of the same library, in the same round.
        max_abs_diff: largest difference of the outputs to the stock session's.
        equal: every bit of the outputs is the stock session's.
        first_run_extra_us: median of the first run after another subnet's run minus the run after
            it, in us; None where nothing is switched.
    """

    ms: float
    ratio: Ratio
    max_abs_diff: float
    equal: bool
    first_run_extra_us: float | None


@dataclass(frozen=True)
class Compared:
    """One subnet.

    Attributes:
        static_ms: median of the static sessions that :attr:`noise` is of, in ms.
        noise: ratio of two equal static sessions.
        static_first_run_extra_us: the first run of a static session after another one's.
        rounds: of all replicates, as far as they went by undisturbed.
        disturbed: rounds that were left out, as the system let them wait.
        contenders: by name.
    """

    static_ms: float
    noise: Ratio
    static_first_run_extra_us: float
    rounds: int
    disturbed: int
    contenders: dict[str, Latency]


def compare_subnets(
    bundle: Bundle,
    statics: Statics,
    *,
    native: bool,
    switch: Path | None,
    threads: int,
    rounds: Rounds,
    progress: Callable[[str], None],
) -> tuple[dict[str, Compared], dict[str, float]]:
    """Compare every subnet of ``bundle``.

    Args:
        bundle: of form ``subnets``.
        statics: of the same subnets.
        native: whether the native backend is there.
        switch: folder that ``--to onnx-switch`` wrote, if there is one.
        threads: of every run.
        rounds: how long.
        progress: called with each subnet's name before each of its replicates.

    Returns:
        The subnets, and by contender the us that the call takes which makes a subnet current.
    """
    found = {name: _Found() for name in bundle.manifest.subnets}
    calls: dict[str, list[float]] = {}
    with pinned(threads):
        for _ in range(rounds.replicates):
            chains = _chains(bundle, native, switch, threads)
            for name, so_far in found.items():
                progress(name)
                side = _open_statics(statics, name, native, threads)
                _compare(bundle, name, chains, side, threads, rounds, so_far)
                for one in side.all:
                    one.close()
            for name, chain in chains.items():
                if isinstance(chain, Switched):
                    calls.setdefault(name, []).append(_switch_us(chain))
                chain.close()
    compared = {name: so_far.summary() for name, so_far in found.items()}
    return compared, {name: median(us) for name, us in calls.items()}


@dataclass(frozen=True)
class _Side:
    """Static sessions of one subnet: the pair whose ratio is the noise floor, and a stock one."""

    pair: tuple[Contender, Contender]
    stock: Contender

    @property
    def all(self) -> list[Contender]:
        return list({id(one): one for one in (*self.pair, self.stock)}.values())


@dataclass
class _Found:
    """What was found of one subnet so far: one entry per replicate."""

    noise: list[Samples] = field(default_factory=list)
    static_ns: list[Samples] = field(default_factory=list)
    static_extra_us: list[float] = field(default_factory=list)
    ns: dict[str, list[Samples]] = field(default_factory=dict)
    ratios: dict[str, list[Samples]] = field(default_factory=dict)
    extra_us: dict[str, list[float]] = field(default_factory=dict)
    gap: dict[str, float] = field(default_factory=dict)
    unequal: set[str] = field(default_factory=set)
    disturbed: int = 0

    def summary(self) -> Compared:
        contenders = {
            name: Latency(
                ms=_median_ms(ns),
                ratio=ratio(self.ratios[name]),
                max_abs_diff=self.gap[name],
                equal=name not in self.unequal,
                first_run_extra_us=median(self.extra_us[name]) if name in self.extra_us else None,
            )
            for name, ns in self.ns.items()
        }
        return Compared(
            static_ms=_median_ms(self.static_ns),
            noise=ratio(self.noise),
            static_first_run_extra_us=median(self.static_extra_us),
            rounds=sum(len(samples) for samples in self.noise),
            disturbed=self.disturbed,
            contenders=contenders,
        )


def _median_ms(replicates: Sequence[Samples]) -> float:
    return float(np.median([np.median(ns) for ns in replicates])) / 1e6


def _chains(
    bundle: Bundle, native: bool, switch: Path | None, threads: int
) -> dict[str, Contender]:
    found: dict[str, Contender] = {}
    if native:
        found["native"] = Switched(bundle.path, "native", threads)
    found["python"] = Switched(bundle.path, "python", threads)
    if switch is not None:
        found["onnx-switch"] = SwitchModel(switch, threads)
    return found


def _open_statics(statics: Statics, name: str, native: bool, threads: int) -> _Side:
    static = statics.subnets[name]
    models = {name: (static.model, static.folder)}
    stock = Stock(models, threads)
    if not native:
        return _Side((stock, Stock(models, threads)), stock)
    first, second = (Switched(static.bundle, "native", threads) for _ in range(2))
    return _Side((first, second), stock)


def _compare(
    bundle: Bundle,
    name: str,
    chains: Mapping[str, Contender],
    side: _Side,
    threads: int,
    rounds: Rounds,
    found: _Found,
) -> None:
    """One replicate of one subnet."""
    feeds = _feeds(bundle, name)
    pair = [one.runner(name, feeds) for one in side.pair]
    stock = pair[0] if side.stock is side.pair[0] else side.stock.runner(name, feeds)
    runners = {key: chain.runner(name, feeds) for key, chain in chains.items()}
    if stock is not pair[0]:
        runners[_STATIC] = pair[0]
    _compare_outputs(bundle, name, feeds, stock, runners, found)
    order = [*pair, *([] if stock is pair[0] else [stock])]
    timed = [*order, *(run for key, run in runners.items() if key != _STATIC)]
    share = rounds.seconds / rounds.replicates
    run = [one.run for one in timed]
    times, total = interleave(run, share, rounds.fewest, gate=threads == 1)
    found.disturbed += total - len(times)
    of = {id(one): times[:, i] for i, one in enumerate(timed)}
    first, second = (of[id(one)] for one in pair)
    found.noise.append(second / first)
    found.static_ns.append((first + second) / 2)
    for key, one in runners.items():
        base = (first + second) / 2 if key == "native" or stock is pair[0] else of[id(stock)]
        found.ns.setdefault(key, []).append(of[id(one)])
        found.ratios.setdefault(key, []).append(of[id(one)] / base)
    budget = share * _SHARE_SWITCHED / (1 + len(chains))
    found.static_extra_us.append(_extra_us(pair[0], [pair[1]], budget))
    for key, chain in chains.items():
        others = [
            chain.runner(other, _feeds(bundle, other))
            for other in bundle.manifest.subnets
            if other != name
        ]
        if others:
            found.extra_us.setdefault(key, []).append(_extra_us(runners[key], others, budget))


def _feeds(bundle: Bundle, name: str, seed: int = 0) -> Arrays:
    return random_inputs(bundle.inputs(bundle.subnet(name)), seed)


def _compare_outputs(
    bundle: Bundle,
    name: str,
    feeds: Arrays,
    stock: Runner,
    runners: Mapping[str, Runner],
    found: _Found,
) -> None:
    for seed in range(_SEEDS):
        for key, array in _feeds(bundle, name, seed).items():
            feeds[key][...] = array
        stock.run()
        for key, one in runners.items():
            one.run()
            for output, wanted in stock.out.items():
                gap = difference(one.out[output], wanted).largest
                found.gap[key] = float(np.maximum(found.gap.get(key, 0.0), gap))
                if one.out[output].tobytes() != wanted.tobytes():
                    found.unequal.add(key)


def _extra_us(one: Runner, others: Sequence[Runner], seconds: float) -> float:
    """What the first run of ``one`` after another subnet takes longer than the next one."""
    extra: list[int] = []
    end = time.monotonic() + seconds
    while len(extra) < _FEWEST_SWITCHED or time.monotonic() < end:
        others[len(extra) % len(others)].run()
        start = time.perf_counter_ns()
        one.run()
        first = time.perf_counter_ns()
        one.run()
        extra.append(2 * first - start - time.perf_counter_ns())
    return median(extra) / 1e3


def _switch_us(chain: Switched) -> float:
    """The call that makes a subnet current, with what Python adds to it."""
    switcher = chain.switcher
    names = list(switcher.subnets)
    turns = (names * _SWITCHES)[:_SWITCHES]
    taken = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for name in turns:
            switcher.current = name
        taken.append(time.perf_counter_ns() - start)
    return median(taken) / _SWITCHES / 1e3
