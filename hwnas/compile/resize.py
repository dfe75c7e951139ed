"""A block's graph made from that of another block which differs from it in sizes alone."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto

from hwnas.compile.onnx_export import ExportedBlock
from hwnas.compile.trace import TracedBlock
from hwnas.program import TensorSpec

__all__ = ["resize"]


def resize(template: ExportedBlock, block: TracedBlock) -> ExportedBlock | None:
    """The graph of ``block``, made from ``template``; None if the sizes do not come out right.

    What comes out is a guess, if a good one: the compiler holds every block to what torch computes.

    Args:
        template: another block of the same :func:`hwnas.compile.structure.structure`.
        block: as it was traced.
    """
    if template.constants:
        return None  # what was computed once may depend on a size
    model = ModelProto()
    model.ParseFromString(template.model)
    graph = model.graph
    tensors = {**dict(block.module.named_buffers()), **dict(block.module.named_parameters())}
    depthwise = [node for node in graph.node if _is_depthwise(node, graph)]
    _weights(graph, template, tensors)
    for node in depthwise:
        _set_groups(node, graph)
    for value, spec in zip(graph.input, block.inputs, strict=True):
        _set_shape(value, spec)
    wanted = [(spec.shape, spec.dtype) for spec in block.outputs]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return None
    found = [(_shape(value), _dtype(value)) for value in model.graph.output]
    if found != wanted:
        return None
    data = model.SerializeToString(deterministic=True)
    return ExportedBlock(block.id, data, template.sources, {}, resized=True)


def _weights(
    graph: GraphProto, template: ExportedBlock, tensors: Mapping[str, torch.Tensor]
) -> None:
    for tensor in graph.initializer:
        source = template.sources.get(tensor.name)
        if source is not None:
            tensor.dims[:] = source.of(dict(tensors)).shape


def _is_depthwise(node: NodeProto, graph: GraphProto) -> bool:
    if node.op_type != "Conv":
        return False
    channels = _channels(node, graph)
    return channels > 1 and _groups(node) == channels


def _channels(node: NodeProto, graph: GraphProto) -> int:
    return next((t.dims[0] for t in graph.initializer if t.name == node.input[1]), 0)


def _groups(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def _set_groups(node: NodeProto, graph: GraphProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "group":
            attribute.i = _channels(node, graph)


def _set_shape(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    dims = value.type.tensor_type.shape.dim
    for dim, size in zip(dims, spec.shape, strict=True):
        dim.Clear()
        dim.dim_value = size


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _dtype(value: onnx.ValueInfoProto) -> str:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
