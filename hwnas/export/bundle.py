"""``--to bundle``: the switchable bundle, its subnets linked into shared segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import hwnas
from hwnas.bundle import Bundle, bytes_used, write_bundle
from hwnas.export.request import Wanted
from hwnas.export.weights import WeightCut
from hwnas.graphs import graph_kind, signature
from hwnas.link import link
from hwnas.manifest import Manifest, Segment, SubnetEntry

__all__ = ["export_bundle"]


def export_bundle(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    path: str | Path,
    accept: Callable[[Path], None] | None = None,
) -> Bundle:
    """Write ``wanted`` as one switchable bundle at ``path``.

    Args:
        bundle: of form ``space``.
        wanted: at least one subnet of its space.
        path: a new folder, or an exported bundle that is replaced once the new one is whole.
        accept: called with the finished bundle before it takes its place; what it raises leaves
            ``path`` as it was.

    Returns:
        The bundle, opened.
    """
    linked = link(bundle, [item.subnet for item in wanted])
    cut = WeightCut(bundle, linked.segments.values())
    ranges = {unit: cut.ranges(model) for unit, model in linked.segments.items()}
    path = Path(path)
    with write_bundle(path, "subnets") as writer:
        cut.write(writer.folder)
        segments = {}
        for unit, model in linked.segments.items():
            file = f"segments/{unit}.onnx"
            sha256, size = writer.add_graph(file, model.SerializeToString(deterministic=True))
            inputs, outputs = signature(model.graph)
            segments[unit] = Segment(
                blocks=linked.blocks[unit],
                file=file,
                sha256=sha256,
                bytes=size,
                kind=graph_kind(model),
                inputs=inputs,
                outputs=outputs,
                weights=ranges[unit],
            )
        subnets = {
            item.subnet.name: SubnetEntry(
                choices=item.subnet.choices,
                program=linked.programs[item.subnet.name],
                kind=bundle.subnet_kind(item.subnet),
                weight_bytes=bytes_used(
                    segments[call.unit] for call in linked.programs[item.subnet.name].calls
                ),
                quality=item.quality,
                cost=item.cost,
            )
            for item in wanted
        }
        writer.finish(
            Manifest(
                hwnas=hwnas.__version__,
                form="subnets",
                space=bundle.manifest.space,
                inputs=bundle.manifest.inputs,
                outputs=bundle.manifest.outputs,
                weights=writer.weights(),
                segments=segments,
                subnets=subnets,
                provenance=bundle.manifest.provenance,
            )
        )
        if accept is not None:
            accept(writer.folder)
    return Bundle.open(path, "subnets", verify=False)
