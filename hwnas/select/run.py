"""Selection from start to end: price, choose, measure, write down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from pydantic import JsonValue

from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import BundleError, UnknownName, UsageError
from hwnas.files import sha256_file
from hwnas.select.additive import Additive
from hwnas.select.budgets import Budget, Limit, Tier, combine, resolve
from hwnas.select.exact import ENUMERATION_LIMIT, Exhaustive
from hwnas.select.explain import ListAsker, SolveAsker, bought, explain
from hwnas.select.explanation import Explanation
from hwnas.select.grow import (
    FRONT,
    Settled,
    fill_shortfall,
    grow_front,
    settle_solved,
    spread_solved,
)
from hwnas.select.infeasible import NothingFits, Shortfall, shortfall
from hwnas.select.milp import SECONDS
from hwnas.select.outcome import Outcome
from hwnas.select.plan import Plan
from hwnas.select.pool import Pool, exceeded
from hwnas.select.protocol import (
    AdditivePrices,
    AdditiveQuality,
    Costs,
    Goal,
    Measure,
    Method,
    Progress,
    Quality,
)
from hwnas.select.searched import Searched, Settings
from hwnas.select.settle import MAX_MEASURED, front, settle, spread
from hwnas.select.shipped import choose_together
from hwnas.select.sorted import SortedPrefix
from hwnas.space import Space, Subnet
from hwnas.table.cost import METRICS

__all__ = ["METHODS", "select"]

METHODS = ("auto", "exact", "search")
"""Ways of selecting that can be asked for."""


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
    method: str = "auto",
    search: Settings | None = None,
    minimize: str | None = None,
    min_quality: float | None = None,
    max_shipped_bytes: float | None = None,
    front_points: int = FRONT,
    explaining: bool = False,
    seconds: float = SECONDS,
) -> Plan:
    """Choose, for each tier, the best subnet that meets its budgets.

    A nested chain without a quality is answered by order of size (``sorted``). Anything else is
    ``exact``: priced and rated in full where the space can be listed, found by an integer program
    where it cannot and costs and quality are sums over blocks. Where neither can be, ``search``
    finds good subnets and proves nothing; it has to be asked for. Of equal quality, the lower p50
    is better, then fewer bytes, then the name.

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
        limit: subnets to list at most where ``quality`` can rate any.
        max_measured: subnets to measure at most before a tier's best is found.
        method: one of :data:`METHODS`.
        search: how to search, if ``method`` is ``search``.
        minimize: metric that is to be least instead of the quality the greatest.
        min_quality: the least quality that is wanted. Without budgets and ``minimize``, the p50
            is to be least then.
        max_shipped_bytes: bytes of weights of all chosen subnets together, each byte once. What is
            chosen then has the greatest sum of qualities, each at most as slow as without this.
        front_points: of the front, where subnets are not listed.
        explaining: whether to explain the choice.
        seconds: for one question to the solver; then the best that is known is the answer, and
            how far off it may be is told.

    Raises:
        NothingFits: a tier that no subnet meets (exit code 3), with the nearest.
        Infeasible: what was chosen cannot be had within ``max_shipped_bytes``.
        UsageError: no quality where one is needed, too many subnets to list, an unknown name.
        MissingExtra: the solver, or what searches, is not installed.
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
    budgets = [budget for tier in tiers for budget in tier.budgets]
    goal = _goal(minimize, min_quality, budgets, quality)
    way = _method(bundle, costs, quality, limit, method, search, seconds)
    included = [space.find(name) for name in include]
    largest = [space.largest()] if any(budget.relative for budget in budgets) else []
    growing = isinstance(way, Additive | Searched)
    pool = Pool(
        [*_distinct([*largest, *included])] if growing else way.candidates(),
        () if growing else [*largest, *included],
        costs,
        partial(way.scores, progress=progress),
        [budget.metric for budget in budgets],
        goal=goal,
        measure=measure,
        progress=progress,
    )
    limits = _limits(pool, tiers, largest)
    if isinstance(way, Searched):
        _refuse_impossible(pool, way, limits)
        pool.extend(way.run(_common(limits), goal, progress))
    settled: dict[str, Settled] = {}
    picks: dict[str, list[int]] = {}
    for tier in tiers:
        bounds = limits[tier.name]
        found = _settle(pool, way, bounds, max_measured)
        if found is None:
            raise NothingFits(_shortfall(pool, way, tier.name, bounds))
        settled[tier.name] = found
        picks[tier.name] = [found.pick, *_spread(pool, way, bounds, found.pick, count - 1)]
    ship = [pool.index[subnet.name] for subnet in included]
    for i in ship:
        pool.settle(i)
    together = None
    if max_shipped_bytes is not None:
        together = choose_together(
            pool, way, bundle, limits, picks, ship, max_shipped_bytes, seconds
        )
        picks = together.picks
    shown = [*ship, *(i for chosen in picks.values() for i in chosen)]
    pool.rate([i for i in shown if i < pool.candidates])
    outcome = Outcome(bundle, pool, way, limits, picks, ship, settled, together)
    points = _front(pool, way, [budget.metric for budget in budgets], front_points)
    explanations = _explain(pool, way, space, costs, quality, outcome) if explaining else ()
    return outcome.plan(fingerprint, points, explanations)


def _goal(
    minimize: str | None,
    min_quality: float | None,
    budgets: Sequence[Budget],
    quality: Quality | None,
) -> Goal:
    if minimize is not None and minimize not in METRICS:
        raise UnknownName("metric to minimize:", minimize, METRICS)
    if quality is None and (minimize is not None or min_quality is not None):
        raise UsageError(
            "what is to be least, or a least quality, needs qualities to choose among subnets",
            "give --quality",
        )
    if min_quality is not None and not math.isfinite(min_quality):
        raise UsageError(
            f"a least quality of {min_quality} was asked for", "give --min-quality a finite number"
        )
    if min_quality is not None and minimize is None and not budgets:
        minimize = "p50"
    return Goal(minimize, min_quality)


def _method(
    bundle: Bundle,
    costs: Costs,
    quality: Quality | None,
    limit: int,
    wanted: str,
    settings: Settings | None,
    seconds: float,
) -> Method:
    space = bundle.manifest.space
    if wanted not in METHODS:
        raise UnknownName("method", wanted, METHODS)
    if quality is None and SortedPrefix.applies(space) and wanted != "search":
        return SortedPrefix(space)
    if quality is None:
        raise UsageError(
            f"the space has {space.count():,} subnets that are not one chain of prefixes: "
            "which of those that fit is best, only a quality tells",
            "give --quality FILE.csv, or --quality module:fn that evaluates a subnet",
        )
    if wanted == "search":
        manifest = sha256_file(bundle.path / MANIFEST)
        return Searched(space, costs, quality, settings or Settings(), manifest)
    listed = quality.rated() is not None or space.count() <= limit
    if not listed and isinstance(quality, AdditiveQuality) and isinstance(costs, AdditivePrices):
        return Additive(space, costs, quality, seconds)
    return Exhaustive(space, quality, limit)


def _distinct(subnets: Sequence[Subnet]) -> list[Subnet]:
    return list({subnet.name: subnet for subnet in subnets}.values())


def _limits(
    pool: Pool, tiers: Sequence[Tier], largest: Sequence[Subnet]
) -> dict[str, tuple[Limit, ...]]:
    if not largest:
        return {tier.name: resolve(tier, "", None) for tier in tiers}
    name = largest[0].name
    pool.settle(pool.index[name])
    reference = pool.cost(pool.index[name])
    return {tier.name: resolve(tier, name, reference) for tier in tiers}


def _common(limits: Mapping[str, Sequence[Limit]]) -> list[Limit]:
    """The loosest limit on each metric that every tier limits."""
    by_metric = [{limit.metric: limit for limit in tier} for tier in limits.values()]
    shared = [name for name in METRICS if all(name in tier for tier in by_metric)]
    return [max((tier[name] for tier in by_metric), key=lambda b: b.limit) for name in shared]


def _settle(pool: Pool, way: Method, limits: Sequence[Limit], max_measured: int) -> Settled | None:
    if isinstance(way, Additive):
        return settle_solved(pool, way, limits, max_measured=max_measured)
    pick = settle(pool, limits, max_measured=max_measured)
    if pick is None:
        return None
    feasible = int(np.count_nonzero(pool.over(limits) <= 0))
    proof = way.proof(feasible, pool.value(pick), pool.goal)
    gap = None if isinstance(way, Searched) else 0.0
    return Settled(
        pick, f"{proof}, measured to fit" if pool.measuring and limits else proof, gap, feasible
    )


def _spread(pool: Pool, way: Method, limits: Sequence[Limit], pick: int, count: int) -> list[int]:
    if count == 0:
        return []
    if isinstance(way, Additive):
        return spread_solved(pool, way, limits, pick, count)
    return spread(pool, limits, pick, count)


def _shortfall(pool: Pool, way: Method, tier: str, limits: Sequence[Limit]) -> Shortfall:
    if isinstance(way, Additive):
        fill_shortfall(pool, way, limits)
    elif pool.goal.floor is not None and not way.costly:
        pool.rate(range(pool.candidates))
    among = pool.candidates if way.unrated else None
    if isinstance(way, Searched):
        among = len(pool.rated())
    return shortfall(pool, tier, limits, among=among)


def _refuse_impossible(pool: Pool, way: Searched, limits: Mapping[str, Sequence[Limit]]) -> None:
    """Raise NothingFits before a search where it is proven that it would find nothing."""
    for tier, bounds in limits.items():
        pool.extend(nearest := way.extremes(bounds))
        excess = exceeded(pool.believed()[: pool.candidates], bounds)
        if nearest and (excess.max(axis=1) > 0).all():
            raise NothingFits(shortfall(pool, tier, bounds, rated=False))


def _front(pool: Pool, way: Method, metrics: Sequence[str], count: int) -> list[int]:
    if isinstance(way, Additive):
        points = np.array(grow_front(pool, way, count), dtype=np.intp)
    else:
        if not way.costly:
            pool.rate(range(pool.candidates))
        points = pool.rated()
    return [int(i) for i in front(pool, points, metrics)]


def _explain(
    pool: Pool,
    way: Method,
    space: Space,
    costs: Costs,
    quality: Quality | None,
    outcome: Outcome,
) -> tuple[Explanation, ...]:
    asker = SolveAsker(pool, way) if isinstance(way, Additive) else ListAsker(pool, way.costly)
    sums = costs.additive() if isinstance(costs, AdditivePrices) else None
    terms = quality.terms(space) if isinstance(quality, AdditiveQuality) else None
    found = []
    for tier, chosen in outcome.picks.items():
        blocks = bought(space, sums, terms, pool.subnets[chosen[0]])
        alone = chosen[0] == outcome.settled[tier].pick
        found.append(explain(pool, asker, tier, outcome.limits[tier], chosen[0], blocks, alone))
    return tuple(found)
