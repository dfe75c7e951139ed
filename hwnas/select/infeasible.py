"""When nothing fits: which budget binds, what comes nearest, and what would admit it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from hwnas.errors import Infeasible
from hwnas.frozen import Frozen
from hwnas.select.budgets import Limit
from hwnas.select.pool import Pool, exceeded
from hwnas.select.units import show, spell_up
from hwnas.table.cost import METRICS

__all__ = ["QUALITY", "Loosening", "Nearest", "NothingFits", "Shortfall", "shortfall"]

Floats = np.typing.NDArray[np.float64]

QUALITY = "quality"
"""What stands for the least quality where metrics are named."""

_LEAST = float(np.finfo(np.float64).eps)


class Nearest(Frozen):
    """The subnet whose worst excess over a budget, as a share of it, is the least.

    Attributes:
        subnet: its name.
        measured: whether its cost is measured; otherwise predicted.
        cost: by metric, in its unit; what is not known is absent. Its quality too, if there is a
            least one.
        excess: metric to share by which its budget is exceeded, for those that are; of a least
            quality, the share that is missing.
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
        metric: of the budget; ``quality`` for the least quality.
        limit: as it is, in the metric's unit.
        needed: what it would have to be, in the metric's unit.
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
        floor: the least quality, which counts as a budget here; None if there was none.
        binding: the budget that needs the least loosening, or those that bind only together.
        loosenings: each budget that alone would do, the least loosening first; empty if none.
        nearest: what comes nearest to all budgets.
        measured: how many subnets were measured whole to find that out.
        among: how many subnets were looked at, where others may fit: those whose quality is known;
            None if none in the space fits.
    """

    tier: str
    limits: tuple[Limit, ...]
    floor: float | None = None
    binding: tuple[str, ...]
    loosenings: tuple[Loosening, ...]
    nearest: Nearest
    measured: int
    among: int | None = None


class NothingFits(Infeasible):
    """:class:`hwnas.errors.Infeasible` with the numbers: ``shortfall``."""

    def __init__(self, shortfall: Shortfall) -> None:
        self.shortfall = shortfall
        super().__init__(_cause(shortfall), _fix(shortfall))

    def __reduce__(self) -> tuple[object, ...]:
        return NothingFits, (self.shortfall,)


def shortfall(
    pool: Pool,
    tier: str,
    limits: Sequence[Limit],
    *,
    among: int | None = None,
    rated: bool = True,
) -> Shortfall:
    """Say why no candidate of ``pool`` meets ``limits``, as costs are now believed.

    Where there is a least quality, only candidates that are rated count.

    Args:
        pool: the candidates.
        tier: name of the tier.
        limits: of it.
        among: see :class:`Shortfall`.
        rated: whether qualities are known; otherwise a least quality does not count.
    """
    table = pool.believed()[: pool.candidates]
    excess = exceeded(table, limits)
    names = [limit.metric for limit in limits]
    values = table[:, [METRICS.index(name) for name in names]]
    bounds = [limit.limit for limit in limits]
    floor = pool.goal.floor if rated else None
    if floor is not None:
        scores = pool.scores()
        excess = np.column_stack((excess, _missing(scores, floor)))
        values = np.column_stack((values, scores))
        names, bounds = [*names, QUALITY], [*bounds, floor]
    worst, total = excess.max(axis=1), np.maximum(excess, 0).sum(axis=1)
    nearest = int(np.lexsort((table[:, METRICS.index("p50")], total, worst))[0])
    broken = {name: float(e) for name, e in zip(names, excess[nearest], strict=True) if e > 0}
    loosenings = []
    for b, (name, bound) in enumerate(zip(names, bounds, strict=True)):
        others = np.delete(excess, b, axis=1).max(axis=1, initial=-np.inf) <= 0
        able = np.where(others, excess[:, b], np.inf)
        i = int(np.argmin(able))
        if np.isfinite(able[i]):
            entry = _loosening(pool, name, bound, float(values[i, b]), i)
            loosenings.append((float(able[i]), entry))
    # Of two that are as good, the one that the nearest subnet is about.
    loosenings.sort(key=lambda pair: (pair[0], pair[1].metric not in broken))
    ordered = [entry for _, entry in loosenings]
    cost = dict(zip(METRICS, table[nearest].tolist(), strict=True))
    if floor is not None:
        cost[QUALITY] = float(values[nearest, -1])
    return Shortfall(
        tier=tier,
        limits=tuple(limits),
        floor=floor,
        binding=(ordered[0].metric,) if ordered else tuple(broken),
        loosenings=tuple(ordered),
        nearest=Nearest(
            subnet=pool.subnets[nearest].name,
            measured=nearest in pool.measured,
            cost={name: value for name, value in cost.items() if np.isfinite(value)},
            excess=broken,
            admitted_by=tuple(_spell(metric, cost[metric]) for metric in broken),
        ),
        measured=pool.count,
        among=among,
    )


def _missing(scores: Floats, floor: float) -> Floats:
    """Share of the least quality that is missing; at most 0 where it is reached."""
    share = (floor - scores) / (abs(floor) or 1.0)
    found: Floats = np.where(scores >= floor, np.minimum(share, 0), np.maximum(share, _LEAST))
    found[np.isnan(scores)] = np.inf
    return found


def _loosening(pool: Pool, metric: str, limit: float, needed: float, i: int) -> Loosening:
    return Loosening(
        metric=metric,
        limit=limit,
        needed=needed,
        budget=_spell(metric, needed),
        subnet=pool.subnets[i].name,
        measured=i in pool.measured,
    )


def _spell(metric: str, value: float) -> str:
    """The budget that admits ``value``."""
    if metric != QUALITY:
        return spell_up(metric, value)
    digits = Decimal(value)
    step = Decimal(1).scaleb(digits.adjusted() - 5)
    return f"{QUALITY}={(digits // step - (digits < 0)) * step:f}"


def _show(metric: str, value: float) -> str:
    return f"{value:.6g}" if metric == QUALITY else show(metric, value)


def _how(measured: bool) -> str:
    return "measured" if measured else "predicted"


def _cause(found: Shortfall) -> str:
    wanted = [str(limit) for limit in found.limits]
    if found.floor is not None:
        wanted.append(f"{QUALITY} >= {found.floor:.6g}")
    measured = f" ({found.measured} measured whole)" if found.measured else ""
    who = "no subnet meets"
    if found.among is not None:
        who = f"of the {found.among:,} subnets whose quality is known, none meets"
    text = f"{who} the budgets of tier {found.tier!r}{measured}: {', '.join(wanted)}; "
    if not found.loosenings:
        return f"{text}{' and '.join(found.binding)} bind together: loosening one is not enough"
    least = found.loosenings[0]
    others = " with the other budgets met" if len(wanted) > 1 else ""
    extreme = "most" if least.metric == QUALITY else "least"
    needed, how = _show(least.metric, least.needed), _how(least.measured)
    return f"{text}{least.metric} binds: the {extreme}{others} is {needed} ({least.subnet}, {how})"


def _fix(found: Shortfall) -> str:
    near = found.nearest
    cost = ", ".join(f"{metric} {_show(metric, value)}" for metric, value in near.cost.items())
    wanted = ",".join(near.admitted_by)
    text = f"nearest is {near.subnet}, {_how(near.measured)} {cost}; {wanted} admits it"
    other = [e.budget for e in found.loosenings if (e.budget,) != near.admitted_by]
    return f"{text}; so would, alone, {' or '.join(other)}" if other else text
