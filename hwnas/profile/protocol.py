"""What measures (profilers) and where (targets): the interfaces that plug-ins implement.

A plug-in is a class without constructor arguments, registered as an entry point in the group
``hwnas.profilers`` or ``hwnas.targets`` under its ``name``. ``hwnas.testing`` publishes a suite of
tests for each; a plug-in's author subclasses it with one fixture.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from hwnas import plugins
from hwnas.errors import HwnasError
from hwnas.profile.fingerprint import Fingerprint, RuntimeInfo
from hwnas.profile.settings import Settings
from hwnas.program import TensorSpec

__all__ = [
    "Job",
    "Profiler",
    "Runner",
    "RuntimeInfo",
    "Scope",
    "Target",
    "load_profiler",
    "load_target",
]

Scope = Literal["block", "subnet"]


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes:
        key: structural hash of what is measured: a block's kind or a whole subnet's kind.
        scope: which of the two.
        label: for people: a block id, or a subnet's full ``spec``.
        model: serialised ONNX; its initialisers are external, their locations relative to
            ``folder``.
        folder: where the weights file is.
        inputs: names, dtypes and shapes of the model's inputs.
    """

    key: str
    scope: Scope
    label: str
    model: bytes
    folder: Path
    inputs: tuple[TensorSpec, ...]


@runtime_checkable
class Runner(Protocol):
    """One loaded job, ready to run.

    Made by :meth:`Profiler.load`, used by one thread of one child process, and closed once. All
    that can be done ahead is done when it is made: inputs are on the device and bound, outputs
    are allocated.
    """

    def run(self) -> int:
        """One inference, from its call to the end of its work.

        Returns:
            Its wall time in ns, measured tightly inside, greater than 0.
        """

    def close(self) -> None:
        """Release what :meth:`Profiler.load` took."""


@runtime_checkable
class Profiler(Protocol):
    """A way of reading cost: a runtime, and how it is timed.

    Constructed in two places: in the parent process, where only ``name`` is used (so importing
    its module must be light and must not import the runtime), and in each child, where
    ``runtime``, ``prepare``, ``load`` are called once each, in this order, by one thread. The
    child has pinned itself and set ``ORT_DISABLE_TELEMETRY=1`` before. Whatever a method raises
    becomes the job's error; a crash or a hang costs only that job.
    """

    @property
    def name(self) -> str:
        """The name of its entry point."""

    def runtime(self, settings: Settings) -> RuntimeInfo:
        """Name and version of the runtime, and the provider that ``settings`` lead to.

        Raises:
            UsageError: ``settings.provider`` is not there; names those that are.
        """

    def prepare(self, settings: Settings) -> None:
        """Pay what a process pays once (imports, the runtime's environment).

        Memory is first read after this, so that it is not booked on the job.
        """

    def load(self, job: Job, settings: Settings) -> Runner:
        """Load ``job`` for ``settings.threads`` threads; inputs are random with ``settings.seed``.

        Raises:
            InputError: the model's inputs are not ``job.inputs``.
        """


@runtime_checkable
class Target(Protocol):
    """A place where children run.

    Used by one thread of the parent process. May start several workers one after the other, never
    two at once, since they would disturb each other.
    """

    @property
    def name(self) -> str:
        """The name of its entry point."""

    def cores(self) -> tuple[int, ...]:
        """Numbers of the cores that a worker may be pinned to, ascending.

        Raises:
            UnreachableDevice: the device does not answer.
        """

    def fingerprint(self, profiler: Profiler, settings: Settings) -> Fingerprint:
        """What the device is, read on the device under ``settings``.

        Raises:
            ProfileError: a worker cannot start there, a core is not there.
            UnreachableDevice: the device does not answer.
        """

    def start_worker(self, settings: Settings) -> subprocess.Popen[bytes]:
        """Start ``python -m hwnas.profile.worker`` on the device.

        Returns:
            A process that the caller owns, with pipes for stdin, stdout and stderr, leader of its
            own process group: the caller kills the group, and nothing must survive that.

        Raises:
            OSError: it cannot be started.
            UnreachableDevice: the device does not answer.
        """


def load_profiler(name: str) -> Profiler:
    """The profiler that is registered under ``name``.

    Raises:
        UnknownName: nobody registers it.
        UsageError: two distributions do.
        HwnasError: it cannot be imported or is not a profiler.
    """
    plugin = plugins.load(plugins.PROFILERS, name)()
    if not isinstance(plugin, Profiler):
        raise _not_a("profiler", name, plugin, ("name", "runtime", "prepare", "load"))
    return plugin


def load_target(name: str) -> Target:
    """The target that is registered under ``name``; raises as :func:`load_profiler`."""
    plugin = plugins.load(plugins.TARGETS, name)()
    if not isinstance(plugin, Target):
        raise _not_a("target", name, plugin, ("name", "cores", "fingerprint", "start_worker"))
    return plugin


def _not_a(what: str, name: str, plugin: object, members: tuple[str, ...]) -> HwnasError:
    missing = [member for member in members if not hasattr(plugin, member)]
    return HwnasError(
        f"{what} {name!r} ({type(plugin).__module__}.{type(plugin).__qualname__}) lacks "
        f"{', '.join(missing)}",
        "update the distribution that brings it",
    )
