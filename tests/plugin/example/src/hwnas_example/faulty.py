"""A profiler that does what its job's label says, mostly wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hwnas.profile.protocol import Job, RuntimeInfo
from hwnas.profile.settings import Settings

NS = 2_000_000


class FaultyProfiler:
    name = "faulty"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        return RuntimeInfo("faulty", "1", os.environ["ORT_DISABLE_TELEMETRY"])

    def prepare(self, settings: Settings) -> None:
        pass

    def load(self, job: Job, settings: Settings) -> Runner:
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
        return Runner(job)


class Runner:
    def __init__(self, job: Job) -> None:
        self._label = job.label
        self._started = Path(job.folder) / f"{job.label}.started"
        self._runs = 0

    def run(self) -> int:
        self._runs += 1
        match self._label:
            case "hang":
                self._started.touch()
                time.sleep(600)
            case "abort late" if self._runs == 300:
                os.abort()
            case "chatty":
                # Straight to file descriptor 1, as native libraries do.
                os.write(1, b'{"event": "done"}\nnoise without end')
            case "negative":
                return -1
            case "slow" | "abort late":
                time.sleep(NS / 1e9)
        return NS

    def close(self) -> None:
        pass


class Unfinished:
    name = "unfinished"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        raise NotImplementedError
