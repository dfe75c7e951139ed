"""What ``hwnas export --verify`` compares an artifact with: its other form, and torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.cli.supernet import supernet_of
from hwnas.errors import UsageError
from hwnas.export import (
    Runner,
    Verification,
    Wanted,
    export_bundle,
    export_finalised,
    export_onnx,
    verify,
)
from hwnas.export.onnx_switch import switch_runner
from hwnas.export.verify import bundle_runner, onnx_runner

__all__ = ["torch_reference", "verified"]


def torch_reference(source: Bundle, wanted: Sequence[Wanted], supernet: str | None) -> Runner:
    """The supernet in torch. A bundle's word is taken for a registered family, no more.

    Anything else that it names would be imported and called, and a bundle must not run code.
    """
    if source.manifest.form != "space" or any(item.norms is not None for item in wanted):
        raise UsageError(
            "torch knows the bundle that 'hwnas compile' wrote and its own batch-norm statistics "
            "only",
            "compare with ONNX alone: --verify onnx",
        )
    reference = supernet_of(source, supernet, "; or compare with ONNX alone: --verify onnx")
    from hwnas.supernets.reference import load
    from hwnas.supernets.runner import torch_runner

    return torch_runner(load(reference), source)


def verified(
    source: Bundle, wanted: Sequence[Wanted], form: str, path: Path, torch: Runner | None
) -> list[Verification]:
    """Compare what was written with the other form, made for this, and with torch."""
    subnets = [item.subnet for item in wanted]
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        other = Path(folder) / "other"
        if form != "onnx":
            export_onnx(source, [_folded(item) for item in wanted], other)
            runner = switch_runner if form == "onnx-switch" else bundle_runner
            artifact, reference = runner(path), ("onnx", onnx_runner(other))
        else:
            own = any(item.norms is not None for item in wanted)
            (export_finalised if own else export_bundle)(source, wanted, other)
            artifact, reference = onnx_runner(path), ("bundle", bundle_runner(other))
        references = dict([reference])
        if torch is not None:
            references["torch"] = torch
        return verify(subnets, source.inputs, (form, artifact), references)


def _folded(item: Wanted) -> Wanted:
    """With its statistics in the batch norms themselves, so that nothing rewrites them."""
    return item if item.norms is None else replace(item, norms=replace(item.norms, mode="folded"))
