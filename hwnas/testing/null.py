"""A profiler without a runtime: it computes run times from the model instead of running it.

It makes the whole pipeline testable anywhere, in no time, and with known answers. To use it,
register it as an entry point of the group ``hwnas.profilers``:
``null = "hwnas.testing.null:NullProfiler"``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.protocol import Job, RuntimeInfo
from hwnas.agent.settings import Settings
from hwnas.errors import InputError, UnknownName

__all__ = ["NullProfiler", "null_ns"]

_PROVIDER = "null"
_SESSION_NS = 2_000
_NOISE = 0.01


def null_ns(model: bytes) -> int:
    """What :class:`NullProfiler` says a run of ``model`` takes, in ns, before noise.

    2000 ns, plus 1 ns per element of its initialisers: known from the graph alone, and of a whole
    subnet it is the sum over its blocks less what their sessions cost.
    """
    import onnx

    graph = onnx.load_model_from_string(model).graph
    elements = sum(math.prod(map(int, tensor.dims)) for tensor in graph.initializer)
    return _SESSION_NS + elements


class NullProfiler:
    """Deterministic: equal jobs and seeds give equal samples, within 1% of :func:`null_ns`."""

    name = "null"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        """Always version 1; its one provider is ``null``."""
        if settings.provider not in ("", _PROVIDER):
            raise UnknownName("provider of the null profiler", settings.provider, [_PROVIDER])
        return RuntimeInfo("null", "1", _PROVIDER)

    def prepare(self, settings: Settings) -> None:
        """Import what reads models."""
        import onnx  # noqa: F401

    def load(self, job: Job, settings: Settings, inputs: Mapping[str, NDArray[Any]]) -> _Runner:
        """Read the model's graph."""
        import onnx

        graph = onnx.load_model_from_string(job.model).graph
        takes = [value.name for value in graph.input]
        if takes != [spec.name for spec in job.inputs]:
            raise InputError(f"the model takes {', '.join(takes)}", "make the bundle again")
        return _Runner(null_ns(job.model), settings.seed)


class _Runner:
    def __init__(self, ns: int, seed: int) -> None:
        self._ns = ns
        self._random = random.Random(seed)

    def refresh(self) -> None:
        """There are no inputs."""

    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """It computes nothing."""
        return {}

    def run(self) -> int:
        """The computed time with its noise, in ns."""
        return max(1, round(self._ns * self._random.uniform(1 - _NOISE, 1 + _NOISE)))

    def close(self) -> None:
        """Nothing to release."""
