"""Predicted against measured, on subnets that were not used to fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hwnas.space import Subnet
from hwnas.table.lut import Lut
from hwnas.table.model import CostModel

__all__ = ["Check", "Validation", "kendall", "summarise", "validate"]


@dataclass(frozen=True)
class Check:
    """One subnet, predicted and measured.

    Attributes:
        subnet: which.
        predicted_ms: its median by the model, in ms.
        interval_ms: the model's 90% interval; ``None`` where it gives none.
        measured_ms: its median as measured, in ms.
        predicted_bytes, measured_bytes: its memory; ``None`` where the device does not tell it.
    """

    subnet: Subnet
    predicted_ms: float
    interval_ms: tuple[float, float] | None
    measured_ms: float
    predicted_bytes: float | None = None
    measured_bytes: float | None = None

    @property
    def error(self) -> float:
        """Relative error of the prediction, positive if it is too high."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def memory_error(self) -> float | None:
        """Relative error of the predicted memory; ``None`` where it is not known."""
        if not self.predicted_bytes or not self.measured_bytes:
            return None
        return self.predicted_bytes / self.measured_bytes - 1

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds what was measured; ``None`` without one."""
        if self.interval_ms is None:
            return None
        return self.interval_ms[0] <= self.measured_ms <= self.interval_ms[1]


@dataclass(frozen=True)
class Validation:
    """How good predictions are; NaN where there is nothing to say it by.

    Attributes:
        rows: the subnets.
        mape: mean absolute relative error.
        bias: mean relative error.
        within5, within10: shares with an error of at most 5% and 10%.
        tau: Kendall's rank correlation (tau-b) of predicted and measured.
        coverage: share of intervals that hold what was measured.
        memory_mape: mean absolute relative error of memory.
    """

    rows: tuple[Check, ...]
    mape: float
    bias: float
    within5: float
    within10: float
    tau: float
    coverage: float
    memory_mape: float = math.nan

    def summary(self) -> str:
        """One line for people."""
        if not self.rows:
            return "no subnet to check predictions on"
        text = f"{len(self.rows)} subnets predicted within {self.mape:.1%} on average"
        text += f" (bias {self.bias:+.1%}, {self.within5:.0%} within 5%"
        if not math.isnan(self.tau):
            text += f", rank correlation {self.tau:.2f}"
        if not math.isnan(self.coverage):
            text += f", {self.coverage:.0%} in their 90% interval"
        text += ")"
        if not math.isnan(self.memory_mape):
            text += f", and their memory within {self.memory_mape:.1%}"
        return text


def validate(model: CostModel, lut: Lut, subnets: Iterable[Subnet]) -> Validation:
    """Compare predictions with measurements; subnets that ``lut`` does not hold are left out.

    Args:
        model: made without these subnets, or it was fitted on them.
        lut: holds them whole; the model's own table, or another one of the same device.
        subnets: those that were measured to check it.
    """
    rows = []
    for subnet in subnets:
        found = lut.measurement(model.bundle.subnet_kind(subnet), "subnet")
        if found is not None:
            cost = model.predict(subnet)
            rows.append(
                Check(
                    subnet,
                    cost.p50_ms,
                    cost.p50_prediction_ms,
                    found.p50_ms,
                    cost.memory_bytes if math.isfinite(cost.memory_bytes) else None,
                    found.memory_bytes,
                )
            )
    return summarise(rows)


def summarise(rows: Sequence[Check]) -> Validation:
    """The figures of :class:`Validation`, of checks that come from wherever."""
    errors = np.array([row.error for row in rows])
    covered = [row.covered for row in rows if row.covered is not None]
    memory = [abs(row.memory_error) for row in rows if row.memory_error is not None]
    some = len(rows) > 0
    return Validation(
        rows=tuple(rows),
        mape=float(np.mean(np.abs(errors))) if some else math.nan,
        bias=float(np.mean(errors)) if some else math.nan,
        within5=float(np.mean(np.abs(errors) <= 0.05)) if some else math.nan,
        within10=float(np.mean(np.abs(errors) <= 0.10)) if some else math.nan,
        tau=kendall([row.predicted_ms for row in rows], [row.measured_ms for row in rows]),
        coverage=float(np.mean(covered)) if covered else math.nan,
        memory_mape=float(np.mean(memory)) if memory else math.nan,
    )


def kendall(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b; NaN with fewer than two, or where one side is all the same."""
    x, y = (np.sign(np.subtract.outer(values, values)) for values in (np.array(a), np.array(b)))
    scale = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / scale if scale else math.nan
