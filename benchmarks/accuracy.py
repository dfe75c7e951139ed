"""How good predictions are, and the goals that they are held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from goals import Verdict
from numpy.typing import ArrayLike

from hwnas.table.validation import kendall

__all__ = [
    "COVERAGE",
    "Accuracy",
    "Noise",
    "accuracy",
    "as_dict",
    "judge",
    "judge_coverage",
    "noise_floor",
    "table",
]

_MAPE = 0.015
_WITHIN_5 = 0.98
_TAU = 0.97
COVERAGE = (0.85, 0.95)
"""What intervals that claim 90% must hold."""


@dataclass(frozen=True)
class Accuracy:
    """Predictions against measured values; errors are relative to the measured.

    Attributes:
        mape: mean of the absolute errors.
        bias: mean of the errors: below 0, predictions are too low.
        worst: largest absolute error.
        within_5, within_10: share of absolute errors of at most 5% and 10%.
        tau: Kendall's tau-b of predicted and measured.
        coverage: share of measured values inside their intervals; None without intervals.
    """

    mape: float
    bias: float
    worst: float
    within_5: float
    within_10: float
    tau: float
    coverage: float | None = None


@dataclass(frozen=True)
class Noise:
    """What a second measurement of the same subnets differs by: no prediction can do better.

    Attributes:
        median, p95: of the absolute relative differences.
        tau: Kendall's tau-b of the two measurements.
    """

    median: float
    p95: float
    tau: float


def accuracy(
    predicted: ArrayLike,
    measured: ArrayLike,
    intervals: Sequence[tuple[float, float]] | None = None,
) -> Accuracy:
    """Hold predictions against what was measured.

    Args:
        predicted: in ms, shape (subnets,).
        measured: in ms, greater than 0, shape (subnets,).
        intervals: the low and high end for each, in ms.

    Raises:
        ValueError: lengths differ, or there is nothing to compare.
    """
    p, m = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    if p.shape != m.shape or p.ndim != 1 or not p.size:
        raise ValueError(f"predictions of shape {p.shape}, measurements of shape {m.shape}")
    error = p / m - 1
    size = np.abs(error)
    covered = None
    if intervals is not None:
        low, high = np.array(intervals, dtype=float).T
        covered = float(np.mean((low <= m) & (m <= high)))
    return Accuracy(
        mape=float(size.mean()),
        bias=float(error.mean()),
        worst=float(size.max()),
        within_5=float(np.mean(size <= 0.05)),
        within_10=float(np.mean(size <= 0.10)),
        tau=kendall(p, m),
        coverage=covered,
    )


def noise_floor(first: ArrayLike, second: ArrayLike) -> Noise:
    """Compare two independent measurements of the same subnets, in ms, shape (subnets,)."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    apart = np.abs(a / b - 1)
    return Noise(float(np.median(apart)), float(np.quantile(apart, 0.95)), kendall(a, b))


def table(rows: Mapping[str, tuple[Accuracy, float, float | None]]) -> Iterator[str]:
    """Lines for people.

    Args:
        rows: by the method's name: how good it is, its seconds in runs, and by the clock where
            that is known.
    """
    yield (
        f"{'prediction':18} {'MAPE':>6} {'bias':>7} {'<=5%':>6} {'<=10%':>6} {'tau':>6} "
        f"{'in 90%':>7} {'runs s':>7} {'wall s':>7}"
    )
    for name, (one, seconds, wall) in rows.items():
        clock = "-" if wall is None else f"{wall:.1f}"
        inside = "-" if one.coverage is None else f"{one.coverage:.1%}"
        yield (
            f"{name:18} {one.mape:6.2%} {one.bias:+7.2%} {one.within_5:6.1%} {one.within_10:6.1%} "
            f"{one.tau:6.3f} {inside:>7} {seconds:7.1f} {clock:>7}"
        )


def judge(net: str, report: Mapping[str, Any]) -> Iterator[Verdict]:
    """Hold one network's report against the goals.

    Args:
        net: its name.
        report: as ``bench_prediction`` writes it.
    """
    ours, noise = report["methods"]["model"], report["noise"]
    floor = f"two measurements of one subnet differ by {noise['median']:.2%}, median"
    yield Verdict(
        net,
        ours["mape"] <= _MAPE,
        f"MAPE {ours['mape']:.2%} with {report['calibrations']} whole subnets measured "
        f"(goal: at most {_MAPE:.1%}; {floor})",
    )
    yield Verdict(
        net,
        ours["within_5"] >= _WITHIN_5,
        f"{ours['within_5']:.1%} within 5%, the worst off by {ours['worst']:.1%} "
        f"(goal: at least {_WITHIN_5:.0%})",
    )
    yield Verdict(
        net,
        ours["tau"] >= _TAU,
        f"Kendall tau {ours['tau']:.3f} (goal: at least {_TAU}; two measurements of the same "
        f"subnets reach {noise['tau']:.3f})",
    )
    fixed = report["methods"]["fixed, calibrated"]
    yield Verdict(
        net,
        ours["seconds"] < fixed["seconds"],
        f"{ours['seconds']:.1f} s of runs (goal: less than the fixed protocol's "
        f"{fixed['seconds']:.1f} s for the same blocks and whole subnets; its blocks alone take "
        f"{report['methods']['fixed, sum']['seconds']:.1f} s)",
    )


def judge_coverage(reports: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """Hold the intervals of all networks together: of one alone there are too few to tell."""
    counts = {net: int(report["subnets"]) for net, report in reports.items()}
    inside = {net: float(r["methods"]["model"]["coverage"] or 0) for net, r in reports.items()}
    share = sum(inside[net] * counts[net] for net in counts) / sum(counts.values())
    low, high = COVERAGE
    each = ", ".join(f"{net} {value:.1%}" for net, value in inside.items())
    return Verdict(
        "all",
        low <= share <= high,
        f"90% intervals hold {share:.1%} of {sum(counts.values())} measured values "
        f"(goal: {low:.0%} to {high:.0%}; {each})",
    )


def as_dict(one: Accuracy, seconds: float, wall: float | None) -> dict[str, Any]:
    """For the report."""
    return {**asdict(one), "seconds": seconds, "wall_s": wall}
