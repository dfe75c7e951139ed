"""A target: this machine, politely."""

from __future__ import annotations

import os
import subprocess
import sys

from hwnas.profile import Fingerprint, Profiler, Settings, describe


class NiceTarget:
    name = "nice"

    def cores(self) -> tuple[int, ...]:
        return tuple(sorted(os.sched_getaffinity(0)))

    def fingerprint(self, profiler: Profiler, settings: Settings) -> Fingerprint:
        return describe(self, profiler, settings)

    def start_worker(self, settings: Settings) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["nice", "-n", "1", sys.executable, "-P", "-m", "hwnas.profile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
            start_new_session=True,
        )
