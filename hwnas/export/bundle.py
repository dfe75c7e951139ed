"""``--to bundle``: the switchable bundle, its subnets linked into shared segments."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import hwnas
from hwnas.bundle import Bundle, BundleWriter, bytes_used, write_bundle
from hwnas.errors import UsageError
from hwnas.export.request import Wanted
from hwnas.export.weights import WeightCut
from hwnas.link import link, link_finalised
from hwnas.link.optimise import OPTIONS
from hwnas.manifest import Finalised, Manifest, Segment, SubnetEntry
from hwnas.program import Program, TensorSpec
from hwnas.runtime.isa import here
from hwnas.runtime.ort import onnxruntime as ort

__all__ = ["export_bundle", "export_finalised"]


def export_bundle(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    path: str | Path,
    accept: Callable[[Path], None] | None = None,
) -> Bundle:
    """Write ``wanted`` as one portable switchable bundle at ``path``: plain ONNX, cut at blocks.

    Args:
        bundle: of form ``space``.
        wanted: at least one subnet of its space.
        path: a new folder, or an exported bundle that is replaced once the new one is whole.
        accept: called with the finished bundle before it takes its place; what it raises leaves
            ``path`` as it was.

    Returns:
        The bundle, opened.

    Raises:
        UsageError: a subnet has normalisation statistics of its own.
    """
    if any(item.norms is not None for item in wanted):
        raise UsageError(
            "a portable bundle is cut at blocks, which have one set of statistics each",
            "finalise it (--finalise) to give subnets statistics of their own",
        )
    linked = link(bundle, [item.subnet for item in wanted])
    cut = WeightCut(bundle, linked.segments.values())
    ranges = {unit: cut.ranges(model) for unit, model in linked.segments.items()}
    path = Path(path)
    with write_bundle(path, "subnets") as writer:
        cut.write(writer.folder)
        segments = {
            unit: writer.add_segment(unit, model, ranges[unit], linked.blocks[unit])
            for unit, model in linked.segments.items()
        }
        _finish(writer, bundle, wanted, segments, linked.programs)
        Bundle.open(writer.folder, "subnets", verify=False)
        if accept is not None:
            accept(writer.folder)
    return Bundle.open(path, "subnets", verify=False)


def export_finalised(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    path: str | Path,
    accept: Callable[[Path], None] | None = None,
    *,
    further: Sequence[Wanted] = (),
    optional: Collection[str] = (),
) -> Bundle:
    """Write ``wanted`` as one switchable bundle finalised for this CPU and runtime version.

    Args:
        bundle: of form ``space``, or a portable bundle of form ``subnets``.
        wanted: at least one subnet of it.
        path: as in :func:`export_bundle`.
        accept: as in :func:`export_bundle`.
        further: subnets to name as well, where the segments of ``wanted`` cover them.
        optional: names of further subnets that are left out if they are not covered.

    Returns:
        The bundle, opened.

    Raises:
        UsageError: ``bundle`` is finalised already, or a further subnet is not covered.
        HwnasError: the runtime refuses a graph, or the disk is full.
    """
    path = Path(path)
    with write_bundle(path, "subnets") as writer:
        with link_finalised(
            bundle,
            {item.subnet.name: bundle.program(item.subnet) for item in wanted},
            writer.folder,
            {item.subnet.name: bundle.program(item.subnet) for item in further},
            {item.subnet.name: item.norms for item in wanted if item.norms is not None},
        ) as linked:
            for name, why in linked.uncovered.items():
                if name in optional:
                    continue
                raise UsageError(
                    f"the segments of {len(wanted)} subnets do not cover {name!r}: {why}",
                    f"export it with the others: --subnet {name}",
                )
            linked.write_weights(writer.folder)
            segments = {
                unit: writer.add_segment(unit, model, linked.ranges(unit))
                for unit, model in linked.segments.items()
            }
            named = [i for i in (*wanted, *further) if i.subnet.name in linked.programs]
            record = here(ort.__version__, dict(OPTIONS))
            notes = {
                "rings": {weight: list(rows) for weight, rows in linked.rings.items()},
                "whole_widths": linked.whole_widths,
                "norms": {i.subnet.name: i.norms.mode for i in wanted if i.norms is not None},
            }
            _finish(writer, bundle, named, segments, linked.programs, record, notes)
        Bundle.open(writer.folder, "subnets", verify=False)
        if accept is not None:
            accept(writer.folder)
    return Bundle.open(path, "subnets", verify=False)


def _finish(
    writer: BundleWriter,
    bundle: Bundle,
    wanted: Sequence[Wanted],
    segments: Mapping[str, Segment],
    programs: Mapping[str, Program],
    finalised: Finalised | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write the manifest over the segments and weights that have been written."""
    source = bundle.manifest
    # Of what ships, not of the space: where all take the same, that is what the bundle takes.
    inputs, outputs = max(
        ((bundle.inputs(item.subnet), bundle.outputs(item.subnet)) for item in wanted),
        key=lambda found: [sum(math.prod(spec.shape) for spec in specs) for specs in found],
    )
    subnets = {
        item.subnet.name: SubnetEntry(
            choices=item.subnet.choices,
            program=programs[item.subnet.name],
            kind=_kind(bundle, item),
            weight_bytes=bytes_used(
                [segments[call.unit] for call in programs[item.subnet.name].calls]
            ),
            quality=item.quality,
            cost=item.cost if item.norms is None else {},  # it was measured without them
            inputs=_unless(bundle.inputs(item.subnet), inputs),
            outputs=_unless(bundle.outputs(item.subnet), outputs),
        )
        for item in wanted
    }
    writer.finish(
        Manifest(
            hwnas=hwnas.__version__,
            form="subnets",
            space=source.space,
            inputs=inputs,
            outputs=outputs,
            weights=writer.weights(),
            finalised=finalised,
            segments=dict(segments),
            subnets=subnets,
            provenance={**source.provenance, "link": dict(notes)} if notes else source.provenance,
        )
    )


def _unless(
    own: tuple[TensorSpec, ...], network: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...] | None:
    return None if own == network else own


def _kind(bundle: Bundle, item: Wanted) -> str:
    """The key of whole-subnet measurements; scale and shift of its own make it another graph."""
    kind = bundle.subnet_kind(item.subnet)
    if item.norms is None or item.norms.mode == "folded":
        return kind
    return hashlib.sha256(f"{kind} {item.norms.mode} norms".encode()).hexdigest()[:32]
