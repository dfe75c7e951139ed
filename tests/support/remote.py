"""Small jobs for devices, and targets that reach this machine as if it were another."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from hwnas.agent.protocol import Job, Tensor
from hwnas.agent.settings import Settings
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.package import Package, make_package, reference_outputs
from hwnas.remote.shell import LocalTransport
from hwnas.remote.target import RemoteTarget

__all__ = ["ENDLESS", "LONG", "QUICK", "LoopTarget", "describe", "make_jobs", "make_small_package"]

QUICK = Settings(
    min_rounds=6, max_rounds=7, turn_s=0.0002, sittings=1, warmup_window_s=0.0, warmup_time_s=0.02
)
LONG = replace(QUICK, min_rounds=60, max_rounds=60, turn_s=0.02, sittings=2, sitting_items=1)
"""There is time to break in: two sittings of each item, 60 turns of up to 1000 runs in each."""

ENDLESS = replace(LONG, min_rounds=10**6, max_rounds=10**6, sample_time_s=3600.0)
"""Goes on until somebody stops it, or for the time limit."""


def make_jobs(folder: Path, count: int) -> list[Job]:
    """Chains of element-wise operations, each one longer than the one before."""
    shape = (1, 8)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(shape)) for n in "xy"]
    jobs = []
    for length in range(1, count + 1):
        names = ["x", *(f"h{i}" for i in range(length)), "y"]
        nodes = [helper.make_node("Sigmoid", [a], [b]) for a, b in pairwise(names)]
        graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        tensor = Tensor("x", "float32", shape)
        jobs.append(Job(f"key {length}", "block", f"chain {length}", model, folder, (tensor,)))
    return jobs


def make_small_package(folder: Path, count: int = 2, settings: Settings = QUICK) -> Package:
    return make_package(make_jobs(folder, count), "onnxruntime", settings, reference_outputs)


def describe(work: Path, **sections: dict[str, Any]) -> Descriptor:
    kind = "ssh" if "host" in sections.get("transport", {}) else "local"
    values: dict[str, Any] = {"schema_version": 1, "name": "board", "kind": kind}
    values["transport"] = {"work": str(work), **sections.pop("transport", {})}
    values["runtime"] = {"python": sys.executable, **sections.pop("runtime", {})}
    return Descriptor.model_validate({**values, **sections})


class LoopTarget(RemoteTarget):
    """This machine by its own shell, and what it tells."""

    def __init__(self, descriptor: Descriptor) -> None:
        super().__init__(descriptor)
        self.told: list[str] = []
        self.tell = self.told.append

    def connect(self, descriptor: Descriptor) -> LocalTransport:
        return LocalTransport(descriptor.name)
