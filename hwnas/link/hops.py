"""Dtype and shape of what crosses segments: read off one run of each finished graph.

The runtime's own operators have no shape inference outside it, so the graph is run once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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

__all__ = ["HopTypes", "read_types"]


@dataclass
class HopTypes:
    """Types of the values that cross segments: results of nodes, and what each subnet takes."""

    _results: dict[Source, TensorSpec] = field(default_factory=dict)
    _inputs: dict[tuple[str, str], TensorSpec] = field(default_factory=dict)

    def add(
        self, subnet: str, inputs: Iterable[TensorSpec], results: Mapping[Source, TensorSpec]
    ) -> None:
        """Add one subnet's types; what several subnets share must have one type.

        Raises:
            HwnasError: a shared value has two types.
        """
        self._inputs.update({(subnet, spec.name): spec for spec in inputs})
        for source, spec in results.items():
            known = self._results.setdefault(source, spec)
            if not known.fits(spec):
                raise HwnasError(
                    f"two subnets share a node that gives {known} in one and {spec} in another",
                    "export them as two bundles",
                )

    def of(self, source: Source, subnet: str) -> TensorSpec:
        """The type of ``source`` in ``subnet``."""
        name, index = source
        return self._inputs[subnet, name] if index < 0 else self._results[source]


def read_types(
    finished: ModelProto,
    graph: KeyedGraph,
    pool: Pool,
    wanted: Iterable[Source],
    inputs: tuple[TensorSpec, ...],
) -> dict[Source, TensorSpec]:
    """Types of those of ``wanted`` that this subnet computes.

    Args:
        finished: the subnet's finished graph; its weights are read from ``pool``.
        graph: the same, keyed.
        pool: that ``graph`` was keyed with.
        wanted: results of nodes, of this subnet and of others.
        inputs: what the subnet takes.
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
    return {
        source: TensorSpec(name="hop", dtype=array.dtype.name, shape=array.shape)
        for source, array in zip(asked, results, strict=True)
    }


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
