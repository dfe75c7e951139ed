"""Concatenating the graphs of several calls into one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto

from hwnas.errors import BundleError
from hwnas.graphs import external_range, external_tensors
from hwnas.link.rename import rename_node
from hwnas.program import Call, TensorSpec

__all__ = ["merge"]


def merge(
    calls: Sequence[Call],
    models: Mapping[str, ModelProto],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    types: Mapping[str, TensorSpec],
    name: str,
    *,
    named: bool = False,
) -> ModelProto:
    """One graph that makes ``calls`` in order.

    Values inside a block are prefixed with the block's id, so that names stay readable; a range
    of weights that several blocks use becomes one initialiser.

    Args:
        calls: with values as a program names them.
        models: graph of each unit that is called; not changed.
        inputs: program value to the name of the new graph's input, in order.
        outputs: the new graph's output name to program value, in order.
        types: of the program's values.
        name: of the new graph.
        named: the units are segments, whose values are named after their blocks: keep the names.

    Raises:
        BundleError: the units were compiled for different opsets.
    """
    result = ModelProto()
    first = models[calls[0].unit]
    result.ir_version = first.ir_version
    result.producer_name = "hwnas"
    result.opset_import.extend(first.opset_import)
    result.graph.name = name
    names = dict(inputs)
    for public, value in outputs.items():
        names.setdefault(value, public)
    weights: dict[tuple[int, int, int, tuple[int, ...]], str] = {}
    for position, call in enumerate(calls):
        model = models[call.unit]
        if list(model.opset_import) != list(first.opset_import):
            raise BundleError(
                f"{call.unit} and {calls[0].unit} were compiled for different opsets",
                "compile the supernet again",
            )
        for value in call.outputs:
            names.setdefault(value, value)
        _append(result.graph, model.graph, call, names, weights, position, named)
    for value, public in inputs.items():
        result.graph.input.append(_declare(public, types[value]))
    for public, value in outputs.items():
        result.graph.output.append(_declare(public, types[value]))
    return result


def _declare(name: str, spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(name, dtype, spec.shape)


def _append(
    into: GraphProto,
    graph: GraphProto,
    call: Call,
    names: Mapping[str, str],
    weights: dict[tuple[int, int, int, tuple[int, ...]], str],
    position: int,
    named: bool,
) -> None:
    rename = {"": ""}
    for port, value in zip(graph.input, call.inputs, strict=True):
        rename[port.name] = names[value]
    for port, value in zip(graph.output, call.outputs, strict=True):
        rename[port.name] = names[value]
    prefix = f"{call.unit}/"

    def renamed(name: str) -> str:
        return rename.setdefault(name, name if named and "/" in name else prefix + name)

    external = {tensor.name for tensor in external_tensors(graph)}
    for tensor in graph.initializer:
        if tensor.name in external:
            # Tied weights, and weights of a block that is called twice, are one initialiser.
            offset, length = external_range(tensor)
            key = (offset, length, tensor.data_type, tuple(tensor.dims))
            if key in weights:
                rename[tensor.name] = weights[key]
                continue
            weights[key] = renamed(tensor.name)
        into.initializer.add().CopyFrom(tensor)
        into.initializer[-1].name = renamed(tensor.name)
    for node in graph.node:
        copy = into.node.add()
        copy.CopyFrom(node)
        copy.name = f"{position}:{prefix}{node.name or len(into.node)}"
        rename_node(copy, renamed)
