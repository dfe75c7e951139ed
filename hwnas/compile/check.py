"""Every compiled block is run once against torch before the bundle is handed over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.bundle import Bundle
from hwnas.compile.trace import TracedBlock
from hwnas.errors import SupernetError
from hwnas.runtime.session import open_session

__all__ = ["TOLERANCE", "check_blocks"]

TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest value that torch gives (or to 1)."""


def check_blocks(bundle: Bundle, blocks: Sequence[TracedBlock]) -> None:
    """Compare each block of ``bundle`` with what torch gave for the example inputs.

    Raises:
        SupernetError: a block computes something else; names it and the difference.
    """
    for block in blocks:
        session = open_session(bundle, block.id, shared=False)
        feeds = {
            spec.name: value.detach().cpu().numpy()
            for spec, value in zip(block.inputs, block.arguments, strict=True)
        }
        for got, tensor in zip(session.run(None, feeds), block.results, strict=True):
            wanted = tensor.detach().cpu().numpy().astype(np.float64)
            scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
            difference = float(np.abs(got.astype(np.float64) - wanted).max(initial=0.0))
            if not difference <= TOLERANCE * scale:
                raise SupernetError(
                    f"block {block.id} computes something else in ONNX Runtime than in torch: "
                    f"largest difference {difference:.3g}, largest value {scale:.3g}",
                    "is the module in eval mode, free of randomness, and without Python state?",
                )
