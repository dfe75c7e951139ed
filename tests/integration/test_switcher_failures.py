"""Graphs that load and cannot run: the same errors from both backends, which stay usable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from hwnas.bundle import WEIGHTS, Manifest, Segment, SubnetEntry, write_bundle
from hwnas.errors import HwnasError
from hwnas.program import Call, Program, TensorSpec
from hwnas.runtime import Switcher
from hwnas.space import Slot, Space
from tests.support.backends import BACKENDS, need

X = TensorSpec(name="x", dtype="int64", shape=(1,))
Y = TensorSpec(name="y", dtype="float32", shape=(1,))


def one_node_bundle(path: Path, nodes: list[onnx.NodeProto]) -> Path:
    """A bundle of one segment that makes ``y``, float32[1], of ``x``, int64[1]."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 4.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with write_bundle(path, "subnets") as writer:
        save_file({"unused": np.zeros(4, np.float32)}, writer.folder / WEIGHTS)
        sha256, size = writer.add_graph("segments/a.onnx", model.SerializeToString())
        segment = Segment(
            file="segments/a.onnx",
            sha256=sha256,
            bytes=size,
            kind="0" * 32,
            inputs=(X,),
            outputs=(Y,),
            weights=(),
            blocks=("s/base",),
        )
        program = Program(
            inputs=("x",),
            calls=(Call(unit="a", inputs=("x",), outputs=("v",)),),
            outputs={"y": "v"},
        )
        writer.finish(
            Manifest(
                hwnas="0.0.0+test",
                form="subnets",
                space=Space(
                    slots=(Slot(name="s", reads=("x",), writes=("y",)),),
                    inputs=("x",),
                    outputs=("y",),
                ),
                inputs=(X,),
                outputs=(Y,),
                weights=writer.weights(),
                segments={"a": segment},
                subnets={
                    "base": SubnetEntry(
                        choices={"s": "base"}, program=program, kind="k", weight_bytes=0
                    )
                },
            )
        )
    return path


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return need(request.param)


def test_a_run_that_fails_says_why(tmp_path: Path, backend: str) -> None:
    """Whatever the graph's own names: only what the runtime itself says is out of memory."""
    node = helper.make_node("Gather", ["table", "x"], ["y"], name="bad_alloc")
    said = r"ONNX Runtime 1\..* cannot run a segment: "
    with Switcher(one_node_bundle(tmp_path / "b", [node]), backend=backend) as switcher:
        with pytest.raises(HwnasError, match=said) as caught:
            switcher.run({"x": np.array([7])})
        assert type(caught.value) is HwnasError
        assert "indices element out of data bounds" in caught.value.cause
        assert caught.value.fix.startswith("check the inputs' values")
        assert switcher.run({"x": np.array([2])})["y"] == [4.0]


def test_a_run_without_memory(tmp_path: Path, backend: str) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["x"], ["zeros"]),  # float32, as many as x says
        helper.make_node("ReduceSum", ["zeros"], ["y"], keepdims=1),
    ]
    with Switcher(one_node_bundle(tmp_path / "b", nodes), backend=backend) as switcher:
        with pytest.raises(MemoryError, match="out of memory; free some memory"):
            switcher.run({"x": np.array([1 << 46])})  # more than a process has addresses
        assert switcher.run({"x": np.array([3])})["y"] == [0.0]
