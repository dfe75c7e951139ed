"""A profiler that does what its job's label says, mostly wrong.

``x late``: ``x``, but only in a sitting, after it has run a few times there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.protocol import Job, RuntimeInfo
from hwnas.agent.settings import Settings

NS = 2_000_000
LATE = 16
"""Runs. A look at an item takes 2, so this one is in a sitting."""


class FaultyProfiler:
    name = "faulty"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        return RuntimeInfo("faulty", "1", os.environ["ORT_DISABLE_TELEMETRY"])

    def prepare(self, settings: Settings) -> None:
        pass

    def load(self, job: Job, settings: Settings, inputs: Mapping[str, NDArray[Any]]) -> Runner:
        match job.label:
            case "raise":
                raise RuntimeError("this block\ncannot be loaded")
            case "abort":
                print("about to abort", file=sys.stderr, flush=True)
                os.abort()
            case "exit":
                os._exit(7)
            case "leak":
                # A helper that outlives its parent unless the whole group is killed.
                helper = subprocess.Popen(["sleep", "600"])
                (job.folder / "helper.pid").write_text(str(helper.pid))
            case "environment":
                cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
                text = f"{os.environ['ORT_DISABLE_TELEMETRY']} {os.environ['OMP_NUM_THREADS']}"
                (job.folder / "environment.txt").write_text(f"{text} {cores}")
        return Runner(job, inputs)


class Runner:
    def __init__(self, job: Job, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._label = job.label
        self._started = Path(job.folder) / f"{job.label}.started"
        self._weights = Path(job.folder) / "weights.bin"
        self._x = inputs["x"]
        self._runs = 0

    def refresh(self) -> None:
        pass

    def run(self) -> int:
        self._runs += 1
        what, _, late = self._label.partition(" ")
        if late and self._runs != LATE:
            return NS
        match what:
            case "hang":
                self._started.touch()
                time.sleep(600)
            case "wait":
                self._started.touch()
                while not self._started.with_name("go").exists():
                    time.sleep(0.01)
            case "abort":
                os.abort()
            case "raise":
                raise RuntimeError("no more runs")
            case "chatty":
                # Straight to file descriptor 1, as native libraries do.
                os.write(1, b'{"event": "done"}\nnoise without end')
            case "negative":
                return -1
            case "slow":
                end = time.perf_counter_ns() + NS
                while time.perf_counter_ns() < end:
                    pass
        return NS

    def outputs(self) -> dict[str, NDArray[Any]]:
        x = self._x
        w = np.fromfile(self._weights, np.float32).reshape(x.shape[1], -1)
        match self._label:
            case "rounds":
                # As bfloat16 has it: the upper half of a float32.
                x, w = ((a.view(np.uint32) & 0xFFFF0000).view(np.float32) for a in (x, w))
            case "nan":
                return {"y": np.full_like(x @ w, np.nan)}
            case "other":
                return {"z": x @ w}
            case "unknown":
                return {}
        return {"y": x @ w}

    def close(self) -> None:
        pass


class Unfinished:
    name = "unfinished"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        raise NotImplementedError
