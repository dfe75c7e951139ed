"""A bundle of one segment and one subnet, around any graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper
from safetensors.numpy import save_file

from hwnas.bundle import WEIGHTS, Manifest, SubnetEntry, write_bundle
from hwnas.program import Call, Program, TensorSpec
from hwnas.runtime.arrays import as_dtype
from hwnas.space import Slot, Space

__all__ = ["graph_of", "make_single_bundle"]


def graph_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    constants: Sequence[TensorProto] = (),
) -> GraphProto:
    """A graph whose ports have the types of ``inputs`` and ``outputs``."""
    return helper.make_graph(
        nodes, "g", [_value(s) for s in inputs], [_value(s) for s in outputs], constants
    )


def make_single_bundle(path: Path, graph: GraphProto, subnet: str = "base") -> Path:
    """Write ``graph``, which has all its constants inline, as the one segment of ``subnet``."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with write_bundle(path, "subnets") as writer:
        save_file({"unused": np.zeros(4, np.float32)}, writer.folder / WEIGHTS)
        segment = writer.add_segment("only", model, blocks=("slot/base",))
        reads = tuple(spec.name for spec in segment.inputs)
        writes = tuple(spec.name for spec in segment.outputs)
        program = Program(
            inputs=reads,
            calls=(Call(unit="only", inputs=reads, outputs=writes),),
            outputs={name: name for name in writes},
        )
        entry = SubnetEntry(
            choices={"slot": "base"}, program=program, kind=segment.kind, weight_bytes=0
        )
        writer.finish(
            Manifest(
                hwnas="0.0.0+test",
                form="subnets",
                space=Space(
                    slots=(Slot(name="slot", reads=reads, writes=writes),),
                    inputs=reads,
                    outputs=writes,
                ),
                inputs=segment.inputs,
                outputs=segment.outputs,
                weights=writer.weights(),
                segments={"only": segment},
                subnets={subnet: entry},
            )
        )
    return path


def _value(spec: TensorSpec) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(as_dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
