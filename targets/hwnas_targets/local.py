"""The kind of target ``local``: this machine."""

from __future__ import annotations

import os
from collections.abc import Generator

from hwnas.agent.events import Event
from hwnas.agent.settings import Settings
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.local import describe_locally, measure_locally
from hwnas.profile.package import Package
from hwnas.profile.transport import Transport
from hwnas.remote.shell import LocalTransport

__all__ = ["LocalTarget"]


class LocalTarget:
    """The agent is a child of this process, with this Python and its installed packages.

    It ends with this process, so there is never a job to resume: what it had measured is in the
    table.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.name = descriptor.name

    def cores(self) -> tuple[int, ...]:
        """The cores that this process may use."""
        return tuple(sorted(os.sched_getaffinity(0)))

    def fingerprint(self, profiler: str, settings: Settings) -> Fingerprint:
        """What this machine is; see :class:`~hwnas.profile.protocol.Target`."""
        return describe_locally(profiler, settings)

    def measure(self, package: Package) -> Generator[Event]:
        """Run a job; see :class:`~hwnas.profile.protocol.Target`."""
        return measure_locally(package)

    def resume(self, job_id: str) -> None:
        """Nothing goes on here without this process."""

    def forget(self, job_id: str) -> None:
        """Nothing is kept here."""

    def shell(self) -> Transport:
        """This machine's ``sh``."""
        return LocalTransport()

    def close(self) -> None:
        """There is no connection."""
