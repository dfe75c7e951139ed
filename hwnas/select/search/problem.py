"""What is searched: rows of integers, what each costs, and which budgets it meets.

Costs are known of every subnet before its quality is, and cost next to nothing to know. A subnet
that breaks a budget is therefore never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwnas.errors import Infeasible, TableError, shorten
from hwnas.select.budgets import Limit
from hwnas.select.pool import exceeded
from hwnas.select.protocol import Costs
from hwnas.select.search.encoding import Encoding, Genomes, keys
from hwnas.select.search.pricing import Pricing, pricing
from hwnas.select.units import show
from hwnas.space import Space
from hwnas.table.cost import METRICS

__all__ = ["Problem"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_STEPS = 400
"""Single changes tried on a random subnet to bring it within the budgets."""
_VAIN = 4
"""Draws of a whole batch that give nothing new before what is left of the space is listed."""
_LISTED = 100_000
"""Spaces of up to so many subnets can be listed."""
_ABOVE_ZERO = ("p50", "p95")


class Problem:
    """Costs and budgets of one search. Used from one thread, as costs are.

    Args:
        space: searched.
        costs: prices of its subnets.
        objectives: metrics to be small, one at least.
        limits: budgets to be met.

    Attributes:
        encoding: of the space.
    """

    def __init__(
        self, space: Space, costs: Costs, objectives: Sequence[str], limits: Sequence[Limit]
    ) -> None:
        self.encoding = Encoding(space)
        self.objectives = tuple(objectives)
        self.limits = tuple(limits)
        wanted = {*objectives, *(limit.metric for limit in limits)}
        self._metrics = tuple(name for name in METRICS if name in wanted)
        self._columns = [self._metrics.index(name) for name in self.objectives]
        self._pricing: Pricing = pricing(self.encoding, costs, self._metrics)

    def prices(self, genomes: Genomes) -> tuple[Floats, Floats]:
        """[n, objectives]: their values; [n]: the worst excess over a budget, 0 or less if met.

        Raises:
            TableError: a cost is not known, or not possible.
        """
        table = self._pricing(genomes)
        for column, name in enumerate(self._metrics):
            values = table[:, column]
            low = values <= 0 if name in _ABOVE_ZERO else values < 0
            wrong = np.flatnonzero(~np.isfinite(values) | low)
            if len(wrong):
                named = shorten((s.name for s in self.encoding.decode(genomes[wrong[:12]])), 3)
                raise TableError(
                    f"{name} is not known of {named} (the table gives {values[wrong[0]]:g})",
                    f"search without {name}, or profile where it can be measured",
                )
        full = np.full((len(table), len(METRICS)), np.nan)
        full[:, [METRICS.index(name) for name in self._metrics]] = table
        over = exceeded(full, self.limits).max(axis=1, initial=-np.inf)
        return table[:, self._columns], over

    def draw(self, count: int, rng: np.random.Generator, seen: set[bytes]) -> Genomes:
        """Up to ``count`` random subnets that meet the budgets, none of them ``seen``.

        Each value, depth and choice is drawn alike; a subnet that breaks a budget then gets single
        random changes that bring it nearer. Fewer than ``count`` if there are no more, or, in a
        space too large to list, if several draws gave nothing new.

        Raises:
            Infeasible: nothing that meets the budgets was found, though nothing was seen.
        """
        found: list[npt.NDArray[np.int64]] = []
        taken = set(seen)
        nearest, vain = np.inf, 0
        while len(found) < count and vain < _VAIN:
            drawn = self.encoding.sample(max(count - len(found), 8), rng)
            drawn, over = self._descend(drawn, rng)
            nearest = min(nearest, float(over.min()))
            before = len(found)
            for key, row, excess in zip(keys(drawn), drawn, over, strict=True):
                if excess <= 0 and key not in taken and len(found) < count:
                    taken.add(key)
                    found.append(row)
            vain = vain + 1 if len(found) == before else 0
        if len(found) < count:
            found += self._rest(count - len(found), rng, taken)
        if not found and not seen:
            raise self._infeasible(nearest)
        return np.array(found, dtype=np.int64).reshape(len(found), self.encoding.genes)

    def _descend(self, genomes: Genomes, rng: np.random.Generator) -> tuple[Genomes, Floats]:
        _, over = self.prices(genomes)
        genomes = genomes.copy()
        for _ in range(_STEPS if self.encoding.genes else 0):
            rows = np.flatnonzero(over > 0)
            if len(rows) == 0:
                break
            tried = genomes[rows]
            gene = rng.integers(0, self.encoding.genes, len(rows))
            tried[np.arange(len(rows)), gene] = rng.integers(0, self.encoding.sizes[gene])
            tried = self.encoding.canonical(tried)
            _, now = self.prices(tried)
            # Of equal excess too: a maximum does not show a change of what is not the largest.
            better = now <= over[rows]
            genomes[rows[better]], over[rows[better]] = tried[better], now[better]
        return genomes, over

    def _rest(
        self, count: int, rng: np.random.Generator, taken: set[bytes]
    ) -> list[npt.NDArray[np.int64]]:
        """Up to ``count`` of those that random draws did not find, where they can be listed."""
        space = self.encoding.space
        if space.count() > _LISTED:
            return []
        genomes = self.encoding.encode(list(space.subnets()))
        _, over = self.prices(genomes)
        fits = over <= 0
        left = [
            row
            for row, key in zip(genomes[fits], keys(genomes[fits]), strict=True)
            if key not in taken
        ]
        return [left[i] for i in rng.permutation(len(left))[:count]]

    def unseen(self, seen: set[bytes]) -> Callable[[Genomes], Mask]:
        """A test of rows: meets the budgets, and is neither ``seen`` nor equal to a row before."""

        def test(genomes: Genomes) -> Mask:
            taken = set(seen)
            new = np.zeros(len(genomes), dtype=np.bool_)
            for i, key in enumerate(keys(genomes)):
                new[i] = key not in taken
                taken.add(key)
            if self.limits and new.any():
                _, over = self.prices(genomes[new])
                new[new] = over <= 0
            return new

        return test

    def _infeasible(self, nearest: float) -> Infeasible:
        budgets = ", ".join(f"{b.metric} <= {show(b.metric, b.limit)}" for b in self.limits)
        return Infeasible(
            f"no subnet that meets {budgets} was found: the nearest exceeds a budget by "
            f"{nearest:.1%}",
            "loosen the budgets; 'hwnas select' with a measured table or an additive quality says "
            "which one binds",
        )
