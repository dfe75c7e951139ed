"""The exact method where costs and quality are sums: subnets are solved for, not listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from hwnas.select.budgets import Limit
from hwnas.select.exact import value_of
from hwnas.select.milp import SECONDS, AdditiveProblem, Best, Query, solver
from hwnas.select.protocol import AdditivePrices, AdditiveQuality, Goal, Progress
from hwnas.space import Space, Subnet

__all__ = ["Additive", "corrected", "counted", "nearest_subnets"]


class Additive:
    """Every subnet of the space may be chosen, and none is listed. Follows ``Method``.

    Args:
        space: of any size.
        costs: prices as sums over blocks.
        quality: ratings as sums over blocks.
        seconds: for one question to the solver.

    Raises:
        MissingExtra: the solver is not installed.
        TableError: a block has no cost or no quality.

    Attributes:
        problem: the space, its costs and its quality.
    """

    name = "exact"
    unrated = 0
    costly = False

    def __init__(
        self,
        space: Space,
        costs: AdditivePrices,
        quality: AdditiveQuality,
        seconds: float = SECONDS,
    ) -> None:
        self.solver = solver()
        self.kind, self.source = quality.kind, quality.source
        self.problem = AdditiveProblem(space, costs.additive(), quality.terms(space))
        self.count = space.count()
        self._quality, self._seconds = quality, seconds

    def candidates(self) -> Sequence[Subnet]:
        """None: those that matter are found one by one."""
        return ()

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Their quality."""
        return self._quality.scores(subnets, progress)

    def best(
        self,
        limits: Sequence[Limit],
        goal: Goal,
        factors: Mapping[str, float],
        without: Sequence[Subnet] = (),
    ) -> Best | None:
        """The best subnet whose predictions times ``factors`` meet ``limits``; None if none do.

        Raises:
            HwnasError: time was up before that was known.
        """
        query = Query(corrected(limits, factors), goal.floor, goal.minimize, tuple(without))
        return self.problem.best(query, (), self._seconds)

    def quickest(
        self, limits: Sequence[Limit], goal: Goal, factors: Mapping[str, float]
    ) -> Subnet | None:
        """The subnet of least p50 that meets ``limits``; None if none does."""
        query = Query(corrected(limits, factors), goal.floor, "p50")
        best = self.problem.best(query, (), self._seconds)
        return None if best is None else best.subnet

    def nearest(self, limits: Sequence[Limit], goal: Goal, factors: Mapping[str, float]) -> Subnet:
        """The subnet whose worst excess over ``limits`` is the least."""
        return self.problem.nearest(corrected(limits, factors), goal.floor, self._seconds)

    def extremes(
        self, limits: Sequence[Limit], goal: Goal, factors: Mapping[str, float]
    ) -> list[Subnet]:
        """The nearest, and for each limit what is best in its metric with all others met."""
        bounds = corrected(limits, factors)
        return nearest_subnets(self.problem, bounds, goal.floor, self._seconds)

    def proof(self, feasible: int, best: float, goal: Goal) -> str:
        """That nothing else is better, as far as that is known of every pick."""
        return f"exact: optimum of {counted(self.count)} subnets, {value_of(goal, best)}"


def nearest_subnets(
    problem: AdditiveProblem,
    bounds: Mapping[str, float],
    floor: float | None = None,
    seconds: float = SECONDS,
) -> list[Subnet]:
    """The nearest to all bounds, and for each what is best in its metric with all others met."""
    found = [problem.nearest(bounds, floor, seconds)]
    queries = [
        Query({name: most for name, most in bounds.items() if name != metric}, floor, metric)
        for metric in bounds
    ]
    queries += [] if floor is None else [Query(bounds)]
    answers = (problem.best(query, (), seconds) for query in queries)
    return found + [best.subnet for best in answers if best is not None]


def corrected(limits: Sequence[Limit], factors: Mapping[str, float]) -> dict[str, float]:
    """Limits on predictions, which are believed after multiplication by ``factors``."""
    return {limit.metric: limit.limit / factors.get(limit.metric, 1.0) for limit in limits}


def counted(count: int) -> str:
    """A number of subnets, for people: ``87,380`` or ``2.19e+19``."""
    return f"{count:,}" if count < 10**9 else f"{Decimal(count):.2e}"
