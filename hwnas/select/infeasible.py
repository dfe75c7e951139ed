"""When nothing fits: which budget binds, what comes nearest, and what would admit it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.errors import Infeasible
from hwnas.frozen import Frozen
from hwnas.select.budgets import Limit
from hwnas.select.pool import Pool, exceeded
from hwnas.select.units import show, spell_up
from hwnas.table.cost import METRICS

__all__ = ["Loosening", "Nearest", "NothingFits", "Shortfall", "shortfall"]


class Nearest(Frozen):
    """The subnet whose worst excess over a budget, as a share of it, is the least.

    Attributes:
        subnet: its name.
        measured: whether its cost is measured; otherwise predicted.
        cost: p50 and p95 in ms, memory and weights in bytes; a metric that is not known is absent.
        excess: metric to share by which its budget is exceeded, for those that are.
        admitted_by: the budgets, as they would have to be written to admit it.
    """

    subnet: str
    measured: bool
    cost: dict[str, float]
    excess: dict[str, float]
    admitted_by: tuple[str, ...]


class Loosening(Frozen):
    """One budget that makes something feasible when it alone is loosened.

    Attributes:
        metric: of the budget.
        limit: as it is, in ms or bytes.
        needed: what it would have to be, in ms or bytes.
        budget: that, as it would be written.
        subnet: the name of what it would admit.
        measured: whether that subnet's cost is measured; otherwise predicted.
    """

    metric: str
    limit: float
    needed: float
    budget: str
    subnet: str
    measured: bool


class Shortfall(Frozen):
    """All that is known of an infeasible tier.

    Attributes:
        tier: its name.
        limits: its budgets.
        binding: the budget that needs the least loosening, or those that bind only together.
        loosenings: each budget that alone would do, the least loosening first; empty if none.
        nearest: what comes nearest to all budgets.
        measured: how many subnets were measured whole to find that out.
    """

    tier: str
    limits: tuple[Limit, ...]
    binding: tuple[str, ...]
    loosenings: tuple[Loosening, ...]
    nearest: Nearest
    measured: int


class NothingFits(Infeasible):
    """:class:`hwnas.errors.Infeasible` with the numbers: ``shortfall``."""

    def __init__(self, shortfall: Shortfall) -> None:
        self.shortfall = shortfall
        super().__init__(_cause(shortfall), _fix(shortfall))

    def __reduce__(self) -> tuple[object, ...]:
        return NothingFits, (self.shortfall,)


def shortfall(pool: Pool, tier: str, limits: Sequence[Limit]) -> Shortfall:
    """Say why no candidate of ``pool`` meets ``limits``, as costs are now believed."""
    table = pool.believed()[: pool.candidates]
    excess = exceeded(table, limits)
    worst, total = excess.max(axis=1), np.maximum(excess, 0).sum(axis=1)
    nearest = int(np.lexsort((table[:, METRICS.index("p50")], total, worst))[0])
    broken = {b.metric: float(e) for b, e in zip(limits, excess[nearest], strict=True) if e > 0}
    loosenings = []
    for b, limit in enumerate(limits):
        others = np.delete(excess, b, axis=1).max(axis=1, initial=-np.inf) <= 0
        if others.any():
            i = int(np.argmin(np.where(others, excess[:, b], np.inf)))
            loosenings.append((float(excess[i, b]), _loosening(pool, limit, i, table)))
    # Of two that are as good, the one that the nearest subnet is about.
    loosenings.sort(key=lambda pair: (pair[0], pair[1].metric not in broken))
    ordered = [entry for _, entry in loosenings]
    values = dict(zip(METRICS, table[nearest].tolist(), strict=True))
    return Shortfall(
        tier=tier,
        limits=tuple(limits),
        binding=(ordered[0].metric,) if ordered else tuple(broken),
        loosenings=tuple(ordered),
        nearest=Nearest(
            subnet=pool.subnets[nearest].name,
            measured=nearest in pool.measured,
            cost={name: value for name, value in values.items() if np.isfinite(value)},
            excess=broken,
            admitted_by=tuple(spell_up(metric, values[metric]) for metric in broken),
        ),
        measured=pool.count,
    )


def _loosening(pool: Pool, limit: Limit, i: int, table: np.typing.NDArray[np.float64]) -> Loosening:
    needed = float(table[i, METRICS.index(limit.metric)])
    return Loosening(
        metric=limit.metric,
        limit=limit.limit,
        needed=needed,
        budget=spell_up(limit.metric, needed),
        subnet=pool.subnets[i].name,
        measured=i in pool.measured,
    )


def _how(measured: bool) -> str:
    return "measured" if measured else "predicted"


def _cause(found: Shortfall) -> str:
    wanted = ", ".join(map(str, found.limits))
    measured = f" ({found.measured} measured whole)" if found.measured else ""
    text = f"no subnet meets the budgets of tier {found.tier!r}{measured}: {wanted}; "
    if not found.loosenings:
        return f"{text}{' and '.join(found.binding)} bind together: loosening one is not enough"
    least = found.loosenings[0]
    others = " with the other budgets met" if len(found.limits) > 1 else ""
    needed, how = show(least.metric, least.needed), _how(least.measured)
    return f"{text}{least.metric} binds: the least{others} is {needed} ({least.subnet}, {how})"


def _fix(found: Shortfall) -> str:
    near = found.nearest
    cost = ", ".join(f"{metric} {show(metric, value)}" for metric, value in near.cost.items())
    wanted = ",".join(near.admitted_by)
    text = f"nearest is {near.subnet}, {_how(near.measured)} {cost}; {wanted} admits it"
    other = [e.budget for e in found.loosenings if (e.budget,) != near.admitted_by]
    return f"{text}; so would, alone, {' or '.join(other)}" if other else text
