"""Why a subnet was chosen: what its time bought, what more would cost, what budgets are worth.

The answers come from asking again: the list of candidates, or the solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hwnas.select.additive import Additive, corrected
from hwnas.select.budgets import Limit
from hwnas.select.explanation import Better, Bought, Explanation, Worth
from hwnas.select.milp import Query
from hwnas.select.pool import Pool
from hwnas.select.protocol import Goal, Terms
from hwnas.space import Space, Subnet
from hwnas.table.additive import AdditiveCosts
from hwnas.table.cost import METRICS

__all__ = ["Asker", "ListAsker", "SolveAsker", "bought", "explain"]

_STEP = 0.01
"""Share of a budget by which it is changed to see what it is worth."""

_NOTABLE = 1e-6
"""Share by which another quality must be higher to be called better."""


class Asker(Protocol):
    """Answers what else could have been chosen, as costs are believed in the end."""

    def best(self, limits: Sequence[Limit]) -> int | None:
        """Index of the best candidate that is believed to meet ``limits``."""

    def better(self, quality: float) -> int | None:
        """Index of the quickest candidate of a higher quality, whatever the budgets."""

    def duals(self, limits: Sequence[Limit]) -> dict[str, float]:
        """Value per unit of each budget at its edge, where fractions of blocks could be had."""


class ListAsker:
    """Asks the candidates of a pool; where rating takes time, those that were rated."""

    def __init__(self, pool: Pool, costly: bool) -> None:
        self._pool = pool
        if not costly:
            pool.rate(range(pool.candidates))

    def best(self, limits: Sequence[Limit]) -> int | None:
        """See :class:`Asker`."""
        rated = self._pool.rated()
        fitting = rated[self._pool.over(limits)[rated] <= 0]
        return int(self._pool.ranked(fitting)[0]) if len(fitting) else None

    def better(self, quality: float) -> int | None:
        """See :class:`Asker`."""
        rated = self._pool.rated()
        above = rated[self._pool.scores()[rated] >= _above(quality)]
        p50 = self._pool.believed()[above, METRICS.index("p50")]
        return int(above[np.argmin(p50)]) if len(above) else None

    def duals(self, limits: Sequence[Limit]) -> dict[str, float]:
        """None: there is no program."""
        return {}


class SolveAsker:
    """Asks the solver."""

    def __init__(self, pool: Pool, method: Additive) -> None:
        self._pool, self._method = pool, method

    def best(self, limits: Sequence[Limit]) -> int | None:
        """See :class:`Asker`."""
        pool = self._pool
        known = list(pool.measured)
        without = [pool.subnets[i] for i in known]
        found = self._method.best(limits, pool.goal, pool.correction(), without)
        new = [] if found is None else [pool.add(found.subnet)]
        over = pool.over(limits)
        able = np.array([*new, *(i for i in known if over[i] <= 0)], dtype=np.intp)
        return int(pool.ranked(able)[0]) if len(able) else None

    def better(self, quality: float) -> int | None:
        """See :class:`Asker`."""
        found = self._method.quickest([], Goal(floor=_above(quality)), {})
        return None if found is None else self._pool.add(found)

    def duals(self, limits: Sequence[Limit]) -> dict[str, float]:
        """See :class:`Asker`."""
        factors, goal = self._pool.correction(), self._pool.goal
        query = Query(corrected(limits, factors), goal.floor, goal.minimize)
        found = self._method.problem.worth(query)
        # A unit of the budget is 1 / factor of what was predicted.
        return {name: dual / factors.get(name, 1.0) for name, dual in found.items()}


def explain(
    pool: Pool,
    asker: Asker,
    tier: str,
    limits: Sequence[Limit],
    pick: int,
    blocks: tuple[float, tuple[Bought, ...]],
    alone: bool = True,
) -> Explanation:
    """Explain ``pick``, the best for ``limits``.

    Args:
        pool: knows its cost and value.
        asker: knows what else there is.
        tier: for which tier.
        limits: its budgets.
        pick: index in the pool.
        blocks: of :func:`bought`.
        alone: whether it is the best for these; not if it was chosen with others in mind.
    """
    value = pool.value(pick)
    worth: tuple[Worth, ...] = ()
    if alone and limits:
        duals = asker.duals(limits)
        worth = tuple(_worth(pool, asker, limits, b, value, duals) for b in range(len(limits)))
    better = None
    if pool.goal.minimize is None:
        better = _better(pool, asker.better(value), limits)
    constant, parts = blocks
    return Explanation(
        tier=tier,
        subnet=pool.subnets[pick].name,
        value=value,
        constant_ms=constant,
        bought=parts,
        better=better,
        worth=worth,
    )


def _above(quality: float) -> float:
    return quality + _NOTABLE * (abs(quality) or 1.0)


def _worth(
    pool: Pool,
    asker: Asker,
    limits: Sequence[Limit],
    b: int,
    value: float,
    duals: dict[str, float],
) -> Worth:
    limit = limits[b]

    def at(share: float) -> float | None:
        changed = limit.model_copy(update={"limit": limit.limit * share})
        found = asker.best([*limits[:b], changed, *limits[b + 1 :]])
        return None if found is None else pool.value(found)

    less, more = at(1 - _STEP), at(1 + _STEP)
    # What was measured to fit may be better than what is believed to with a little more, and
    # worse than what is believed to with a little less.
    sign = 1.0 if pool.goal.minimize is None else -1.0
    more = value if more is None or (more - value) * sign < 0 else more
    less = value if less is not None and (less - value) * sign > 0 else less
    per_unit = None if less is None else (more - less) * sign / (2 * _STEP * limit.limit)
    return Worth(
        metric=limit.metric,
        limit=limit.limit,
        less=less,
        more=more,
        per_unit=per_unit,
        dual=duals.get(limit.metric),
    )


def _better(pool: Pool, found: int | None, limits: Sequence[Limit]) -> Better | None:
    if found is None:
        return None
    pool.rate([found])
    cost = pool.cost(found)
    bounds = {limit.metric: limit.limit for limit in limits}
    names = dict.fromkeys(["p50", *bounds])
    values = {name: cost.metric(name) for name in names}
    return Better(
        subnet=pool.subnets[found].name,
        quality=float(pool.scores()[found]),
        cost=values,
        excess={
            name: values[name] / bound - 1 for name, bound in bounds.items() if values[name] > bound
        },
    )


def bought(
    space: Space, costs: AdditiveCosts | None, terms: Terms | None, subnet: Subnet
) -> tuple[float, tuple[Bought, ...]]:
    """The constant of p50 in ms, and what each block of ``subnet`` costs and gives.

    Empty where costs are no sums over blocks.
    """
    p50 = None if costs is None else costs.metrics.get("p50")
    if costs is None or p50 is None:
        return 0.0, ()
    index = {block: i for i, block in enumerate(costs.blocks)}
    size = _sizes(costs)
    entries = []
    for slot, choice in subnet.choices.items():
        _, at = space.read(slot, choice)
        others = [c for c in space.written(slot) if space.read(slot, c)[1] == at]
        cheapest = min(others, key=lambda c: float(p50.per_block[index[slot, c]]))
        i, j = index[slot, choice], index[slot, cheapest]
        ms = float(p50.per_block[i])
        gives = None if terms is None else terms.per_block[slot, choice]
        base = None if terms is None else terms.per_block[slot, cheapest]
        entries.append(
            Bought(
                slot=slot,
                choice=choice,
                p50_ms=ms,
                bytes=size[i],
                quality=gives,
                cheapest=cheapest,
                more_ms=ms - float(p50.per_block[j]),
                more_bytes=size[i] - size[j],
                more_quality=None if gives is None or base is None else gives - base,
            )
        )
    return p50.constant, tuple(entries)


def _sizes(costs: AdditiveCosts) -> list[int]:
    """Bytes of weights that each block uses."""
    if not costs.atoms:
        known = costs.metrics.get("bytes")
        return [0] * len(costs.blocks) if known is None else known.per_block.astype(int).tolist()
    sizes = [0] * len(costs.blocks)
    for atom, users in costs.atoms:
        for i in users:
            sizes[i] += atom
    return sizes
