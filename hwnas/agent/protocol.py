"""What measures: the interface that profilers implement, and what they are given.

It is apart from the rest of ``hwnas.profile`` because it runs on the device, where only Python,
NumPy and the profiler's runtime are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from hwnas import plugins
from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError

__all__ = [
    "Job",
    "Profiler",
    "Runner",
    "RuntimeInfo",
    "Scope",
    "Tensor",
    "load_profiler",
]

Scope = Literal["block", "subnet"]


@dataclass(frozen=True)
class Tensor:
    """Name, dtype (as NumPy names it) and shape of a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime that a profiler measures: its name, version and the provider in use."""

    name: str
    version: str
    provider: str


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
    inputs: tuple[Tensor, ...]


@runtime_checkable
class Runner(Protocol):
    """One loaded job, ready to run.

    Made by :meth:`Profiler.load`, used by one thread of one process, and closed once. All that
    can be done ahead is done when it is made: inputs are on the device and bound, outputs are
    allocated. Several are alive at once, and run in turn.
    """

    def refresh(self) -> None:
        """Write the inputs' values again, so that they are where a block before would leave them.

        In a network a block finds its inputs in the caches and its weights not; so inputs are
        written before each turn, untimed.
        """

    def run(self) -> int:
        """One inference, from its call to the end of its work.

        Returns:
            Its wall time in ns, measured tightly inside, greater than 0.
        """

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Copies of what the last run computed, by name, so that they can be checked.

        Empty where there is nothing to read: then nobody says that they are right.
        """

    def close(self) -> None:
        """Release what :meth:`Profiler.load` took."""


@runtime_checkable
class Profiler(Protocol):
    """A way of reading cost: a runtime, and how it is timed.

    A class without constructor arguments, registered as an entry point in the group
    ``hwnas.profilers`` under its ``name``. Constructed in the agent: ``runtime`` is called once in
    a process that is then forked, so it may import the runtime but must not start threads or open
    a device; ``prepare`` and ``load`` are called in the forked children, by one thread, where
    several runners may be alive. The process has pinned itself and set ``ORT_DISABLE_TELEMETRY=1``
    before. Whatever a method raises becomes the job's error; a crash or a hang costs only that
    job.
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
        """Pay what a process pays once (the runtime's environment, the first session).

        Memory is first read after this, so that it is not booked on the job.
        """

    def load(self, job: Job, settings: Settings, inputs: Mapping[str, NDArray[Any]]) -> Runner:
        """Load ``job`` for ``settings.threads`` threads, with ``inputs`` by name.

        Raises:
            InputError: the model's inputs are not ``job.inputs``.
        """


def load_profiler(name: str) -> Profiler:
    """The profiler that is registered under ``name``.

    Raises:
        UnknownName: nobody registers it.
        UsageError: two distributions do.
        HwnasError: it cannot be imported or is not a profiler.
    """
    plugin = plugins.load(plugins.PROFILERS, name)()
    members = ("name", "runtime", "prepare", "load")
    missing = [member for member in members if not hasattr(plugin, member)]
    if missing:
        raise HwnasError(
            f"profiler {name!r} ({type(plugin).__module__}.{type(plugin).__qualname__}) lacks "
            f"{', '.join(missing)}",
            "update the distribution that brings it",
        )
    profiler: Profiler = plugin
    return profiler
