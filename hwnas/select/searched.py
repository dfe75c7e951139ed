"""The search method: candidates are what a search evaluated; nothing is proven beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.select.additive import counted, nearest_subnets
from hwnas.select.budgets import Limit
from hwnas.select.exact import value_of
from hwnas.select.milp import AdditiveProblem, Query
from hwnas.select.protocol import AdditivePrices, AdditiveQuality, Costs, Goal, Progress, Quality
from hwnas.space import Space, Subnet

__all__ = ["Searched", "Settings"]

_STARTS = 20
"""Points of the surrogate's exact front that a search starts from."""


@dataclass(frozen=True)
class Settings:
    """How to search; see :func:`hwnas.select.search.search`.

    Attributes:
        strategy: ``linas``, ``nsga2`` or ``random``.
        evaluations: subnets whose quality is evaluated at most.
        seed: of all that is drawn.
        jobs: processes that evaluate.
        state: file to go on from if the search is cut off.
        history: file for the hypervolume after each evaluation.
    """

    strategy: str = "linas"
    evaluations: int = 500
    seed: int = 0
    jobs: int = 1
    state: Path | None = None
    history: Path | None = None


class Searched:
    """Follows ``Method``; :meth:`run` is to be called before anything is chosen.

    Args:
        space: of any size.
        costs: prices.
        quality: can rate any subnet.
        settings: of the search.
        bundle_sha256: of the manifest; what a search kept belongs to it.
    """

    name = "search"
    unrated = 0
    costly = True

    def __init__(
        self,
        space: Space,
        costs: Costs,
        quality: Quality,
        settings: Settings,
        bundle_sha256: str,
    ) -> None:
        self._space, self._costs, self._quality = space, costs, quality
        self._settings, self._bundle = settings, bundle_sha256
        self.kind, self.source = quality.kind, quality.source
        self._known: dict[str, float] = {}

    def candidates(self) -> Sequence[Subnet]:
        """None before :meth:`run`."""
        return ()

    def extremes(self, limits: Sequence[Limit]) -> Sequence[Subnet]:
        """What is predicted to come nearest to ``limits``, if it is proven that nothing meets them.

        In no order; none where something meets them, or costs are no sums over blocks.
        """
        if not limits or not isinstance(self._costs, AdditivePrices):
            return ()
        problem = AdditiveProblem(self._space, self._costs.additive())
        bounds = {limit.metric: limit.limit for limit in limits}
        if problem.best(Query(bounds, minimize="p50")) is not None:
            return ()
        return nearest_subnets(problem, bounds)

    def run(
        self, limits: Sequence[Limit], goal: Goal, progress: Progress | None
    ) -> Sequence[Subnet]:
        """Search among what is predicted to meet ``limits``; gives what was evaluated.

        Raises:
            Infeasible: nothing that meets them was found.
            HwnasError: as :func:`hwnas.select.search.search`.
        """
        from hwnas.select.search import check_history, search, write_history

        settings, costs = self._settings, self._costs
        if settings.history is not None:
            check_history(settings.history)

        def solve(surrogate: AdditiveQuality) -> list[Subnet]:
            assert isinstance(costs, AdditivePrices)
            problem = AdditiveProblem(self._space, costs.additive(), surrogate.terms(self._space))
            return _front(problem, limits)

        found = search(
            self._space,
            costs,
            self._quality,
            evaluations=settings.evaluations,
            method=settings.strategy,
            objectives=(goal.minimize or "p50",),
            limits=limits,
            min_quality=goal.floor,
            seed=settings.seed,
            solve=solve
            if settings.strategy != "random" and isinstance(costs, AdditivePrices)
            else None,
            jobs=settings.jobs,
            state=settings.state,
            identity={"bundle": self._bundle},
            progress=progress,
        )
        if settings.history is not None:
            write_history(found, settings.history)
        self._known = {subnet.name: value for subnet, value in found.evaluated}
        return found.subnets

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Their quality; what the search evaluated is not evaluated again."""
        new = [subnet for subnet in subnets if subnet.name not in self._known]
        if new:
            found = self._quality.scores(new, progress)
            self._known |= {subnet.name: x for subnet, x in zip(new, found, strict=True)}
        return [self._known[subnet.name] for subnet in subnets]

    def proof(self, feasible: int, best: float, goal: Goal) -> str:
        """That nothing is: the best of what was evaluated."""
        return (
            f"search: best of {len(self._known):,} evaluated of {counted(self._space.count())} "
            f"subnets, not proven, {feasible:,} feasible, {value_of(goal, best)}"
        )


def _front(problem: AdditiveProblem, limits: Sequence[Limit]) -> list[Subnet]:
    """The best subnets by a surrogate at evenly spaced p50 that meet ``limits``."""
    bounds = {limit.metric: limit.limit for limit in limits}
    top = problem.best(Query(bounds))
    low = problem.best(Query(bounds, minimize="p50"))
    if top is None or low is None:
        return []
    found = [top.subnet]
    high = problem.value("p50", top.subnet)
    for i in range(_STARTS - 1):
        at = low.value * (1 + 1e-12) + (high - low.value) * i / (_STARTS - 1)
        best = problem.best(Query(bounds | {"p50": at}))
        found += [best.subnet] if best else []
    return list({subnet.name: subnet for subnet in found}.values())
