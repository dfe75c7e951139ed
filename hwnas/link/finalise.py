"""Linking subnets into finalised segments: optimise whole graphs, then cut what they share.

1. Each subnet's blocks become one graph, its widths in rings, and the runtime's own optimiser
   finishes it.
2. Nodes that several finished graphs have in common are found by hash-consing.
3. Nodes that the same subnets use become a segment; every large initialiser is kept once.

Fusions and blocked layouts cross the borders of blocks, and a hop may carry several tensors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.errors import UsageError
from hwnas.graphs import point_to_stored
from hwnas.link.clusters import find_clusters
from hwnas.link.emit import Segments, covered, emit
from hwnas.link.hops import HopTypes, read_types
from hwnas.link.keys import KeyedGraph, key_nodes
from hwnas.link.load import load_graphs
from hwnas.link.merge import merge
from hwnas.link.norms import OwnNorms, apply_norms
from hwnas.link.optimise import Level, optimise
from hwnas.link.pool import Pool, Pooled
from hwnas.link.rings import split_rings
from hwnas.manifest import WeightRange
from hwnas.program import Call, Program, check
from hwnas.weights import read_layout, write_weights

__all__ = ["FinalisedLink", "link_finalised"]

INLINE = 1024
"""Initialisers up to this size, in bytes, stay in the graphs: shapes, axes, small biases."""


@dataclass(frozen=True)
class FinalisedLink:
    """Finalised segments, the programs over them and the weights that they use.

    Attributes:
        segments: id to graph; its large initialisers point nowhere yet.
        weights: of every segment, initialiser name to its range of the stored tensors.
        tensors: what to store, by name; mapped from a scratch file.
        programs: subnet name to program.
        uncovered: of the further subnets that were asked for: why the segments do not cover it.
        rings: elastic weight to the rows at which its rings end, see :mod:`hwnas.link.rings`.
        whole_widths: elastic weight that each width has for itself, to the reason.
    """

    segments: dict[str, ModelProto]
    weights: dict[str, dict[str, WeightRange]]
    tensors: dict[str, NDArray[Any]]
    programs: dict[str, Program]
    uncovered: dict[str, str]
    rings: dict[str, tuple[int, ...]]
    whole_widths: dict[str, str]

    def ranges(self, unit: str) -> tuple[WeightRange, ...]:
        """What the segment ``unit`` uses of the stored tensors, each range once."""
        return tuple(dict.fromkeys(self.weights[unit].values()))

    def write_weights(self, folder: Path) -> None:
        """Write the weights file into ``folder`` and point the segments to it, in place.

        Raises:
            HwnasError: the disk is full.
        """
        write_weights(folder / WEIGHTS, self.tensors)
        layout = read_layout(folder / WEIGHTS)
        for unit, model in self.segments.items():
            point_to_stored(model.graph, WEIGHTS, self.weights[unit], layout)


@contextmanager
def link_finalised(
    bundle: Bundle,
    programs: Mapping[str, Program],
    scratch: Path,
    further: Mapping[str, Program] | None = None,
    norms: Mapping[str, OwnNorms] | None = None,
    level: Level = "all",
) -> Iterator[FinalisedLink]:
    """Link ``programs`` over the units of ``bundle``.

    Args:
        bundle: of either form; its segments are as good as blocks.
        programs: subnet name to program; at least one.
        scratch: folder on a disk with room for the weights; what is written there is removed.
        further: subnets to name as well if the segments cover them, without new weights.
        norms: subnet name to normalisation statistics of its own.
        level: how far the optimiser goes; at ``extended`` the segments run on any CPU.

    Yields:
        The link; valid inside the ``with`` block.

    Raises:
        HwnasError: ONNX Runtime refuses a graph, or the disk is full.
        UsageError: ``bundle`` is finalised.
        InputError: statistics that fit no batch norm.
    """
    everything = {**programs, **(further or {})}
    units = dict.fromkeys(call.unit for p in everything.values() for call in p.calls)
    if bundle.manifest.finalised is not None:
        raise UsageError(
            f"{bundle.path} is finalised already, for {bundle.manifest.finalised}",
            "give the portable bundle, or the one that 'hwnas compile' wrote",
        )
    models = load_graphs(bundle, units)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".link-") as name:
        pool = Pool(Path(name) / "pool")
        linker = _Linker(bundle, models, norms or {}, pool, Path(name), level)
        yield linker.link(programs, further or {})


class _Linker:
    def __init__(
        self,
        bundle: Bundle,
        models: Mapping[str, ModelProto],
        norms: Mapping[str, OwnNorms],
        pool: Pool,
        folder: Path,
        level: Level,
    ) -> None:
        self._bundle = bundle
        self._models = models
        self._norms = norms
        self._pool = pool
        self._folder = folder
        self._level = level

    def link(
        self, programs: Mapping[str, Program], further: Mapping[str, Program]
    ) -> FinalisedLink:
        rings = split_rings(
            {name: self._whole(name, program) for name, program in programs.items()},
            [slot.name for slot in self._bundle.manifest.space.slots],
            {name: self._whole(name, program) for name, program in further.items()},
        )
        whole = {name: rings.models[name] for name in programs}
        graphs = {}
        finished = {}
        for name, model in whole.items():
            graphs[name], finished[name] = self._keyed(name, programs[name], model)
        clusters = find_clusters(graphs)
        hops = [source for cluster in clusters for source in cluster.outputs]
        types = HopTypes()
        for name, graph in graphs.items():
            inputs = self._bundle.inputs_of(programs[name])
            types.add(name, inputs, read_types(finished[name], graph, self._pool, hops, inputs))
        first = next(iter(finished.values()))
        segments = Segments.named(clusters)
        domains = {n.node.domain for c in clusters for n in c.nodes} | {""}
        opsets = [opset for opset in first.opset_import if opset.domain in domains]
        emitted = {
            name: emit(name, cluster, types, opsets, first.ir_version)
            for name, cluster in segments.clusters.items()
        }
        used = {pooled: None for _, external in emitted.values() for pooled in external.values()}
        tensors, ranges = self._pool.stored(used)
        linked = {name: segments.program(name, graph) for name, graph in graphs.items()}
        uncovered = {}
        for name, program in further.items():
            graph, _ = self._keyed(name, program, rings.models[name])
            try:
                linked[name] = covered(segments, graph)
            except ValueError as error:
                uncovered[name] = str(error)
        return FinalisedLink(
            segments={name: model for name, (model, _) in emitted.items()},
            weights={name: _ranges(external, ranges) for name, (_, external) in emitted.items()},
            tensors=tensors,
            programs=linked,
            uncovered=uncovered,
            rings=rings.cut,
            whole_widths=rings.left,
        )

    def _whole(self, name: str, program: Program) -> ModelProto:
        """One subnet as one graph in which a value is named after the unit that computes it."""
        value = {name: name for name in program.inputs}
        calls = []
        for call in program.calls:
            unit = self._last_block(call.unit)
            written = [f"{unit}/{i}" for i in range(len(call.outputs))]
            value.update(zip(call.outputs, written, strict=True))
            reads = tuple(value[v] for v in call.inputs)
            calls.append(Call(unit=call.unit, inputs=reads, outputs=tuple(written)))
        own = Program(
            inputs=program.inputs,
            calls=tuple(calls),
            outputs={public: value[v] for public, v in program.outputs.items()},
        )
        types = check(own, self._bundle.graphs, self._bundle.inputs_of(own))
        models = {call.unit: self._models[call.unit] for call in calls}
        if name in self._norms:
            models = apply_norms(self._bundle, models, self._norms[name], name)
        inputs = {v: v for v in own.inputs}
        outputs = {v: v for v in own.outputs.values()}
        # Segments hold blocks whose values are named after them already.
        named = self._bundle.manifest.form == "subnets"
        return merge(own.calls, models, inputs, outputs, types, name, named=named)

    def _last_block(self, unit: str) -> str:
        """What the values that a unit writes are named after: the same from either form."""
        segment = self._bundle.manifest.segments.get(unit)
        return segment.blocks[-1] if segment is not None and segment.blocks else unit

    def _keyed(
        self, name: str, program: Program, model: ModelProto
    ) -> tuple[KeyedGraph, ModelProto]:
        """One subnet's finished graph; its weights go to the pool, and nowhere else."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            done = optimise(model, self._bundle.path, Path(folder), name, self._level)
            graph = key_nodes(done, _shapes(model), self._pool, INLINE)
        # In the order in which the network names its outputs, by their public names.
        outputs = dict(zip(program.outputs, graph.outputs.values(), strict=True))
        return KeyedGraph(graph.inputs, graph.nodes, outputs), done.model


def _shapes(model: ModelProto) -> dict[str, str]:
    """Every value of a graph, with its shape as far as ONNX can infer it."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    names = [name for node in graph.node for name in node.output if name]
    names += [value.name for value in (*graph.input, *graph.initializer)]
    found = dict.fromkeys(names, "")
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name in found:
            found[value.name] = ",".join(str(dim.dim_value) for dim in dims)
    return found


def _ranges(
    external: Mapping[str, Pooled], ranges: Mapping[Pooled, WeightRange]
) -> dict[str, WeightRange]:
    return {name: ranges[pooled] for name, pooled in external.items()}
