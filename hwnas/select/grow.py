"""Choosing where subnets are found by solving: solve, measure, correct, until a pick fits.

The pool grows by what is found. What was measured is ruled out of the next question and stands for
itself; all else is believed to cost its prediction times what measurements say predictions are
off by. Of a tier, those of its own picks say most: they are near to one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.errors import HwnasError
from hwnas.select.additive import Additive, counted
from hwnas.select.budgets import Limit
from hwnas.select.exact import value_of
from hwnas.select.milp import Best
from hwnas.select.pool import Pool
from hwnas.select.protocol import Goal
from hwnas.select.settle import MAX_MEASURED
from hwnas.space import Subnet

__all__ = ["FRONT", "Settled", "fill_shortfall", "grow_front", "settle_solved", "spread_solved"]

FRONT = 20
"""Points of a front."""

_SLACK = 0.02
"""A pick that leaves so much of every budget is tried to be bettered: the model is too careful."""

_TRIES = 3
"""Measurements that such attempts, and attempts at the nearest where nothing fits, may take."""

_ANY = Goal()

_ROUNDED = 20
"""Picks that fit but for the solver's tolerance, ruled out one by one, before giving up."""


@dataclass(frozen=True)
class Settled:
    """What was chosen for a tier.

    Attributes:
        pick: index in the pool.
        proof: what is proven of it.
        gap, feasible: see :class:`hwnas.select.plan.TierPlan`.
    """

    pick: int
    proof: str
    gap: float | None
    feasible: int | None = None


def settle_solved(
    pool: Pool,
    method: Additive,
    limits: Sequence[Limit],
    *,
    max_measured: int = MAX_MEASURED,
) -> Settled | None:
    """The best subnet that meets ``limits``, or None if nothing does.

    Args:
        pool: of what was found so far; what is found now is added.
        method: finds.
        limits: all to be met.
        max_measured: how many subnets to measure before giving up.

    Raises:
        HwnasError: ``max_measured`` were measured and the best is still not known, or the solver
            ran out of time before anything was found.
    """
    before, own, attempts, rounded = pool.count, list[int](), 0, list[Subnet]()
    while True:
        known = np.flatnonzero(_learned(pool))
        belief = _Belief(pool.correction(own or None), len(own or known))
        held = _best_held(pool, limits, known)
        without = [*(pool.subnets[i] for i in known), *rounded]
        best = method.best(limits, pool.goal, belief.factors, without)
        pick = None if best is None else pool.add(best.subnet)
        if pick is not None and held is not None and pool.ranked(np.array([pick, held]))[0] == held:
            pick = None
        if pick is None and held is not None:
            return _settled(pool, method, held, best, belief, limits)
        if best is None or pick is None:
            attempts += 1
            if attempts > _TRIES or not _try_nearest(pool, method, limits, belief, own):
                return None
            continue
        if pool.measuring and pool.count - before >= max_measured:
            raise HwnasError(
                f"{max_measured} subnets were measured whole for one tier, and others that may be "
                "better are still believed to fit: predictions are far from what is measured",
                "measure some whole subnets while profiling, so that predictions are calibrated; "
                "or allow more measurements",
            )
        pool.settle(pick)
        fits = bool(pool.over(limits)[pick] <= 0)
        if pick in pool.measured:
            own.append(pick)
            if fits and (attempts >= _TRIES or not _slack(pool, limits, pick)):
                held = _best_held(pool, limits, np.array([*known, pick]))
                assert held is not None
                return _settled(pool, method, held, best, belief, limits)
            attempts += fits
        elif fits:
            return _settled(pool, method, pick, best, belief, limits)
        else:
            rounded.append(pool.subnets[pick])
            if len(rounded) > _ROUNDED:
                raise HwnasError(
                    "the solver's answers miss a budget by less than it can tell",
                    "write the budget a billionth larger or smaller",
                )


@dataclass(frozen=True)
class _Belief:
    """By what predictions were multiplied for one question, and how many measurements said so."""

    factors: dict[str, float]
    measurements: int


def _learned(pool: Pool) -> np.typing.NDArray[np.bool_]:
    """Those whose cost was measured, now or before."""
    mask = np.zeros(len(pool.subnets), dtype=np.bool_)
    mask[list(pool.measured)] = True
    return mask


def _best_held(
    pool: Pool, limits: Sequence[Limit], known: np.typing.NDArray[np.intp]
) -> int | None:
    """The best of those whose cost was measured that fits."""
    fitting = known[pool.over(limits)[known] <= 0]
    return int(pool.ranked(fitting)[0]) if len(fitting) else None


def _slack(pool: Pool, limits: Sequence[Limit], pick: int) -> bool:
    # Where a metric is to be least, the budgets bind no pick.
    aspiring = bool(limits) and pool.goal.minimize is None
    return aspiring and bool(pool.over(limits)[pick] < -_SLACK)


def _try_nearest(
    pool: Pool,
    method: Additive,
    limits: Sequence[Limit],
    belief: _Belief,
    own: list[int],
) -> bool:
    """Measure what comes nearest, if that may fit or come nearer; whether it was worth it."""
    if not pool.measuring or not limits:
        return False
    i = pool.add(method.nearest(limits, pool.goal, belief.factors))
    over = pool.over(limits)
    known = np.flatnonzero(_learned(pool))
    if i in pool.measured or over[i] >= np.min(over[known], initial=np.inf):
        return False
    pool.settle(i)
    own.append(i)
    return True


def _settled(
    pool: Pool,
    method: Additive,
    pick: int,
    best: Best | None,
    belief: _Belief,
    limits: Sequence[Limit],
) -> Settled:
    """What is proven of ``pick`` by the last question, whose answer was ``best``."""
    value, sign = pool.value(pick), 1.0 if pool.goal.minimize is None else -1.0
    gap = 0.0
    if best is not None and not best.proven:
        bound = best.bound * pool.correction().get(pool.goal.minimize or "", 1.0)
        gap = max((bound - value) * sign, 0.0) / (abs(value) or 1.0)
    under = ""
    if pool.measuring:
        under = " under predictions"
        if any(factor != 1.0 for factor in belief.factors.values()):
            plural = "s" if belief.measurements > 1 else ""
            under += f" corrected by {belief.measurements} measurement{plural}"
    what = "time was up: best found" if gap else "exact: optimum"
    proof = f"{what} of {counted(method.count)} subnets{under}, gap {gap:.2g}"
    proof += f", {value_of(pool.goal, value)}, by {method.solver}"
    if pool.measuring and limits:
        proof += ", measured to fit"
    return Settled(pick, proof, gap)


def spread_solved(
    pool: Pool, method: Additive, limits: Sequence[Limit], pick: int, count: int
) -> list[int]:
    """Up to ``count`` subnets more for the budgets that ``pick`` is the best for.

    They are the best for limits on p50 that are evenly spaced from the quickest subnet that fits
    to ``pick``. Each is measured where the pool measures; what then breaks a budget of ``limits``
    is left out, and the next best taken.
    """
    chosen = [pick]
    for limit in _targets(pool, method, limits, float(pool.cost(pick).p50_ms), count + 1)[:-1]:
        bound = [*(b for b in limits if b.metric != "p50"), limit]
        for _ in range(_TRIES):
            taken = [pool.subnets[i] for i in {*chosen, *pool.measured}]
            best = method.best(bound, pool.goal, pool.correction(), taken)
            if best is None:
                break
            i = pool.add(best.subnet)
            pool.settle(i)
            if pool.over(limits)[i] <= 0:
                chosen.append(i)
                break
    return chosen[1:]


def _targets(
    pool: Pool, method: Additive, limits: Sequence[Limit], high: float, count: int
) -> list[Limit]:
    """Limits on p50, evenly spaced from the quickest subnet that fits up to ``high`` ms."""
    factors = pool.correction()
    quickest = method.quickest(limits, pool.goal, factors)
    if quickest is None:
        return []
    low = pool.cost(pool.add(quickest)).p50_ms
    # A hair more than the quickest, since the limit is divided by the correction again.
    steps = np.linspace(low * (1 + 1e-12), max(high, low), count)
    return [Limit(metric="p50", limit=float(p50), text="p50") for p50 in steps]


def grow_front(pool: Pool, method: Additive, count: int) -> list[int]:
    """The best subnets for ``count`` evenly spaced p50, from the quickest to the best of all.

    Budgets do not count, a least quality does not either: it is a front of the whole space.
    """
    factors, ideal = pool.correction(), None
    if count > 1:
        ideal = method.best([], _ANY, factors)
    if ideal is None:
        return []
    top = pool.add(ideal.subnet)
    found, last = [top], ideal.subnet
    for limit in _targets(pool, method, [], pool.cost(top).p50_ms, count)[-2::-1]:
        best = method.best([limit], _ANY, factors)
        if best is not None and best.subnet != last:
            found.append(pool.add(best.subnet))
            last = best.subnet
    return found


def fill_shortfall(pool: Pool, method: Additive, limits: Sequence[Limit]) -> None:
    """Add to the pool what is nearest to ``limits``, and what is best in each one's direction."""
    for subnet in method.extremes(limits, pool.goal, pool.correction()):
        pool.add(subnet)
    pool.rate(range(pool.candidates))
