"""Jobs for the native agent, and the agent itself, built as the tests want it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from hwnas._version import __version__
from hwnas.agent.events import Event
from hwnas.agent.expected import expect
from hwnas.agent.inputs import make_inputs
from hwnas.agent.protocol import Tensor
from hwnas.agent.settings import Settings
from hwnas.agent.wire import parse_event

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 16
WEIGHTS = "weights.bin"

_CMAKE = """cmake_minimum_required(VERSION 3.23)
project(agent VERSION {version} LANGUAGES C)
list(APPEND CMAKE_MODULE_PATH {root}/third_party)
list(APPEND CMAKE_PREFIX_PATH {root}/.venv/native-deps/usr)
set(HWNAS_BUILD_AGENT ON)
include({root}/third_party/AgentBuild.cmake)
"""


def missing(reason: str) -> None:
    if os.environ.get("HWNAS_REQUIRE_NATIVE") == "1":
        pytest.fail(f"HWNAS_REQUIRE_NATIVE=1, but {reason}")
    pytest.skip(reason)


def runtime_library() -> Path:
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.submodule_search_locations
    named = os.environ.get("HWNAS_ONNXRUNTIME")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("capi/libonnxruntime.so.*"))
    if not named and not found:
        missing("the installed onnxruntime has no libonnxruntime.so of its own")
    return Path(named) if named else found[0]


def build(folder: Path, flags: str = "") -> Path:
    """The agent as CMake builds it, with the host's compiler."""
    if shutil.which("cmake") is None or shutil.which("cc") is None:
        missing("cmake or a C compiler is not on the PATH")
    (folder / "CMakeLists.txt").write_text(_CMAKE.format(version=__version__, root=ROOT))
    configure = ["cmake", "-S", str(folder), "-B", f"{folder}/build", f"-DCMAKE_C_FLAGS={flags}"]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if done.returncode and "Could NOT find ONNXRuntime" in done.stderr:
        missing("ONNX Runtime's C header is not found")
    assert done.returncode == 0, done.stderr
    compile_ = ["cmake", "--build", f"{folder}/build"]
    done = subprocess.run(compile_, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "hwnas-agent"


def quick(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "min_rounds": 6,
        "max_rounds": 8,
        "turn_s": 0.0005,
        "warmup_window_s": 0.0,
        "warmup_time_s": 0.02,
        "sample_time_s": 0.5,
        "time_limit_s": 60.0,
    }
    return Settings(**(values | changes))


@dataclass
class Made:
    """A job folder with its blobs, as a device has them."""

    agent: Path
    folder: Path
    blobs: Path
    document: dict[str, Any]
    runtime: Path = field(default_factory=runtime_library)

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def write(self) -> None:
        (self.folder / "job.json").write_text(json.dumps(self.document))

    def command(self, *more: str) -> list[str]:
        places = ["--blobs", str(self.blobs), "--runtime", str(self.runtime)]
        return [str(self.agent), "run", str(self.folder), *places, *more]

    def run(self, *more: str) -> subprocess.CompletedProcess[bytes]:
        # What is still held at its end is no leak.
        environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
        command = self.command(*more)
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=120, check=False
        )

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.command(*more), stdout=quiet, stderr=quiet)

    def events(self) -> list[Event]:
        return parse(self.journal.read_bytes())

    def wait_for(self, text: bytes, times: int = 1) -> None:
        """Until the journal has ``text`` so many times."""
        wait(lambda: self.journal.exists() and self.journal.read_bytes().count(text) >= times)

    def blob(self, data: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        (self.blobs / sha256).write_bytes(data)
        return {"sha256": sha256, "bytes": len(data)}

    def add(
        self,
        model: ModelProto | bytes,
        inputs: Sequence[Tensor],
        compute: Callable[..., dict[str, NDArray[Any]]] | None = None,
    ) -> dict[str, Any]:
        """One more item; ``compute`` is given the inputs and says what the model computes."""
        data = model if isinstance(model, bytes) else model.SerializeToString()
        seed = self.document["settings"]["seed"]
        outputs = {} if compute is None else compute(**make_inputs(inputs, seed))
        item = {
            "key": f"key{len(self.document['items'])}",
            "scope": "block",
            "label": f"slot{len(self.document['items'])}/base",
            "model": self.blob(data),
            "inputs": [asdict(tensor) for tensor in inputs],
            "expected": [asdict(one) for one in expect(outputs)],
        }
        self.document["items"].append(item)
        self.write()
        return item


def make(
    agent: Path, folder: Path, rows: Sequence[int] = (), settings: Settings | None = None
) -> Made:
    """A job of one product ``y = x @ w`` for each of ``rows``, with weights in a file beside it."""
    job, blobs = folder / "jobs" / "one", folder / "blobs"
    (job / "data").mkdir(parents=True)
    blobs.mkdir()
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    (job / "data" / WEIGHTS).write_bytes(weights.tobytes())
    stored = {"sha256": hashlib.sha256(weights.tobytes()).hexdigest(), "bytes": weights.nbytes}
    document = {
        "schema_version": 1,
        "hwnas": __version__,
        "emulated": False,
        "profiler": "onnxruntime",
        "settings": (settings or quick()).to_dict(),
        "data": {WEIGHTS: stored},
        "items": [],
    }
    made = Made(agent, job, blobs, document)
    made.write()
    for count in rows:
        made.add(*product(count, weights))
    return made


def product(
    rows: int, weights: NDArray[np.float32]
) -> tuple[ModelProto, list[Tensor], Callable[..., dict[str, NDArray[Any]]]]:
    w = TensorProto(
        name="w", dims=weights.shape, data_type=TensorProto.FLOAT, data_location="EXTERNAL"
    )
    for key, value in {"location": WEIGHTS, "offset": 0, "length": weights.nbytes}.items():
        w.external_data.add(key=key, value=str(value))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, WIDTH]) for n in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    found = model([node], [x], [y], [w])
    return found, [Tensor("x", "float32", (rows, WIDTH))], lambda x: {"y": x @ weights}


def model(nodes: Any, inputs: Any, outputs: Any, initializers: Any = ()) -> ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def endless() -> tuple[ModelProto, list[Tensor]]:
    """A model that does not end while anyone waits for it."""
    i, more = (
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("more", TensorProto.BOOL, []),
    )
    inside, again = (
        helper.make_tensor_value_info("inside", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("again", TensorProto.BOOL, []),
    )
    after = helper.make_tensor_value_info("after", TensorProto.FLOAT, [4])
    steps = [
        helper.make_node("Identity", ["more"], ["again"]),
        helper.make_node("Sin", ["inside"], ["after"]),
    ]
    body = helper.make_graph(steps, "body", [i, more, inside], [again, after])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    times = helper.make_tensor("times", TensorProto.INT64, [], [1 << 60])
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)
    return model([node], [x], [y], [times]), [Tensor("x", "float32", (4,))]


def parse(lines: bytes) -> list[Event]:
    assert lines.endswith(b"\n")
    return [parse_event(line) for line in lines.splitlines()]


def wait(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def child_of(pid: int) -> int | None:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else None


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
