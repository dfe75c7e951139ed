"""A kind of target: this machine, politely."""

from __future__ import annotations

import os
from collections.abc import Generator

from hwnas.agent.events import Event
from hwnas.profile import Descriptor, Fingerprint, Package, Settings
from hwnas.profile.local import describe_locally, measure_locally

_NICE = ("nice", "-n", "1")


class NiceTarget:
    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.name = descriptor.name

    def cores(self) -> tuple[int, ...]:
        return tuple(sorted(os.sched_getaffinity(0)))

    def fingerprint(self, profiler: str, settings: Settings) -> Fingerprint:
        return describe_locally(profiler, settings, _NICE)

    def measure(self, package: Package) -> Generator[Event]:
        return measure_locally(package, _NICE)

    def resume(self, job_id: str) -> None:
        pass

    def forget(self, job_id: str) -> None:
        pass

    def shell(self) -> None:
        pass

    def close(self) -> None:
        pass
