"""What a subnet's own statistics cost: a scale and shift at each run, or convolutions of its own.

See :mod:`hwnas.link.norms`. Both ways are built for the subnet alone and timed in turn, each as one
finished session, on random inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from onnx import GraphProto

from hwnas.bundle import Bundle
from hwnas.export.request import Wanted
from hwnas.graphs import external_range, external_tensors
from hwnas.link import whole
from hwnas.link.norms import OWN_SCALE, NormMode
from hwnas.profile.interleave import Ratio, interleave, pinned, ratio
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.session import open_model

__all__ = ["NormCost", "norm_costs"]

_MODES: tuple[NormMode, ...] = ("shared", "folded")


@dataclass(frozen=True)
class NormCost:
    """The two ways of linking one subnet's statistics.

    Attributes:
        subnet: its name.
        mode: the one that is exported.
        shared_over_folded: ratio of latencies, one thread.
        folded_bytes: that folding stores again: the convolutions before the batch norms.
    """

    subnet: str
    mode: NormMode
    shared_over_folded: Ratio
    folded_bytes: int


def norm_costs(bundle: Bundle, wanted: Sequence[Wanted], *, seconds: float = 1.0) -> list[NormCost]:
    """Measure every subnet of ``wanted`` that has statistics of its own; ``seconds`` for each."""
    folder = str(bundle.path.resolve())
    costs = []
    for item in wanted:
        if item.norms is None:
            continue
        feeds = random_inputs(bundle.inputs(item.subnet), 0)
        models = [whole(bundle, item.subnet, replace(item.norms, mode=mode)) for mode in _MODES]
        what = f"{item.subnet.name} with its own statistics"
        sessions = [
            open_model(model.SerializeToString(), folder, what, shared=False) for model in models
        ]
        runs = [partial(session.run, None, feeds) for session in sessions]
        with pinned(1):
            times, _ = interleave(runs, seconds, 5)
        costs.append(
            NormCost(
                subnet=item.subnet.name,
                mode=item.norms.mode,
                shared_over_folded=ratio([times[:, 0] / times[:, 1]]),
                folded_bytes=_folded_bytes(models[0].graph),
            )
        )
    return costs


def _folded_bytes(shared: GraphProto) -> int:
    """Weights of the convolutions that a batch norm with statistics of its own follows."""
    own = {tensor.name for tensor in shared.initializer if tensor.name.endswith(OWN_SCALE)}
    scaled = {node.input[0] for node in shared.node if own & set(node.input[1:2])}
    sizes = {tensor.name: external_range(tensor)[1] for tensor in external_tensors(shared)}
    return sum(sizes.get(n.input[1], 0) for n in shared.node if n.output[0] in scaled)
