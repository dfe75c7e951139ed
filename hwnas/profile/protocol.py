"""Where to measure: the interface that targets implement.

What measures, a profiler, is in ``hwnas.agent.protocol``, since it runs on the device. Both are
plug-ins, found by entry point; ``hwnas.testing`` publishes a suite of tests for each, which a
plug-in's author subclasses with one fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol, runtime_checkable

from hwnas import plugins
from hwnas.agent.events import Event
from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError
from hwnas.profile.descriptor import Descriptor, load_descriptor
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.package import Package
from hwnas.profile.transport import Transport

__all__ = ["Target", "load_target"]


@runtime_checkable
class Target(Protocol):
    """A device that measures jobs.

    A class whose constructor takes the :class:`~hwnas.profile.descriptor.Descriptor`, registered
    as an entry point in the group ``hwnas.targets`` under the descriptor's ``kind``. Used by one
    thread. One job at a time runs on a device: two would disturb each other.
    """

    @property
    def name(self) -> str:
        """The descriptor's name."""

    @property
    def descriptor(self) -> Descriptor:
        """What the target was made from."""

    def cores(self) -> tuple[int, ...]:
        """Numbers of the cores that may be pinned to, ascending.

        Raises:
            UnreachableDevice: the device does not answer.
        """

    def fingerprint(self, profiler: str, settings: Settings) -> Fingerprint:
        """What the device is, read on the device under ``settings``.

        Raises:
            HwnasError: what the agent raised: an unknown profiler or provider, no such core.
            ProfileError: the agent cannot be started there, or talks nonsense.
            UnreachableDevice: the device does not answer.
        """

    def measure(self, package: Package) -> Generator[Event]:
        """Run a job, or attach to it if the device has it already; from its first event to the end.

        A link that is lost for a while is taken up again within. When the iterator is closed
        early, a device apart goes on by itself, and this machine stops measuring.

        Raises:
            HwnasError: the job could not be begun, its agent cannot go on, or the device is
                measuring another job.
            UnreachableDevice: the device does not answer any more.
        """

    def resume(self, job_id: str) -> Generator[Event] | None:
        """The job as the device has it, from its first event on; its agent is started again if
        that has ended. ``None`` if the device does not have it. Raises as :meth:`measure`.
        """  # noqa: D205 - the two sentences are one thought

    def forget(self, job_id: str) -> None:
        """Everything was read and stored: remove the job from the device, if it is there.

        Does not wait for a device that is gone.
        """

    def shell(self) -> Transport | None:
        """What runs scripts there, for ``hwnas doctor``; ``None`` if there is no such thing."""

    def close(self) -> None:
        """End the connection; a device apart goes on by itself."""


def load_target(name: str | Descriptor) -> Target:
    """The target of a descriptor, or of a descriptor's name, a URL, the path of a ``.toml`` file.

    Raises:
        UnknownName: there is no such descriptor, or nobody brings its kind.
        UsageError: the descriptor is wrong, or two distributions bring its kind.
        HwnasError: the kind cannot be imported or is not a target.
    """
    descriptor = load_descriptor(name) if isinstance(name, str) else name
    make: Callable[[Descriptor], object] = plugins.load(plugins.TARGETS, descriptor.kind)
    plugin = make(descriptor)
    if not isinstance(plugin, Target):
        members = ["name", "descriptor", "cores", "fingerprint", "measure", "resume", "forget"]
        members += ["shell", "close"]
        missing = [member for member in members if not hasattr(plugin, member)]
        raise HwnasError(
            f"target kind {descriptor.kind!r} ({type(plugin).__module__}."
            f"{type(plugin).__qualname__}) lacks {', '.join(missing)}",
            "update the distribution that brings it",
        )
    return plugin
