"""Pareto fronts: the points that no other point beats or equals in every metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["pareto_front"]


def pareto_front(points: npt.NDArray[np.float64]) -> list[int]:
    """Indices of the points on the front, ascending.

    A point is left out if another is at most as large in all metrics and smaller in one; of equal
    points the first stays. Two metrics take O(n log n); more take O(n * front * metrics).

    Args:
        points: [n, metrics], smaller is better, without nan.
    """
    if len(points) == 0:
        return []
    # Lexicographic, index last: whatever dominates a point comes before it.
    order = np.lexsort((np.arange(len(points)), *points.T[::-1]))
    keep = _sweep(points, order) if points.shape[1] <= 2 else _archive(points, order)
    return sorted(keep)


def _sweep(points: npt.NDArray[np.float64], order: npt.NDArray[np.intp]) -> list[int]:
    last = points[order, -1]
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(last)[:-1]))
    keep = last < best_before
    keep[0] = True
    return [int(i) for i in order[keep]]


def _archive(points: npt.NDArray[np.float64], order: npt.NDArray[np.intp]) -> list[int]:
    front = np.empty_like(points)
    keep: list[int] = []
    for i in order:
        point = points[i]
        if not np.any(np.all(front[: len(keep)] <= point, axis=1)):
            front[len(keep)] = point
            keep.append(int(i))
    return keep
