"""Normalisation statistics of a subnet's own, over convolutions that all subnets share.

Subnets of one supernet see other activations, so that batch-norm statistics are made anew for each
(once-for-all networks, arXiv:1908.09791, section 3). An optimiser folds a batch norm into the
convolution before it; with statistics of its own a subnet would then have convolutions of its own.
There are two ways out, and the plan chooses one for each subnet:

* ``shared``: the batch norm becomes a depthwise convolution of one element, which holds scale and
  shift. The convolution before it stays one for all subnets; each run pays one more pass over its
  result.
* ``folded``: the batch norm stays for the optimiser to fold. As fast as an export of the subnet
  alone, but the convolutions that it is folded into are stored once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.errors import InputError
from hwnas.graphs import tensor_values

__all__ = [
    "OWN_SCALE",
    "WEIGHTS_KEY",
    "NormMode",
    "Norms",
    "OwnNorms",
    "apply_norms",
    "read_norms",
]

OWN_SCALE = ".own_scale"
"""How the name of a scale that was kept apart ends."""

WEIGHTS_KEY = "weights"
"""In the metadata of a file of statistics: SHA-256 of the weights that they were collected over."""

NormMode = Literal["shared", "folded"]
Norms = Mapping[str, NDArray[Any]]
"""``slot/choice/name`` of a tensor of a block to its values for one subnet."""


@dataclass(frozen=True)
class OwnNorms:
    """Statistics of one subnet's own, and how they are linked; see the module's docstring."""

    tensors: Norms
    mode: NormMode = "shared"


_FIX = (
    "name them SUBNET:slot/choice/name, name being the tensor's in its block, such as "
    "d2:stage0.1/base/body.0.1.running_mean"
)


def read_norms(path: Path, bundle: Bundle | None = None) -> dict[str, dict[str, NDArray[Any]]]:
    """Read a safetensors file of statistics: subnet to :data:`Norms`.

    Args:
        path: of the file; ``hwnas recalibrate`` writes into it which weights it is for.
        bundle: that the statistics are for.

    Raises:
        InputError: it is missing or damaged, or a tensor's name is not ``SUBNET:slot/choice/name``,
            or it says that it is for other weights than those of ``bundle``.
    """
    try:
        tensors = load_file(path)
        with safe_open(path, "np") as file:
            said = (file.metadata() or {}).get(WEIGHTS_KEY)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}", "write it again") from error
    if bundle is not None and said is not None and said != bundle.manifest.weights.sha256:
        raise InputError(
            f"{path} holds statistics over other weights than those of {bundle.path}",
            f"collect them again: hwnas recalibrate {bundle.path} ...",
        )
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in tensors.items():
        subnet, colon, tensor = name.partition(":")
        if not colon or tensor.count("/") != 2:
            raise InputError(f"{path} holds a tensor of the name {name!r}", _FIX)
        found.setdefault(subnet, {})[tensor] = array
    return found


def apply_norms(
    bundle: Bundle, models: Mapping[str, ModelProto], norms: OwnNorms, what: str
) -> dict[str, ModelProto]:
    """The blocks of one subnet with its own statistics.

    Args:
        bundle: that ``models`` point into.
        models: graph of each block of the subnet; not changed.
        norms: statistics; what is not named stays as compiled.
        what: name of the subnet, for messages.

    Raises:
        InputError: a name that no batch norm of the subnet has, a wrong shape, no finite values.
    """
    left = dict(norms.tensors)
    result = dict(models)
    for unit, model in models.items():
        own = {name: left.pop(f"{unit}/{name}") for name in _statistics(model, unit, left)}
        if own:
            result[unit] = _replace(bundle, model, own, norms.mode, f"{what}:{unit}")
    if left:
        raise InputError(
            f"no batch norm of subnet {what!r} has the tensor {min(left)!r}",
            _FIX,
        )
    return result


def _statistics(model: ModelProto, unit: str, norms: Norms) -> list[str]:
    names = {
        name: None
        for node in model.graph.node
        if node.op_type == "BatchNormalization"
        for name in node.input[1:5]
    }
    return [name for name in names if f"{unit}/{name}" in norms]


def _replace(
    bundle: Bundle, model: ModelProto, own: Norms, mode: NormMode, what: str
) -> ModelProto:
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    convolved = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "Conv"}
    weights = bundle.file(WEIGHTS)
    values = {tensor.name: tensor_values(tensor, weights) for tensor in graph.initializer}
    variances = {n.input[4] for n in graph.node if n.op_type == "BatchNormalization"}
    for name, array in own.items():
        fits = array.shape == values[name].shape and np.isfinite(array).all()
        if not fits or (name in variances and (array < 0).any()):
            raise InputError(
                f"{what}/{name} is {array.dtype}{list(array.shape)}, not finite, or a negative "
                f"variance; the block has {values[name].dtype}{list(values[name].shape)}",
                "give finite numbers of that shape",
            )
        values[name] = array.astype(values[name].dtype)
    for index, node in enumerate(graph.node):
        if node.op_type != "BatchNormalization" or not set(node.input[1:5]) & set(own):
            continue
        statistics = [values[name] for name in node.input[1:5]]
        label = node.name or f"norm{index}"
        if mode == "shared" and node.input[0] in convolved:
            names = [f"{label}{OWN_SCALE}", f"{label}.own_shift"]
            scale, shift = _affine(_epsilon(node), *statistics)
            _to_depthwise(node, names, channels=len(scale))
            spatial = values[convolved[node.input[0]]].ndim - 2
            arrays = [scale.reshape(-1, 1, *[1] * spatial), shift]
        else:
            names = [f"{label}.own_{part}" for part in ("weight", "bias", "mean", "var")]
            node.input[1:5] = names
            arrays = statistics
        for name, array in zip(names, arrays, strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return _prune(changed)


def _epsilon(node: NodeProto) -> float:
    return next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)


def _affine(
    epsilon: float,
    scale: NDArray[Any],
    bias: NDArray[Any],
    mean: NDArray[Any],
    variance: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """``scale * (x - mean) / sqrt(variance + epsilon) + bias`` as ``a * x + b``, in float64."""
    a = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    b = bias.astype(np.float64) - mean.astype(np.float64) * a
    return a.astype(scale.dtype), b.astype(scale.dtype)


def _to_depthwise(node: NodeProto, names: list[str], channels: int) -> None:
    node.op_type = "Conv"
    node.input[:] = [node.input[0], *names]
    del node.output[1:]
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("group", channels))


def _prune(model: ModelProto) -> ModelProto:
    """Without the initialisers that nothing reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
