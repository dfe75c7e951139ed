"""The target ``cpu``: this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.isolation import describe
from hwnas.profile.protocol import Profiler
from hwnas.profile.settings import Settings

__all__ = ["CpuTarget"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CpuTarget:
    """Workers are children of this process, with this Python and its installed packages."""

    name = "cpu"

    def cores(self) -> tuple[int, ...]:
        """The cores that this process may use."""
        return tuple(sorted(os.sched_getaffinity(0)))

    def fingerprint(self, profiler: Profiler, settings: Settings) -> Fingerprint:
        """What this machine is to a worker; see :class:`~hwnas.profile.protocol.Target`."""
        return describe(self, profiler, settings)

    def start_worker(self, settings: Settings) -> subprocess.Popen[bytes]:
        """Start a worker; see :class:`~hwnas.profile.protocol.Target`."""
        # -P: the installed package is measured, not a folder that happens to be the current one.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hwnas.profile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {"ORT_DISABLE_TELEMETRY": "1"}
            | dict.fromkeys(_THREAD_VARIABLES, str(settings.threads)),
            start_new_session=True,
        )
