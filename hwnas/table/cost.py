"""What a subnet costs on a device: the record that tables give and selection compares."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Cost"]

METRICS = ("p50", "p95", "memory", "bytes")
"""What budgets may be put on: latency quantiles (ms), peak memory and weights (bytes)."""


@dataclass(frozen=True)
class Cost:
    """Cost of one subnet, batch and threads as in the table.

    Attributes:
        p50_ms: median latency of one run, in ms.
        p95_ms: 95th percentile of the latency, in ms.
        memory_bytes: memory that the subnet alone adds to a process, weights included, in bytes.
        weight_bytes: bytes of the weights file that it uses, each byte once.
        measured: whole subnet measured on the device; otherwise predicted from its blocks.
        p50_interval_ms: 95% confidence interval of the median, where measured.
        p50_prediction_ms, p95_prediction_ms, memory_prediction_bytes: where predicted, what a
            measurement of the whole will give, at 90%; ``None`` where nothing whole was measured.
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

    def metric(self, name: str) -> float:
        """The value of one of :data:`METRICS`, in ms or bytes."""
        return {
            "p50": self.p50_ms,
            "p95": self.p95_ms,
            "memory": self.memory_bytes,
            "bytes": float(self.weight_bytes),
        }[name]
