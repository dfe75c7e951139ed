"""Comparing what two ways of running one network give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Difference", "difference"]

TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest value of the reference (or to 1)."""


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference, and the largest finite absolute value of the reference."""

    largest: float
    scale: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within :data:`TOLERANCE`; a NaN is not."""
        return self.largest <= TOLERANCE * max(1.0, self.scale)

    def or_worse(self, other: Difference) -> Difference:
        """The larger of each; a NaN is not lost."""
        return Difference(
            float(np.maximum(self.largest, other.largest)),
            float(np.maximum(self.scale, other.scale)),
        )


def difference(got: NDArray[Any], wanted: NDArray[Any]) -> Difference:
    """Compare ``got`` with the reference ``wanted``, in float64.

    Equal infinities, as in attention masks, do not differ.
    """
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b))
    return Difference(
        float(gap.max(initial=0.0)), float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    )
