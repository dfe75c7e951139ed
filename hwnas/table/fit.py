"""From a sum over blocks to a whole subnet: a line through what was measured whole.

A block that is timed alone has its weights in the cache; within a network it has not. So the plain
sum of blocks is biased by a factor, which a few whole-subnet measurements give. A session's own
overhead is what the offset takes up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Line", "fit_line"]

_LEAST_SPREAD = 1.2
"""Sums that differ by less than this factor say nothing about an offset."""

_GREATEST_OFFSET = 0.5
"""An offset of more than this share of the smallest subnet's cost is noise made into a model."""


@dataclass(frozen=True)
class Line:
    """``scale * x + offset``, and the number of whole subnets that it was fitted on.

    Attributes:
        scale: greater than 0.
        offset: in the unit of the cost.
        points: 0 for the plain sum.
        error: root mean square of the relative residuals on these points.
    """

    scale: float = 1.0
    offset: float = 0.0
    points: int = 0
    error: float = 0.0

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The predictions for the sums ``x``."""
        return self.scale * x + self.offset

    def describe(self, unit: str, divide: float = 1.0) -> str:
        """For people: ``calibrated on 2 whole subnets: 0.970 x sum + 0.004 ms``."""
        if not self.points:
            return "plain sum of blocks, not calibrated"
        text = f"calibrated on {self.points} whole subnet{'s' if self.points > 1 else ''}: "
        text += f"{self.scale:.3f} x sum"
        if self.offset:
            text += f" {'+' if self.offset > 0 else '-'} {abs(self.offset) / divide:.4g} {unit}"
        return text


def fit_line(sums: Sequence[float], measured: Sequence[float], smallest: float = math.inf) -> Line:
    """Fit by least squares of the relative error, as far as the points allow.

    No point gives the plain sum, one a scale. Two or more give scale and offset, unless that is
    not sane: a scale of 0 or less, or an offset beyond half of what the scale alone says of the
    smallest subnet; then a scale.

    Args:
        sums: sums over blocks, one per whole subnet.
        measured: what these cost, in the same unit. Pairs that are not positive are left out.
        smallest: least sum that will be asked for, if it is less than all of ``sums``.
    """
    pairs = [(x, y) for x, y in zip(sums, measured, strict=True) if x > 0 and y > 0]
    if not pairs:
        return Line()
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    ratio = x / y
    scale = float(ratio.sum() / (ratio @ ratio))
    alone = Line(scale, 0.0, len(pairs), _error(scale, 0.0, x, y))
    if x.max() < x.min() * _LEAST_SPREAD:
        return alone
    # Rows divided by y: every subnet counts by its relative error, not by its size.
    design = np.stack([ratio, 1 / y], axis=1)
    (slope, offset), *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    least = min(smallest, x.min()) if smallest > 0 else x.min()
    if slope <= 0 or abs(offset) > _GREATEST_OFFSET * slope * least:
        return alone
    return Line(float(slope), float(offset), len(pairs), _error(slope, offset, x, y))


def _error(scale: float, offset: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(((scale * x + offset) / y - 1) ** 2)))
