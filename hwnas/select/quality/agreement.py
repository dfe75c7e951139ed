"""How well predicted qualities agree with those that were evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """Errors in the unit of the quality, and how alike the orders are.

    Attributes:
        mae: mean absolute error.
        rmse: root of the mean squared error.
        tau: Kendall's tau-b, from -1 to 1; nan where one side is constant.
        spearman: correlation of ranks, from -1 to 1; nan likewise.
    """

    mae: float
    rmse: float
    tau: float
    spearman: float


def agreement(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Agreement:
    """Compare two arrays of shape (n,), n at least 1."""
    error = predicted - truth
    return Agreement(
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt(np.square(error).mean())),
        tau=_tau(truth, predicted),
        spearman=_correlation(_ranks(truth), _ranks(predicted)),
    )


def _tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Tau-b, of all pairs one against the rest at a time: memory stays linear."""
    agree = left = right = 0.0
    for i in range(len(a) - 1):
        da, db = np.sign(a[i + 1 :] - a[i]), np.sign(b[i + 1 :] - b[i])
        agree += float(da @ db)
        left += float(np.abs(da).sum())
        right += float(np.abs(db).sum())
    # Pairs tied on one side count in the other side's total alone (Kendall 1945).
    return agree / math.sqrt(left * right) if left and right else math.nan


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts + 1) / 2
    return means[inverse]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan
