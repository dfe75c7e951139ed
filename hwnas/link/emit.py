"""From clusters to segment graphs and the programs over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto

from hwnas.bundle import WEIGHTS
from hwnas.errors import HwnasError
from hwnas.graphs import point_to
from hwnas.link.clusters import Cluster, order
from hwnas.link.hops import HopTypes
from hwnas.link.keys import KeyedGraph, KeyedNode, Source
from hwnas.link.pool import Pooled
from hwnas.link.rename import rename_node
from hwnas.program import Call, Program, TensorSpec

__all__ = ["Segments", "covered", "emit"]


@dataclass(frozen=True)
class Segments:
    """Clusters by the name of the segment that each becomes."""

    clusters: dict[str, Cluster]

    @classmethod
    def named(cls, clusters: Iterable[Cluster]) -> Segments:
        """Name each after the first and the last block that it holds nodes of."""
        found: dict[str, Cluster] = {}
        for cluster in clusters:
            blocks = [b for b in map(_block, cluster.nodes) if b] or ["segment"]
            name = blocks[0] if blocks[0] == blocks[-1] else f"{blocks[0]}--{blocks[-1]}"
            unique, suffix = name, 2
            while unique in found:
                unique, suffix = f"{name}-{suffix}", suffix + 1
            found[unique] = cluster
        return cls(found)

    def program(self, name: str, graph: KeyedGraph) -> Program:
        """The program of the subnet that ``graph`` is; see :func:`covered` for one not linked."""
        names = {id(cluster): segment for segment, cluster in self.clusters.items()}
        value = {
            source: f"{segment}:{i}"
            for segment, cluster in self.clusters.items()
            for i, source in enumerate(cluster.outputs)
        }
        calls = []
        for cluster in order(graph, self.clusters.values()):
            which = cluster.subnets.index(name)
            sources = [port[which] for port in cluster.ports]
            segment = names[id(cluster)]
            calls.append(
                Call(
                    unit=segment,
                    inputs=tuple(_value(source, value) for source in sources),
                    outputs=tuple(value[source] for source in cluster.outputs),
                )
            )
        outputs = {public: value[source] for public, source in graph.outputs.items()}
        return Program(inputs=graph.inputs, calls=tuple(calls), outputs=outputs)


def _value(source: Source, value: Mapping[Source, str]) -> str:
    return source[0] if source[1] < 0 else value[source]


def _block(node: KeyedNode) -> str:
    """``slot.choice`` of the block that a node's value belongs to; "" if it is not known."""
    parts = node.label.split("/")
    return ".".join(parts[:-1]) if len(parts) > 1 else ""


def covered(segments: Segments, graph: KeyedGraph) -> Program:
    """The program of a subnet that was not linked, if the segments cover it.

    They do if each of its nodes is in a segment, each of those segments is used whole, and what
    is one input of a segment is one value in this subnet.

    Raises:
        ValueError: they do not; says where.
    """
    nodes = {node.key: node for node in graph.nodes}
    ordered = order(graph, segments.clusters.values())
    names = {id(cluster): segment for segment, cluster in segments.clusters.items()}
    value: dict[Source, str] = {}
    calls = []
    for cluster in ordered:
        segment = names[id(cluster)]
        missing = [node.label for node in cluster.nodes if node.key not in nodes]
        if missing:
            raise ValueError(f"it uses a part of segment {segment!r}, without {missing[0]!r}")
        entering = _entering(segment, cluster, nodes)
        if any(source[1] >= 0 and source not in value for source in entering):
            raise ValueError(f"what segment {segment!r} reads does not leave its segment")
        inputs = [_value(source, value) for source in entering]
        for i, source in enumerate(cluster.outputs):
            value[source] = f"{segment}:{i}"
        outputs = tuple(value[source] for source in cluster.outputs)
        calls.append(Call(unit=segment, inputs=tuple(inputs), outputs=outputs))
    if not all(source in value for source in graph.outputs.values()):
        raise ValueError("what it returns does not leave its segment")
    outputs_of = {public: value[source] for public, source in graph.outputs.items()}
    return Program(inputs=graph.inputs, calls=tuple(calls), outputs=outputs_of)


def _entering(segment: str, cluster: Cluster, nodes: Mapping[str, KeyedNode]) -> list[Source]:
    """What each port of ``cluster`` is in a subnet that was not linked."""
    found: dict[int, Source] = {}
    for node in cluster.nodes:
        own = nodes[node.key]
        for i, (was, now) in enumerate(zip(node.reads.values(), own.reads.values(), strict=True)):
            port = cluster.entries.get((node.key, i))
            if port is None and was != now:
                raise ValueError(f"{own.label!r} reads something else in segment {segment!r}")
            if port is not None and found.setdefault(port, now) != now:
                raise ValueError(f"an input of segment {segment!r} would be several values")
    return [found[port] for port in range(len(cluster.ports))]


def emit(
    name: str,
    cluster: Cluster,
    types: HopTypes,
    opsets: Sequence[onnx.OperatorSetIdProto],
    ir_version: int,
) -> tuple[ModelProto, dict[str, Pooled]]:
    """The graph of one segment.

    Args:
        name: of the segment.
        cluster: what it holds.
        types: of every value that crosses segments, and of what subnets take.
        opsets: the same for all segments, so that they can be merged again.
        ir_version: of the finished graphs.

    Raises:
        HwnasError: the subnets give an input of the segment different types.

    Returns:
        The graph, whose large initialisers point nowhere yet, and the content of each of those.
    """
    model = ModelProto(ir_version=ir_version, producer_name="hwnas")
    graph = model.graph
    graph.name = name
    local = {source: f"out{i}" for i, source in enumerate(cluster.outputs)}
    for i, port in enumerate(cluster.ports):
        taken = [types.of(s, subnet) for s, subnet in zip(port, cluster.subnets, strict=True)]
        odd = next((spec for spec in taken if not spec.fits(taken[0])), None)
        if odd is not None:
            raise HwnasError(
                f"segment {name!r} would take {taken[0]} in one subnet and {odd} in another",
                "export them as two bundles",
            )
        graph.input.append(_declare(f"in{i}", taken[0]))
    for i, source in enumerate(cluster.outputs):
        graph.output.append(_declare(f"out{i}", types.of(source, cluster.subnets[0])))
    names: dict[object, str] = {}
    external: dict[str, Pooled] = {}
    for position, keyed in enumerate(cluster.nodes):
        rename: dict[str, str] = {"": ""}
        for i, (old, source) in enumerate(keyed.reads.items()):
            entry = cluster.entries.get((keyed.key, i))
            rename[old] = local[source] if entry is None else f"in{entry}"
        for old, weight in keyed.weights.items():
            content = weight if isinstance(weight, Pooled) else weight.SerializeToString()
            if content not in names:
                names[content] = f"w{len(names)}"
                tensor = graph.initializer.add()
                if isinstance(weight, Pooled):
                    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(weight.dtype))
                    tensor.dims.extend(weight.shape)
                    point_to(tensor, WEIGHTS, 0, weight.bytes)
                    external[names[content]] = weight
                else:
                    tensor.CopyFrom(weight)
                tensor.name = names[content]
            rename[old] = names[content]
        for i, old in enumerate(keyed.node.output):
            if old:
                rename[old] = local.setdefault((keyed.key, i), f"{position}:{old}")
        node = graph.node.add()
        node.CopyFrom(keyed.node)
        node.name = f"{position}:{keyed.label or keyed.node.op_type}"
        node.ClearField("metadata_props")
        rename_node(node, lambda old, own=rename: own.get(old, old))  # type: ignore[misc]
    model.opset_import.extend(opsets)
    return model, external


def _declare(name: str, spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(name, dtype, spec.shape)
