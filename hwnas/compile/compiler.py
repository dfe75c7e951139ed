"""From a supernet to a bundle that holds its whole space as blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import hwnas
from hwnas.bundle import WEIGHTS, Bundle, write_bundle
from hwnas.compile.check import check_blocks
from hwnas.compile.onnx_export import OPSET, ExportedBlock
from hwnas.compile.store import WeightStore
from hwnas.compile.trace import TracedBlock, trace
from hwnas.compile.workers import export_all
from hwnas.graphs import external_tensors, graph_kind, parse_model, point_to, signature
from hwnas.manifest import Block, Manifest, WeightRange
from hwnas.program import TensorSpec, output_names
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.reference import portable_reference
from hwnas.weights import read_layout, write_weights

__all__ = ["compile_supernet"]


def compile_supernet(
    supernet: Supernet,
    path: str | Path,
    *,
    reference: str | None = None,
    jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Bundle:
    """Write every block of ``supernet`` and its weights as a bundle at ``path``.

    Args:
        supernet: see :mod:`hwnas.supernets.protocol`.
        path: the bundle's folder; a bundle that is there is replaced once the new one is whole.
        reference: how ``supernet`` was loaded; lets other processes load it, and is recorded.
        jobs: processes that export; more than one needs ``reference``.
        progress: called with (blocks done, blocks in all, block id).

    Returns:
        The bundle, opened.

    Raises:
        SupernetError: a block cannot run, be exported, or computes something else in ONNX Runtime.
        SignatureError: blocks do not fit each other.
        HwnasError: the disk is full or the place cannot be written.
    """
    path = Path(path)
    inputs, blocks = trace(supernet)
    store = WeightStore(supernet.state_dict())
    finished = 0

    def done(block_id: str) -> None:
        nonlocal finished
        finished += 1
        if progress is not None:
            progress(finished, len(blocks), block_id)

    with write_bundle(path, "space") as writer:
        exported = export_all(supernet, blocks, reference, jobs, done)
        used = {block.id: _ranges(block, exported[block.id], store) for block in blocks}
        write_weights(writer.folder / WEIGHTS, store.tensors)
        layout = read_layout(writer.folder / WEIGHTS)
        entries = {}
        for block in blocks:
            model = parse_model(exported[block.id].model, block.id)
            for tensor in external_tensors(model.graph):
                part = used[block.id][tensor.name]
                point_to(tensor, WEIGHTS, layout[part.tensor].offset + part.offset, part.length)
            model.graph.name = block.id
            data = model.SerializeToString(deterministic=True)
            file = f"blocks/{block.slot}--{block.choice}.onnx"  # no name holds a '-'
            sha256, size = writer.add_graph(file, data)
            graph_inputs, graph_outputs = signature(model.graph)
            entries[block.id] = Block(
                slot=block.slot,
                choice=block.choice,
                file=file,
                sha256=sha256,
                bytes=size,
                kind=graph_kind(model),
                inputs=graph_inputs,
                outputs=graph_outputs,
                weights=tuple(dict.fromkeys(used[block.id].values())),
            )
        manifest = Manifest(
            hwnas=hwnas.__version__,
            form="space",
            space=supernet.space,
            inputs=inputs,
            outputs=_outputs(supernet.space, blocks),
            weights=writer.weights(),
            blocks=entries,
            provenance={
                "supernet": portable_reference(reference) if reference else None,
                "torch": torch.__version__.split("+")[0],
                "opset": OPSET,
                "aliases": store.aliases,
            },
        )
        writer.finish(manifest)
        check_blocks(Bundle(writer.folder, manifest), blocks)
    return Bundle.open(path, "space", verify=False)


def _ranges(
    block: TracedBlock, exported: ExportedBlock, store: WeightStore
) -> dict[str, WeightRange]:
    tensors: dict[str, torch.Tensor] = {
        **dict(block.module.named_buffers()),
        **dict(block.module.named_parameters()),
        **exported.constants,
    }
    return {name: store.range_of(source.of(tensors)) for name, source in exported.sources.items()}


def _outputs(space: Space, blocks: Sequence[TracedBlock]) -> tuple[TensorSpec, ...]:
    """The network's outputs, typed by the last slot that writes each."""
    types = {
        name: spec
        for block in blocks
        for name, spec in zip(space.slot(block.slot).writes, block.outputs, strict=True)
    }
    return tuple(
        types[name].model_copy(update={"name": public})
        for public, name in zip(output_names(space), space.outputs, strict=True)
    )
