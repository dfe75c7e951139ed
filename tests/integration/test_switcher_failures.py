"""Graphs that load and cannot run: the same errors from both backends, which stay usable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwnas.errors import HwnasError
from hwnas.program import TensorSpec
from hwnas.runtime import Switcher
from tests.support.backends import BACKENDS, need
from tests.support.single import graph_of, make_single_bundle

X = TensorSpec(name="x", dtype="int64", shape=(1,))
Y = TensorSpec(name="y", dtype="float32", shape=(1,))


def failing_bundle(path: Path, *nodes: onnx.NodeProto) -> Path:
    """A bundle whose ``nodes`` make ``y``, float32[1], of ``x``, int64[1], and ``table``."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 4.0])
    return make_single_bundle(path, graph_of(nodes, [X], [Y], [table]))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return need(request.param)


def test_a_run_that_fails_says_why(tmp_path: Path, backend: str) -> None:
    """Whatever the graph's own names: only what the runtime itself says is out of memory."""
    node = helper.make_node("Gather", ["table", "x"], ["y"], name="bad_alloc")
    said = r"ONNX Runtime 1\..* cannot run a segment: "
    with Switcher(failing_bundle(tmp_path / "b", node), backend=backend) as switcher:
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
    with Switcher(failing_bundle(tmp_path / "b", *nodes), backend=backend) as switcher:
        with pytest.raises(MemoryError, match="out of memory; free some memory"):
            switcher.run({"x": np.array([1 << 46])})  # more than a process has addresses
        assert switcher.run({"x": np.array([3])})["y"] == [0.0]
