"""What a model must compute: a sample of each output, and the mean and spread of all of it.

A runtime that silently works in lower precision, or computes something else, shows in every
element; so a sample is compared element by element, and the rest through its mean and root mean
square.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_SAMPLES", "TOLERANCE", "Expected", "compare", "expect"]

MOST_SAMPLES = 1024
"""Elements of each output that are compared one by one, evenly spread."""

TOLERANCE = 2e-3
"""Of the root mean square: float32 in another order differs by about 1e-6 per operation and stays
below 1e-4 through a network; bfloat16 differs by 4e-3 per operation, float16 by 5e-4."""

_LEAST = 1e-12


@dataclass(frozen=True)
class Expected:
    """One output.

    Attributes:
        name, dtype, shape: of the output.
        step: every so many elements, in row-major order, one is kept.
        values: those, as base64 of little-endian float32.
        mean, rms: over all elements.
        tolerance: largest error that passes, see :func:`compare`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    step: int
    values: str
    mean: float
    rms: float
    tolerance: float

    def samples(self) -> NDArray[np.float32]:
        """The kept elements.

        Raises:
            ValueError: they are not as many as there should be.
        """
        found = np.frombuffer(base64.b64decode(self.values, validate=True), dtype="<f4")
        if len(found) != len(range(0, math.prod(self.shape), self.step)):
            raise ValueError(f"{self.name}: {len(found)} samples for the shape {self.shape}")
        return found


def expect(outputs: Mapping[str, NDArray[Any]], tolerance: float = TOLERANCE) -> list[Expected]:
    """Sum up ``outputs``, to be compared with those of another runtime.

    An output that is not all finite cannot be summed up, and is left out.
    """
    found = [_expect(name, value, tolerance) for name, value in outputs.items()]
    return [one for one in found if math.isfinite(one.mean) and math.isfinite(one.rms)]


def _expect(name: str, value: NDArray[Any], tolerance: float) -> Expected:
    flat = np.ascontiguousarray(value).reshape(-1)
    step = max(1, math.ceil(flat.size / MOST_SAMPLES))
    text = base64.b64encode(flat[::step].astype("<f4").tobytes()).decode()
    mean, rms = _moments(flat)
    return Expected(name, value.dtype.name, value.shape, step, text, mean, rms, tolerance)


def compare(expected: Sequence[Expected], got: Mapping[str, NDArray[Any]]) -> tuple[float, bool]:
    """The largest error over all outputs, relative to their root mean square; and if it passes.

    The error of an output is the largest of: the difference at any sample, that of the means, that
    of the root mean squares. A value that is not finite, another shape or dtype and a missing
    output are an infinite error.
    """
    worst, passes = 0.0, True
    for one in expected:
        error = _error(one, got.get(one.name))
        worst = max(worst, error)
        passes = passes and error <= one.tolerance
    return worst, passes


def _error(expected: Expected, got: NDArray[Any] | None) -> float:
    if got is None or got.shape != expected.shape or got.dtype.name != expected.dtype:
        return math.inf
    want, flat = expected.samples().astype(np.float64), np.ascontiguousarray(got).reshape(-1)
    found = flat[:: expected.step].astype(np.float64)
    mean, rms = _moments(flat)
    if not (np.isfinite(found).all() and math.isfinite(mean) and math.isfinite(rms)):
        return math.inf
    largest = float(np.abs(found - want).max(initial=0.0))
    off = max(largest, abs(mean - expected.mean), abs(rms - expected.rms))
    return off / max(expected.rms, _LEAST)


def _moments(flat: NDArray[Any]) -> tuple[float, float]:
    if not flat.size:
        return 0.0, 0.0
    wide = flat.astype(np.float64)
    with np.errstate(all="ignore"):
        return float(wide.mean()), float(np.sqrt(np.mean(wide * wide)))
