"""Choosing for one set of budgets: the best that is believed to fit, until that is measured to fit.

Each round measures one subnet that was not measured before, so it ends; what was measured is
believed from then on, for all tiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.errors import HwnasError
from hwnas.select.budgets import Limit
from hwnas.select.pareto import pareto_front
from hwnas.select.pool import Pool
from hwnas.table.cost import METRICS

__all__ = ["MARGIN", "MAX_MEASURED", "NEAR_MISSES", "front", "settle", "spread"]

MARGIN = 0.05
"""A better candidate whose believed cost is above a budget by at most this share may fit after all.

A calibrated model is within 1.5% on average and within 5% for nearly all subnets.
"""

NEAR_MISSES = 4
"""How many such candidates are measured per tier, those believed nearest to the budget first.

So are those that the model lets through and only its correction, learned from few, does not.
"""

MAX_MEASURED = 100
"""Subnets measured per tier at most: with a sane model it takes one to three."""


def settle(
    pool: Pool,
    limits: Sequence[Limit],
    *,
    max_measured: int = MAX_MEASURED,
    margin: float = MARGIN,
    near_misses: int = NEAR_MISSES,
) -> int | None:
    """The best candidate that meets ``limits``, or None if nothing does.

    The result is measured if the pool measures, and no candidate that is believed to fit is
    better. None means that every candidate that the predictions, as the model gave them, let
    through was measured and broke a budget, and that none is believed to come nearer than the
    nearest that was measured.

    Args:
        pool: the candidates.
        limits: all to be met.
        max_measured: how many subnets to measure before giving up.
        margin: see :data:`MARGIN`.
        near_misses: see :data:`NEAR_MISSES`.

    Raises:
        HwnasError: ``max_measured`` were measured, and the best is still not known.
    """
    before = pool.count
    while True:
        left = max_measured - (pool.count - before)
        over, settled = pool.over(limits), pool.settled()[: pool.candidates]
        fitting = np.flatnonzero(over <= 0)
        if len(fitting):
            pick = int(pool.ranked(fitting)[0])
            if settled[pick]:
                close = (over <= margin) | (pool.over(limits, raw=True) <= 0)
                near = np.flatnonzero((over > 0) & close & ~settled)
                tries = min(near_misses, left) if pool.measuring else 0
                better = _better(pool, near, pick) if tries and len(near) else []
                if not better:
                    return pick
                near_misses -= 1
                pick = min(better, key=lambda i: float(over[i]))
        else:
            if not pool.measuring:
                return None
            nearest = np.min(over[settled], initial=np.inf)
            hopeful = ~settled & ((pool.over(limits, raw=True) <= 0) | (over < nearest))
            if not hopeful.any():
                return None
            pick = int(np.argmin(np.where(hopeful, over, np.inf)))
        if pool.measuring and left <= 0:
            raise HwnasError(
                f"{max_measured} subnets were measured whole for one tier, and others that may be "
                "better are still believed to fit: predictions are far from what is measured",
                "measure some whole subnets while profiling, so that predictions are calibrated; "
                "or allow more measurements",
            )
        pool.settle(pick)


def _better(pool: Pool, near: np.typing.NDArray[np.intp], pick: int) -> list[int]:
    """Those of ``near`` that rank before ``pick``, best first."""
    ranked: list[int] = pool.ranked(np.append(near, pick)).tolist()
    return ranked[: ranked.index(pick)]


def front(
    pool: Pool, indices: np.typing.NDArray[np.intp], metrics: Sequence[str]
) -> np.typing.NDArray[np.intp]:
    """Those of ``indices`` on the Pareto front of score, p50 and ``metrics``, best first."""
    ranked = pool.ranked(indices)
    table = pool.believed()[ranked]
    columns = [METRICS.index(name) for name in METRICS if name == "p50" or name in metrics]
    scores = np.array([pool.score(int(i)) for i in ranked], dtype=np.float64)
    return ranked[pareto_front(np.column_stack((-scores, table[:, columns])))]


def spread(pool: Pool, limits: Sequence[Limit], pick: int, count: int) -> list[int]:
    """Up to ``count`` subnets more for the budgets that ``pick`` is the best for.

    They come from the front of all that is believed to fit, over score, p50 and what ``limits``
    is on: those nearest in p50 to points evenly spaced from the front's quickest to ``pick``.
    Each is settled; one that then breaks a budget makes room for the next nearest.
    """
    on_front = front(pool, np.flatnonzero(pool.over(limits) <= 0), [b.metric for b in limits])
    rest = [int(i) for i in on_front if i != pick]
    p50 = pool.believed()[:, METRICS.index("p50")]
    low = min((float(p50[i]) for i in rest), default=0.0)
    chosen: list[int] = []
    for target in np.linspace(low, float(p50[pick]), count + 1)[:-1]:
        for i in sorted(rest, key=lambda i: abs(float(p50[i]) - float(target))):
            rest.remove(i)
            pool.settle(i)
            if pool.over(limits)[i] <= 0:
                chosen.append(i)
                break
    return chosen
