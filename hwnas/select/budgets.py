"""Budgets: upper limits on what a subnet may cost, as they are written on the command line.

p50=8ms            median latency of one run
p95=1.2s           95th percentile of it
memory=200MB       peak memory that the subnet alone adds to a process
bytes=64MB         weights that it uses
energy=30mJ        energy of one inference
macs=300M          multiply-accumulates of one inference
p50=50%            half of what the largest subnet costs
p50=8ms,memory=1GiB          several, all to be met
half:p50=50%,memory=100MB    a tier: a named set of them; ``full:`` is a tier without any
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import PositiveFloat

from hwnas.errors import TableError, UnknownName, UsageError
from hwnas.frozen import Frozen
from hwnas.select.units import example, parse_quantity, show
from hwnas.table.cost import METRICS, Cost

__all__ = ["Budget", "Limit", "Tier", "combine", "parse_budget", "parse_tier", "resolve"]

_TIER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ALONE = "best"
"""Name of the tier when there is only one and nobody named it."""


@dataclass(frozen=True)
class Budget:
    """An upper limit on one of :data:`hwnas.table.cost.METRICS`.

    Attributes:
        metric: what it limits.
        value: in ms, bytes, J or multiply-accumulates; a share of the largest subnet's cost if
            ``relative``.
        relative: whether ``value`` is such a share.
        text: as it was written, with its metric.
    """

    metric: str
    value: float
    relative: bool
    text: str


@dataclass(frozen=True)
class Tier:
    """A named set of budgets for which one subnet is wanted; without budgets, the best of all."""

    name: str
    budgets: tuple[Budget, ...] = ()


class Limit(Frozen):
    """A budget once it is known what a share is a share of.

    Attributes:
        metric: what it limits.
        limit: in ms, bytes, J or multiply-accumulates.
        text: the budget as it was written.
        reference: of a relative budget, what it was taken from and whether that was measured.
    """

    metric: str
    limit: PositiveFloat
    text: str
    reference: str | None = None

    def __str__(self) -> str:
        of = f" ({self.text}: {self.reference})" if self.reference else ""
        return f"{self.metric} <= {show(self.metric, self.limit)}{of}"


def parse_budget(text: str, only: Sequence[str] = METRICS) -> tuple[Budget, ...]:
    """Read one budget or several joined by commas.

    Args:
        text: such as ``p50=8ms,memory=200MB``.
        only: metrics that are allowed here. If it is one, its name may be left out: ``200MB``.

    Raises:
        UsageError: an unknown metric, a missing or wrong unit, a value that is not above zero, a
            metric given twice.
    """
    budgets = tuple(_parse_one(item.strip(), only) for item in text.split(","))
    _refuse_twice(budgets, "")
    return budgets


def _parse_one(item: str, only: Sequence[str]) -> Budget:
    metric, equals, value = (part.strip() for part in item.partition("="))
    if not equals and len(only) == 1:
        metric, value = only[0], item
    elif not equals:
        what = f"{item!r} does not say what it limits" if item else "there is an empty budget"
        raise UsageError(what, f"write {' or '.join(example(name) for name in only)}")
    if metric not in METRICS:
        raise UnknownName("metric in a budget:", metric, METRICS)
    if metric not in only:
        raise UsageError(
            f"{item}: a budget on {metric} does not belong here",
            f"here go budgets on {', '.join(only)}",
        )
    number, relative = parse_quantity(metric, value)
    return Budget(metric, number, relative, f"{metric}={value}")


def parse_tier(text: str) -> Tier:
    """Read a tier: its name, a colon, and its budgets if it has any.

    Raises:
        UsageError: no name, a name that cannot stand in a file name, or as :func:`parse_budget`.
    """
    name, colon, rest = text.partition(":")
    name = name.strip()
    if not colon or not _TIER_NAME.fullmatch(name):
        raise UsageError(
            f"{text!r} is not a tier",
            "write NAME:BUDGETS, such as half:p50=50%,memory=100MB, or NAME: for no budget; "
            "a name has letters, digits, '_', '.' and '-'",
        )
    return Tier(name, parse_budget(rest) if rest.strip() else ())


def combine(tiers: Iterable[Tier], common: Iterable[Budget] = ()) -> tuple[Tier, ...]:
    """Tiers that each meet ``common`` too; one tier ``best`` of only these if there is none.

    Raises:
        UsageError: two tiers of one name, or a metric that one tier limits twice.
    """
    shared = tuple(common)
    named = tuple(tiers) or (Tier(_ALONE),)
    merged = tuple(Tier(tier.name, (*shared, *tier.budgets)) for tier in named)
    for tier in merged:
        _refuse_twice(tier.budgets, f"tier {tier.name!r}: ")
    names = [tier.name for tier in merged]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two tiers are named {', '.join(twice)}", "give each a name of its own")
    return merged


def _refuse_twice(budgets: Sequence[Budget], where: str) -> None:
    for i, budget in enumerate(budgets):
        earlier = [other.text for other in budgets[:i] if other.metric == budget.metric]
        if earlier:
            raise UsageError(
                f"{where}{budget.metric} is limited twice, by {earlier[0]} and by {budget.text}",
                "keep one of them",
            )


def resolve(tier: Tier, name: str, largest: Cost | None) -> tuple[Limit, ...]:
    """The tier's budgets in the units of their metrics.

    Args:
        tier: whose budgets.
        name: of the largest subnet.
        largest: what it costs; needed where a budget is relative.

    Raises:
        TableError: the largest subnet's cost is not known in that metric.
    """
    return tuple(_resolve_one(budget, name, largest) for budget in tier.budgets)


def _resolve_one(budget: Budget, name: str, largest: Cost | None) -> Limit:
    if not budget.relative:
        return Limit(metric=budget.metric, limit=budget.value, text=budget.text)
    base = largest.metric(budget.metric) if largest is not None else math.nan
    if largest is None or not math.isfinite(base) or base <= 0:
        raise TableError(
            f"{budget.text} is a share of what {name} costs, and its {budget.metric} is not known",
            f"write it with a unit, such as {example(budget.metric)}, or profile it",
        )
    how = "measured" if largest.measured else "predicted"
    return Limit(
        metric=budget.metric,
        limit=base * budget.value,
        text=budget.text,
        reference=f"{name} {how} {show(budget.metric, base)}",
    )
