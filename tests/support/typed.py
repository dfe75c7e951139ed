"""A bundle with an input and an output of every dtype, one without dimensions, one empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from hwnas.program import DTYPES, TensorSpec
from hwnas.runtime.arrays import as_dtype
from tests.support.single import graph_of, make_single_bundle

__all__ = ["SHAPES", "make_typed_bundle", "typed_inputs"]

SHAPES = {f"a_{dtype}": (dtype, (2, 3)) for dtype in sorted(DTYPES)} | {
    "flag": ("bool", ()),
    "scalar": ("bfloat16", ()),
    "nothing": ("float32", (0, 3)),
}
"""Input name to dtype and shape; the output ``y_NAME`` is the input ``NAME``."""


def typed_inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """One array per input."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(rng.integers(0, 2, shape)).astype(as_dtype(dtype))
        for name, (dtype, shape) in SHAPES.items()
    }


def make_typed_bundle(path: Path) -> Path:
    """Write it. Its one subnet ``same`` gives back what it is given."""
    inputs = tuple(TensorSpec(name=n, dtype=d, shape=s) for n, (d, s) in SHAPES.items())
    outputs = tuple(TensorSpec(name=f"y_{s.name}", dtype=s.dtype, shape=s.shape) for s in inputs)
    nodes = [helper.make_node("Identity", [s.name], [f"y_{s.name}"]) for s in inputs]
    return make_single_bundle(path, graph_of(nodes, inputs, outputs), "same")
