"""Latency of the chain against a stock session of the same subnet, interleaved in one run.

Both are run in turn, in an order that changes every round, so that drift hits them alike; what is
quoted is the median of the paired ratios. Two equal stock sessions run along: their ratio is the
noise floor, below which a difference means nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.errors import BundleError
from hwnas.link import whole
from hwnas.runtime import Switcher
from hwnas.runtime.compare import difference
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.runtime.session import open_model

__all__ = ["Comparison", "compare", "static_session"]

Array = NDArray[np.generic]

_WARM_UP = 3
_SWITCHES = 200
"""Switches timed at once: one takes less than a clock tick."""


@dataclass(frozen=True)
class Comparison:
    """One subnet, as part of the bundle and on its own.

    Attributes:
        latency_ms, static_latency_ms: medians, in ms.
        latency_ratio: median of the paired ratios, chain over static.
        noise_ratio: the same of two equal static sessions.
        noise_spread: half the distance between the 5th and 95th percentile of that ratio, divided
            by the square root of the number of rounds: how far the median may be off by chance.
        max_abs_diff: largest difference of the outputs.
        switch_us: the call that makes a subnet current, in us.
        first_run_extra_us: median of the first run after a switch minus the run after it, in us.
        rounds: how many runs of each were compared.
    """

    latency_ms: float
    static_latency_ms: float
    latency_ratio: float
    noise_ratio: float
    noise_spread: float
    max_abs_diff: float
    switch_us: float
    first_run_extra_us: float
    rounds: int


def static_session(
    bundle: Bundle, name: str, threads: int, onnx: Path | None
) -> ort.InferenceSession:
    """A stock session on the monolithic export of subnet ``name``.

    Args:
        bundle: that ships the subnet.
        name: of the subnet.
        threads: that one run may use.
        onnx: folder that ``--to onnx`` wrote; without it the bundle's segments are linked here.

    Raises:
        BundleError: there is no such file, or it cannot be loaded.
    """
    if onnx is None:
        model, folder = whole(bundle, name).SerializeToString(), bundle.path
    else:
        file, folder = onnx / f"{name}.onnx", onnx
        if not file.is_file():
            raise BundleError(
                f"{file} does not exist", "export the same subnets with 'hwnas export --to onnx'"
            )
        model = file.read_bytes()
    what = f"the whole of {name}"
    return open_model(model, str(folder.resolve()), what, threads=threads, shared=False)


def compare(
    bundle: Bundle,
    switcher: Switcher,
    name: str,
    *,
    onnx: Path | None = None,
    threads: int = 1,
    seconds: float = 5.0,
    min_rounds: int = 20,
) -> Comparison:
    """Compare subnet ``name`` of ``switcher`` with its own monolithic export.

    Args:
        bundle: that ``switcher`` runs.
        switcher: open, with as many threads.
        name: which subnet.
        onnx: see :func:`static_session`.
        threads: of the static sessions.
        seconds: how long to go on, after at least ``min_rounds`` rounds.
        min_rounds: of one run each of the chain and two static sessions.
    """
    feeds = random_inputs(switcher.inputs, 0)
    sessions = [static_session(bundle, name, threads, onnx) for _ in range(2)]
    statics = [_bound(session, switcher, feeds) for session in sessions]
    chain_out = {spec.name: np.empty(spec.shape, spec.dtype) for spec in switcher.outputs}

    def chain() -> None:
        switcher.run(feeds, subnet=name, out=chain_out)

    runs: list[Callable[[], None]] = [chain, *(run for run, _ in statics)]
    for run in runs:
        for _ in range(_WARM_UP):
            run()
    found = max(difference(chain_out[k], v).largest for k, v in statics[0][1].items())
    times = _interleave(runs, seconds, min_rounds)
    ratios = [a / b for a, b in zip(times[0], times[1], strict=True)]
    noise = np.array(times[2]) / np.array(times[1])
    low, high = np.quantile(noise, [0.05, 0.95])
    return Comparison(
        latency_ms=median(times[0]) / 1e6,
        static_latency_ms=median(times[1]) / 1e6,
        latency_ratio=median(ratios),
        noise_ratio=float(np.median(noise)),
        noise_spread=float(high - low) / 2 / len(noise) ** 0.5,
        max_abs_diff=found,
        switch_us=_switch_us(switcher),
        first_run_extra_us=_first_run_extra_us(switcher, name, chain, seconds, min_rounds),
        rounds=len(ratios),
    )


def _bound(
    session: ort.InferenceSession, switcher: Switcher, feeds: Mapping[str, Array]
) -> tuple[Callable[[], None], dict[str, Array]]:
    """A static run with everything bound beforehand: the fastest that stock Python offers."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    out = {spec.name: np.empty(spec.shape, spec.dtype) for spec in switcher.outputs}
    for name, array in out.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding), out


def _interleave(runs: list[Callable[[], None]], seconds: float, min_rounds: int) -> list[list[int]]:
    """Time each of ``runs`` once per round, in random order; ns per run and round."""
    order = list(range(len(runs)))
    shuffle = random.Random(0).shuffle
    times: list[list[int]] = [[] for _ in runs]
    end = time.monotonic() + seconds
    while len(times[0]) < min_rounds or time.monotonic() < end:
        shuffle(order)
        for index in order:
            start = time.perf_counter_ns()
            runs[index]()
            times[index].append(time.perf_counter_ns() - start)
    return times


def _switch_us(switcher: Switcher) -> float:
    names = list(switcher.subnets)
    before = switcher.current
    start = time.perf_counter_ns()
    for i in range(_SWITCHES):
        switcher.current = names[i % len(names)]
    spent = time.perf_counter_ns() - start
    switcher.current = before
    return spent / _SWITCHES / 1e3


def _first_run_extra_us(
    switcher: Switcher, name: str, run: Callable[[], None], seconds: float, min_rounds: int
) -> float:
    """What the first run of ``name`` after another subnet takes longer than the next one."""
    others = [other for other in switcher.subnets if other != name] or [name]
    feeds = random_inputs(switcher.inputs, 1)
    extra: list[int] = []
    end = time.monotonic() + seconds / 2
    while len(extra) < min_rounds or time.monotonic() < end:
        switcher.run(feeds, subnet=others[len(extra) % len(others)])
        start = time.perf_counter_ns()
        run()
        first = time.perf_counter_ns()
        run()
        extra.append(2 * first - start - time.perf_counter_ns())
    return median(extra) / 1e3
