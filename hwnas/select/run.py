"""Selection from start to end: price, choose, measure, write down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from pydantic import JsonValue

from hwnas._version import __version__
from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import BundleError, UsageError
from hwnas.files import sha256_file
from hwnas.select.budgets import Limit, Tier, combine, resolve
from hwnas.select.exact import ENUMERATION_LIMIT, Exhaustive
from hwnas.select.infeasible import NothingFits, shortfall
from hwnas.select.plan import Chosen, FrontPoint, Plan, PlanCost, TierPlan
from hwnas.select.pool import Pool
from hwnas.select.protocol import Costs, Measure, Method, Progress, Quality
from hwnas.select.settle import MAX_MEASURED, front, settle, spread
from hwnas.select.sorted import SortedPrefix
from hwnas.space import Space, Subnet

__all__ = ["select"]


def select(
    bundle: Bundle,
    costs: Costs,
    tiers: Sequence[Tier],
    quality: Quality | None = None,
    *,
    count: int = 1,
    measure: Measure | None = None,
    include: Sequence[str] = (),
    fingerprint: Mapping[str, JsonValue] | None = None,
    progress: Progress | None = None,
    limit: int = ENUMERATION_LIMIT,
    max_measured: int = MAX_MEASURED,
) -> Plan:
    """Choose, for each tier, the best subnet that meets its budgets.

    A nested chain without a quality is answered by order of size (``sorted``); anything else is
    priced and rated in full (``exact``). Of equal quality, the lower p50 is better, then fewer
    bytes, then the name.

    Args:
        bundle: of form ``space``.
        costs: prices of its subnets on one device.
        tiers: sets of budgets, as :func:`hwnas.select.combine` gives them.
        quality: rates subnets; needed unless the space is a nested chain.
        count: subnets per tier: the best one, and others spread along the front by latency.
        measure: measures a subnet whole. With it, every chosen subnet is measured, and what is
            the best for a tier is measured to meet its budgets. A whole measurement that ``costs``
            has already counts as one.
        include: names of subnets that ship whatever they cost.
        fingerprint: of the device, for the plan.
        progress: see :data:`hwnas.select.protocol.Progress`.
        limit: subnets to list at most where ``quality`` is a function.
        max_measured: subnets to measure at most before a tier's best is found.

    Raises:
        NothingFits: a tier that no subnet meets (exit code 3), with the nearest.
        UsageError: no quality where one is needed, too many subnets to list, an unknown name.
        TableError: a cost that a budget is on is not known.
        HwnasError: ``max_measured`` was reached before a pick was measured to fit.
    """
    tiers = combine(tiers)
    if count < 1:
        raise UsageError(f"{count} subnets per tier were asked for", "ask for 1 or more (-n 1)")
    if bundle.manifest.form != "space":
        raise BundleError(
            f"{bundle.path} holds chosen subnets already", "give the bundle of 'hwnas compile'"
        )
    space = bundle.manifest.space
    method = _method(space, quality, limit)
    included = [space.find(name) for name in include]
    budgets = [budget for tier in tiers for budget in tier.budgets]
    largest = [space.largest()] if any(budget.relative for budget in budgets) else []
    pool = Pool(
        method.candidates(),
        [*largest, *included],
        costs,
        partial(method.scores, progress=progress),
        [budget.metric for budget in budgets],
        measure=measure,
        progress=progress,
    )
    limits = _limits(pool, tiers, largest)
    picks: dict[str, list[int]] = {}
    for tier in tiers:
        pick = settle(pool, limits[tier.name], max_measured=max_measured)
        if pick is None:
            raise NothingFits(shortfall(pool, tier.name, limits[tier.name]))
        more = spread(pool, limits[tier.name], pick, count - 1) if count > 1 else []
        picks[tier.name] = [pick, *more]
    ship = [pool.index[subnet.name] for subnet in included]
    for i in ship:
        pool.settle(i)
    asked = ship if method.costly else range(pool.candidates)
    pool.rate([i for i in asked if i < pool.candidates])
    answers = tuple(
        _answer(pool, method, tier.name, limits[tier.name], picks[tier.name]) for tier in tiers
    )
    factors = pool.correction().items()
    return Plan(
        hwnas=__version__,
        bundle_sha256=sha256_file(bundle.path / MANIFEST),
        fingerprint=None if fingerprint is None else dict(fingerprint),
        method=method.name,
        proof="; ".join(f"{answer.name}: {answer.proof}" for answer in answers),
        quality_source=method.source,
        candidates=pool.candidates,
        unrated=method.unrated,
        measured=pool.count,
        correction={metric: factor for metric, factor in factors if factor != 1.0},
        tiers=answers,
        subnets=_chosen(pool, method, picks, ship),
        front=_front(pool, method, [budget.metric for budget in budgets]),
    )


def _method(space: Space, quality: Quality | None, limit: int) -> Method:
    if quality is not None:
        return Exhaustive(space, quality, limit)
    if SortedPrefix.applies(space):
        return SortedPrefix(space)
    raise UsageError(
        f"the space has {space.count():,} subnets that are not one chain of prefixes: "
        "which of those that fit is best, only a quality tells",
        "give --quality FILE.csv, or --quality module:fn that evaluates a subnet",
    )


def _limits(
    pool: Pool, tiers: Sequence[Tier], largest: Sequence[Subnet]
) -> dict[str, tuple[Limit, ...]]:
    if not largest:
        return {tier.name: resolve(tier, "", None) for tier in tiers}
    name = largest[0].name
    pool.settle(pool.index[name])
    reference = pool.cost(pool.index[name])
    return {tier.name: resolve(tier, name, reference) for tier in tiers}


def _answer(
    pool: Pool, method: Method, name: str, limits: tuple[Limit, ...], picks: Sequence[int]
) -> TierPlan:
    feasible = int(np.count_nonzero(pool.over(limits) <= 0))
    proof = method.proof(feasible, pool.score(picks[0]) or 0.0)
    return TierPlan(
        name=name,
        limits=limits,
        subnet=pool.subnets[picks[0]].name,
        more=tuple(pool.subnets[i].name for i in picks[1:]),
        feasible=feasible,
        proof=f"{proof}, measured to fit" if pool.measuring and limits else proof,
    )


def _quality(pool: Pool, method: Method, i: int) -> float | None:
    return None if method.source is None else pool.score(i)


def _chosen(
    pool: Pool, method: Method, picks: Mapping[str, Sequence[int]], ship: Sequence[int]
) -> tuple[Chosen, ...]:
    best = [chosen[0] for chosen in picks.values()]
    more = [i for chosen in picks.values() for i in chosen[1:]]
    entries = []
    for i in dict.fromkeys([*best, *more, *ship]):
        subnet, measured = pool.subnets[i], pool.measured.get(i)
        entries.append(
            Chosen(
                name=subnet.name,
                spec=subnet.spec,
                choices=subnet.choices,
                quality=_quality(pool, method, i),
                predicted=PlanCost.of(pool.predicted[i]),
                measured=None if measured is None else PlanCost.of(measured),
                tiers=tuple(name for name, chosen in picks.items() if i in chosen),
                included=i in ship,
            )
        )
    return tuple(entries)


def _front(pool: Pool, method: Method, metrics: Sequence[str]) -> tuple[FrontPoint, ...]:
    return tuple(
        FrontPoint(
            subnet=pool.subnets[i].name,
            quality=_quality(pool, method, i),
            cost=PlanCost.of(pool.cost(i)),
        )
        for i in front(pool, pool.rated(), metrics).tolist()
    )
