"""Writing the regions of a graph out, ring by ring."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hwnas.graphs import external_location, external_range, point_to
from hwnas.link.axes import Axis, Region, Step, View
from hwnas.link.rename import captured, rename_node

__all__ = ["unroll"]


def unroll(model: ModelProto, regions: Sequence[Region], view: View) -> None:
    """Replace the nodes of ``regions`` by one copy for each ring.

    Args:
        model: changed in place; in topological order, and stays so.
        regions: of its graph.
        view: of its graph, with the axes that were found.
    """
    graph = model.graph
    ends: dict[str, str] = {}
    made: dict[str, TensorProto] = {}
    pending: dict[str, NodeProto] = {}
    members = set[int]()
    for region in regions:
        members.update(region.steps)
        for index, step in region.steps.items():
            if step.out is None:
                ends[graph.node[index].output[0]] = _ringed(graph.node[index].output[0], region)
    for region in regions:
        for index, step in region.steps.items():
            for node in _copies(graph.node[index], step, region, view, made):
                rename_node(node, lambda name: ends.get(name, name))
                pending.update(dict.fromkeys(filter(None, node.output), node))
    results = {value.name for value in graph.output}
    nodes: list[NodeProto] = []
    for index, node in enumerate(graph.node):
        if index not in members:
            rename_node(node, lambda name: ends.get(name, name))
            _append(nodes, node, pending)
        elif results.intersection(node.output):
            name = node.output[0]
            last = helper.make_node("Identity", [ends[name]], [name], name)
            _append(nodes, last, pending)
    used = {name for node in nodes for name in (*node.input, *captured(node))} | results
    nodes = [n for n in nodes if n.op_type != "Constant" or used.intersection(n.output)]
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *made.values()])


def _ringed(name: str, region: Region, ring: int = -1) -> str:
    return f"{name}/{region.tag(ring % len(region.rows))}"


def _append(nodes: list[NodeProto], node: NodeProto, pending: dict[str, NodeProto]) -> None:
    """Add ``node`` behind the copies that it needs, ring after ring."""
    # What is summed so far comes first, so that a ring is done before the next one starts.
    for name in sorted(node.input, key=lambda name: name != _so_far(node)):
        if name in pending:
            _append(nodes, pending[name], pending)
    for name in node.output:
        pending.pop(name, None)
    nodes.append(node)


def _so_far(node: NodeProto) -> str:
    place = 2 if node.op_type == "Gemm" and len(node.input) > 2 else 0
    return str(node.input[place]) if node.input else ""


def _copies(
    node: NodeProto, step: Step, region: Region, view: View, made: dict[str, TensorProto]
) -> list[NodeProto]:
    copies = []
    for ring in range(len(region.rows)):
        copy = NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(node.input):
            if i in step.cut:
                copy.input[i] = _part(name, step.cut[i], ring, view, made)
            elif name in view.axes:
                copy.input[i] = _ringed(name, region, ring)
        copy.output[:] = [_ringed(name, region, ring) if name else "" for name in node.output]
        if step.out is not None:
            _fit(copy, step, step.out, ring, made)
        elif ring:
            copies += _added(copy, _ringed(node.output[0], region, ring - 1))
            continue
        copies.append(copy)
    for copy in copies:
        copy.name = next(filter(None, copy.output))
    return copies


def _fit(copy: NodeProto, step: Step, out: Axis, ring: int, made: dict[str, TensorProto]) -> None:
    """Set what a copy says about its own size."""
    low, high = out.span(ring)
    if step.shape is not None:
        shape = [*step.shape[: out.at], high - low, *step.shape[out.at + 1 :]]
        name = f"{copy.output[0]}/shape"
        made[name] = helper.make_tensor(name, TensorProto.INT64, [len(shape)], shape)
        copy.input[1] = name
    if step.groups:
        _set(copy, "group", high - low)


def _added(copy: NodeProto, before: str) -> list[NodeProto]:
    """A sum over one ring, added to ``before``, what the rings before it gave."""
    del copy.input[2:]  # the first ring adds the bias
    if copy.op_type == "Gemm":
        copy.input.append(before)
        _set(copy, "beta", 1.0)
        return [copy]
    total = copy.output[0]
    copy.output[0] = f"{total}/part"
    return [copy, helper.make_node("Add", [before, copy.output[0]], [total])]


def _set(node: NodeProto, name: str, value: float) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _part(name: str, axis: Axis, ring: int, view: View, made: dict[str, TensorProto]) -> str:
    """The constant that holds a ring's part of ``name``; it is made once."""
    low, high = axis.span(ring)
    # Named after what it holds: regions that share a constant may cut it elsewhere.
    part = f"{name}/ring{low}-{high}" + (f"/axis{axis.at}" if axis.at else "")
    if part in made:
        return part
    whole = view.constant(name)
    assert whole is not None
    if whole.data_location == TensorProto.EXTERNAL:
        offset, length = external_range(whole)
        row = length // axis.size
        tensor = TensorProto(name=part, data_type=whole.data_type, dims=whole.dims)
        point_to(tensor, external_location(whole), offset + low * row, (high - low) * row)
        tensor.dims[axis.at] = high - low
    else:
        values = onnx.numpy_helper.to_array(whole)
        tensor = numpy_helper.from_array(values.take(range(low, high), axis.at), part)
    made[part] = tensor
    return part
