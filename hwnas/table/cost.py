"""What a subnet costs on a device: the record that tables give and selection compares."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

__all__ = ["METRICS", "Cost"]

METRICS = ("p50", "p95", "memory", "bytes", "energy", "macs")
"""What budgets may be put on: latency quantiles (ms), peak memory and weights (bytes), energy (J)
and multiply-accumulates of one inference."""


@dataclass(frozen=True)
class Cost:
    """Cost of one subnet, batch and threads as in the table; NaN where something is not known.

    Attributes:
        p50_ms: median latency of one run, in ms.
        p95_ms: 95th percentile of the latency, in ms.
        memory_bytes: memory that the subnet alone adds to a process, weights included, in bytes.
        weight_bytes: bytes of the weights file that it uses, each byte once.
        measured: whole subnet measured on the device; otherwise predicted from its blocks.
        p50_interval_ms: 95% confidence interval of the median, where measured.
        p50_prediction_ms, p95_prediction_ms, memory_prediction_bytes: where predicted, what a
            measurement of the whole will give, at 90%; ``None`` where nothing whole was measured.
        energy_j: energy of one inference, in J.
        macs: multiply-accumulates of one inference, counted from the blocks' graphs.
        energy_prediction_j: as ``p50_prediction_ms``.
    """

    p50_ms: float
    p95_ms: float
    memory_bytes: float
    weight_bytes: int
    measured: bool = False
    p50_interval_ms: tuple[float, float] | None = None
    p50_prediction_ms: tuple[float, float] | None = None
    p95_prediction_ms: tuple[float, float] | None = None
    memory_prediction_bytes: tuple[float, float] | None = None
    energy_j: float = nan
    macs: float = nan
    energy_prediction_j: tuple[float, float] | None = None

    def metric(self, name: str) -> float:
        """The value of one of :data:`METRICS`, in its unit."""
        return {
            "p50": self.p50_ms,
            "p95": self.p95_ms,
            "memory": self.memory_bytes,
            "bytes": float(self.weight_bytes),
            "energy": self.energy_j,
            "macs": self.macs,
        }[name]
