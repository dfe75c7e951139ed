"""Dtype and shape of what crosses segments: read off one run of each finished graph.

The runtime's own operators have no shape inference outside it, so the graph is run once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import ModelProto

from hwnas.errors import HwnasError
from hwnas.graphs import point_to
from hwnas.link.keys import KeyedGraph, Source
from hwnas.link.pool import Pool, Pooled
from hwnas.program import TensorSpec
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.runtime.session import session_options

__all__ = ["merge_types", "read_types"]


def read_types(
    finished: ModelProto,
    graph: KeyedGraph,
    pool: Pool,
    wanted: Iterable[Source],
    inputs: tuple[TensorSpec, ...],
) -> dict[Source, TensorSpec]:
    """Types of those of ``wanted`` that this subnet computes, and of its inputs.

    Args:
        finished: the subnet's finished graph; its weights are read from ``pool``.
        graph: the same, keyed.
        pool: that ``graph`` was keyed with.
        wanted: results of nodes, of this subnet and of others.
        inputs: the network's inputs.
    """
    names = {(node.key, i): name for node in graph.nodes for i, name in enumerate(node.node.output)}
    asked = {source: names[source] for source in wanted if names.get(source)}
    model = ModelProto()
    model.CopyFrom(finished)
    _read_from(pool, graph, model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked.values())
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options = session_options(str(pool.file.parent.resolve()), level, packed=False)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results = session.run(list(asked.values()), random_inputs(inputs, 0))
    types: dict[Source, TensorSpec] = {(spec.name, -1): spec for spec in inputs}
    for source, array in zip(asked, results, strict=True):
        types[source] = TensorSpec(name="hop", dtype=array.dtype.name, shape=array.shape)
    return types


def _read_from(pool: Pool, graph: KeyedGraph, model: ModelProto) -> None:
    weights = {name: weight for node in graph.nodes for name, weight in node.weights.items()}
    for tensor in model.graph.initializer:
        weight = weights[tensor.name]
        if isinstance(weight, Pooled):
            point_to(tensor, pool.file.name, pool.offset(weight), weight.bytes)
        else:
            name = tensor.name
            tensor.CopyFrom(weight)
            tensor.name = name


def merge_types(into: dict[Source, TensorSpec], found: Mapping[Source, TensorSpec]) -> None:
    """Add one subnet's types; what several subnets share must have one type.

    Raises:
        HwnasError: a shared value has two types.
    """
    for source, spec in found.items():
        if not into.setdefault(source, spec).fits(spec):
            raise HwnasError(
                f"two subnets share a node that gives {into[source]} in one and {spec} in another",
                "export them as two bundles",
            )
