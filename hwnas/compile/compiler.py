"""From a supernet to a bundle that holds its whole space as blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

import hwnas
from hwnas.bundle import WEIGHTS, Bundle, BundleWriter, write_bundle
from hwnas.compile.check import check_blocks
from hwnas.compile.onnx_export import OPSET, ExportedBlock
from hwnas.compile.store import WeightStore
from hwnas.compile.trace import TracedBlock, trace
from hwnas.compile.workers import export_all
from hwnas.graphs import graph_kind, parse_model, point_to_stored, signature
from hwnas.manifest import Block, Manifest, WeightRange
from hwnas.program import TensorSpec, assemble, check, input_types
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.reference import portable_reference
from hwnas.weights import read_layout, write_weights

__all__ = ["compile_supernet"]

_SAMPLED = 100
"""Random subnets whose signatures are checked where the space has dimensions."""


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
        wrong = _fill(writer, supernet, inputs, blocks, exported, store, reference)
        if wrong:
            again = [block for block in blocks if block.id in wrong]
            exported |= export_all(supernet, again, reference, jobs, lambda _: None, each=True)
            _fill(writer, supernet, inputs, blocks, exported, store, reference)
    return Bundle.open(path, "space", verify=False)


def _fill(
    writer: BundleWriter,
    supernet: Supernet,
    inputs: tuple[TensorSpec, ...],
    blocks: Sequence[TracedBlock],
    exported: Mapping[str, ExportedBlock],
    store: WeightStore,
    reference: str | None,
) -> list[str]:
    """Write all there is; gives the blocks whose graphs were made from others' and are wrong."""
    used = {block.id: _ranges(block, exported[block.id], store) for block in blocks}
    write_weights(writer.folder / WEIGHTS, store.tensors)
    layout = read_layout(writer.folder / WEIGHTS)
    entries = {}
    for block in blocks:
        model = parse_model(exported[block.id].model, block.id)
        point_to_stored(model.graph, WEIGHTS, used[block.id], layout)
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
    _check_dimensions(supernet.space, entries, inputs)
    program = assemble(supernet.space, supernet.space.largest())
    types = check(program, entries, inputs)
    manifest = Manifest(
        hwnas=hwnas.__version__,
        form="space",
        space=supernet.space,
        inputs=inputs,
        outputs=tuple(
            types[value].model_copy(update={"name": name})
            for name, value in program.outputs.items()
        ),
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
    guessed = [block.id for block in blocks if exported[block.id].resized]
    return check_blocks(Bundle(writer.folder, manifest), blocks, guessed)


def _check_dimensions(
    space: Space, blocks: Mapping[str, Block], inputs: tuple[TensorSpec, ...]
) -> None:
    """Blocks were traced with all other dimensions at their largest; they have to fit anywhere.

    Raises:
        SignatureError: they do not; names the blocks and both shapes.
    """
    if not space.dimensions:
        return
    rng = random.Random(0)
    for subnet in [space.smallest(), *(space.sample(rng) for _ in range(_SAMPLED))]:
        program = assemble(space, subnet)
        check(program, blocks, input_types(program, blocks, inputs))


def _ranges(
    block: TracedBlock, exported: ExportedBlock, store: WeightStore
) -> dict[str, WeightRange]:
    tensors: dict[str, torch.Tensor] = {
        **dict(block.module.named_buffers()),
        **dict(block.module.named_parameters()),
        **exported.constants,
    }
    return {name: store.range_of(source.of(tensors)) for name, source in exported.sources.items()}
