"""What the switchable ONNX model costs each subnet, beside a stock session of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.export.onnx_switch import INDEX, MODEL, index_of
from hwnas.export.request import Wanted
from hwnas.link import whole
from hwnas.profile.interleave import interleave, pinned
from hwnas.runtime.compare import difference
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.runtime.session import open_model

__all__ = ["SwitchCost", "switch_cost"]


@dataclass(frozen=True)
class SwitchCost:
    """One subnet in the switchable model beside a stock session of its own.

    Attributes:
        latency_ms, static_latency_ms: medians, in ms.
        latency_ratio: median of the paired ratios, switchable over static.
        noise_ratio: the same of two equal static sessions: a difference within it means nothing.
        max_abs_diff: largest difference of the outputs; 0 where they are bit-equal.
        rounds: how many runs of each were compared.
    """

    subnet: str
    latency_ms: float
    static_latency_ms: float
    latency_ratio: float
    noise_ratio: float
    max_abs_diff: float
    rounds: int


def switch_cost(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    seconds: float = 4.0,
    min_rounds: int = 5,
) -> list[SwitchCost]:
    """Time each of ``wanted`` in the model in ``folder`` against its own export, interleaved.

    Each round runs the model and two equal stock sessions once, on one thread, in an order that
    changes. Nothing is bound ahead: what is timed is a call as users make it.

    Args:
        bundle: that the model was made from.
        wanted: subnets of it.
        folder: what :func:`export_onnx_switch` wrote.
        seconds: for all subnets together, beside the time to open sessions.
        min_rounds: of each subnet, even if that takes longer.
    """
    data = (folder / MODEL).read_bytes()
    switch = open_model(data, str(folder.resolve()), str(folder / MODEL), shared=False)
    found = []
    for item in wanted:
        name = item.subnet.name
        feeds = random_inputs(bundle.inputs(item.subnet), 0)
        whole_model = whole(bundle, item.subnet, item.norms).SerializeToString()
        place = str(bundle.path.resolve())
        sessions = [open_model(whole_model, place, name, shared=False) for _ in range(2)]
        runs = [_bound(switch, {**feeds, INDEX: index_of(switch, name)})]
        runs += [_bound(session, feeds) for session in sessions]
        outputs = [run() for run in runs]
        pairs = zip(outputs[0], outputs[1], strict=True)
        with pinned(1):
            times, _ = interleave(runs, seconds / len(wanted), min_rounds)
        found.append(
            SwitchCost(
                subnet=name,
                latency_ms=float(np.median(times[:, 0])) / 1e6,
                static_latency_ms=float(np.median(times[:, 1])) / 1e6,
                latency_ratio=float(np.median(times[:, 0] / times[:, 1])),
                noise_ratio=float(np.median(times[:, 2] / times[:, 1])),
                max_abs_diff=max(difference(a, b).largest for a, b in pairs),
                rounds=len(times),
            )
        )
    return found


_Run = Callable[[], Sequence[NDArray[Any]]]


def _bound(session: ort.InferenceSession, feeds: Mapping[str, NDArray[Any]]) -> _Run:
    names = [output.name for output in session.get_outputs()]
    return lambda: session.run(names, dict(feeds))
