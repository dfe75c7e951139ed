"""A bundle with an input and an output of every dtype, one without dimensions, one empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper
from safetensors.numpy import save_file

from hwnas.bundle import WEIGHTS, Manifest, Segment, SubnetEntry, write_bundle
from hwnas.program import DTYPES, Call, Program, TensorSpec
from hwnas.runtime.arrays import as_dtype
from hwnas.space import Slot, Space

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
    graph = helper.make_graph(
        nodes, "same", [_value(s) for s in inputs], [_value(s) for s in outputs]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with write_bundle(path, "subnets") as writer:
        save_file({"unused": np.zeros(4, np.float32)}, writer.folder / WEIGHTS)
        sha256, size = writer.add_graph("segments/same.onnx", model.SerializeToString())
        segment = Segment(
            file="segments/same.onnx",
            sha256=sha256,
            bytes=size,
            kind="0" * 32,
            inputs=inputs,
            outputs=outputs,
            weights=(),
            blocks=("same/base",),
        )
        program = Program(
            inputs=tuple(s.name for s in inputs),
            calls=(
                Call(
                    unit="same",
                    inputs=tuple(s.name for s in inputs),
                    outputs=tuple(s.name for s in outputs),
                ),
            ),
            outputs={s.name: s.name for s in outputs},
        )
        entry = SubnetEntry(choices={}, program=program, kind="0" * 32, weight_bytes=0)
        writer.finish(
            Manifest(
                hwnas="0.0.0+test",
                form="subnets",
                space=Space(
                    slots=(Slot(name="same", reads=tuple(SHAPES), writes=tuple(SHAPES)),),
                    inputs=tuple(SHAPES),
                    outputs=tuple(SHAPES),
                ),
                inputs=inputs,
                outputs=outputs,
                weights=writer.weights(),
                segments={"same": segment},
                subnets={"same": entry},
            )
        )
    return path


def _value(spec: TensorSpec) -> object:
    kind = helper.np_dtype_to_tensor_dtype(as_dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
