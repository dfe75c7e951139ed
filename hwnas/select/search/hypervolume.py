"""How far a search has come: the hypervolume of what it has found, evaluation by evaluation.

The hypervolume is what part of a box, between a worst and a best point, is dominated by the front:
0 for nothing inside, 1 if the best point itself was found. Qualities and costs are scaled to the
box, so that units do not matter; runs are compared within one box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "hypervolumes", "reached"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """Where hypervolumes are taken: all values smaller is better, so a quality is negated.

    Attributes:
        best: [objectives], 0 of every axis.
        worst: [objectives], the reference point, 1 of every axis.
    """

    best: tuple[float, ...]
    worst: tuple[float, ...]

    @classmethod
    def around(cls, points: Floats) -> Box:
        """The least box that holds ``points`` [n, objectives]; an axis of no length gets one."""
        if len(points) == 0:
            return cls((), ())
        low, high = points.min(axis=0), points.max(axis=0)
        high = np.where(high > low, high, low + np.maximum(np.abs(low), 1.0))
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    def scaled(self, points: Floats) -> Floats:
        """[n, objectives]: 0 is best and 1 worst; what is better than the best counts as that."""
        low, high = np.array(self.best), np.array(self.worst)
        scaled: Floats = np.maximum((points - low) / (high - low), 0.0)
        return scaled


def hypervolumes(points: Floats, box: Box) -> list[float]:
    """The share of ``box`` that is dominated by the first point, by the first two, and so on.

    Args:
        points: [n, objectives], smaller is better; infinite for one that does not count.
        box: its worst point is the reference.
    """
    from pymoo.indicators.hv import HV

    if len(points) == 0:
        return []
    if not box.worst:
        return [0.0] * len(points)
    measure = HV(ref_point=np.ones(points.shape[1]))
    front: Floats = np.empty((0, points.shape[1]))
    found: list[float] = []
    volume = 0.0
    for point in box.scaled(points):
        if (point < 1).all() and not (front <= point).all(axis=1).any():
            front = np.vstack((front[~(point <= front).all(axis=1)], point))
            volume = float(measure(front))
        found.append(volume)
    return found


def reached(history: list[float], level: float) -> int | None:
    """How many evaluations it took to come to a hypervolume of ``level``; None if it never did."""
    return next((i for i, volume in enumerate(history, start=1) if volume >= level), None)
