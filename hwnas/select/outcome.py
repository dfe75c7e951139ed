"""What a selection came to, written down as a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from hwnas._version import __version__
from hwnas.bundle import MANIFEST, Bundle, bytes_used
from hwnas.files import sha256_file
from hwnas.select.additive import Additive
from hwnas.select.budgets import Limit
from hwnas.select.explanation import Explanation
from hwnas.select.grow import Settled
from hwnas.select.plan import Chosen, FrontPoint, Plan, PlanCost, Shipped, TierPlan
from hwnas.select.pool import Pool
from hwnas.select.protocol import Method
from hwnas.select.shipped import Together

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Everything that was decided.

    Attributes:
        bundle: whose subnets.
        pool: all subnets that mattered, by index.
        method: the way they were found.
        limits: by tier.
        picks: by tier, the best first.
        ship: what ships anyway.
        settled: by tier, what its best on its own is, and what is proven of that.
        together: how all were chosen together, if there was a budget for that.
    """

    bundle: Bundle
    pool: Pool
    method: Method
    limits: Mapping[str, tuple[Limit, ...]]
    picks: Mapping[str, Sequence[int]]
    ship: Sequence[int]
    settled: Mapping[str, Settled]
    together: Together | None

    def plan(
        self,
        fingerprint: Mapping[str, JsonValue] | None,
        points: Sequence[int],
        explanations: tuple[Explanation, ...],
    ) -> Plan:
        """The plan.

        Args:
            fingerprint: of the device.
            points: of the front, best first.
            explanations: tier by tier.
        """
        pool, method = self.pool, self.method
        answers = tuple(map(self._answer, self.picks))
        factors = pool.correction().items()
        chosen = self._chosen()
        solved = isinstance(method, Additive)
        return Plan(
            hwnas=__version__,
            bundle_sha256=sha256_file(self.bundle.path / MANIFEST),
            fingerprint=None if fingerprint is None else dict(fingerprint),
            method=method.name,
            solver=method.solver if isinstance(method, Additive) else None,
            proof="; ".join(f"{answer.name}: {answer.proof}" for answer in answers),
            quality_kind=method.kind,
            quality_source=method.source,
            minimize=pool.goal.minimize,
            min_quality=pool.goal.floor,
            candidates=self.bundle.manifest.space.count() if solved else pool.candidates,
            unrated=method.unrated,
            measured=pool.count,
            correction={metric: factor for metric, factor in factors if factor != 1.0},
            tiers=answers,
            subnets=chosen,
            front=tuple(map(self._point, points)),
            shipped=self._shipped(chosen),
            explanations=explanations,
        )

    def _answer(self, tier: str) -> TierPlan:
        first, *more = (self.pool.subnets[i].name for i in self.picks[tier])
        alone, together = self.settled[tier], self.together
        proof, gap = alone.proof, alone.gap
        if together is not None and together.gap is not None:
            proof, gap = together.proof, None
        elif together is not None:
            proof = f"{proof}; {together.proof}"
        return TierPlan(
            name=tier,
            limits=self.limits[tier],
            subnet=first,
            more=tuple(more),
            feasible=alone.feasible,
            proof=proof,
            gap=gap,
        )

    def _quality(self, i: int) -> float | None:
        return None if self.method.source is None else self.pool.score(i)

    def _chosen(self) -> tuple[Chosen, ...]:
        best = [chosen[0] for chosen in self.picks.values()]
        more = [i for chosen in self.picks.values() for i in chosen[1:]]
        entries = []
        for i in dict.fromkeys([*best, *more, *self.ship]):
            subnet, measured = self.pool.subnets[i], self.pool.measured.get(i)
            entries.append(
                Chosen(
                    name=subnet.name,
                    spec=subnet.spec,
                    choices=subnet.choices,
                    quality=self._quality(i),
                    predicted=PlanCost.of(self.pool.predicted[i]),
                    measured=None if measured is None else PlanCost.of(measured),
                    tiers=tuple(name for name, chosen in self.picks.items() if i in chosen),
                    included=i in self.ship,
                )
            )
        return tuple(entries)

    def _shipped(self, chosen: Sequence[Chosen]) -> Shipped:
        blocks = self.bundle.manifest.blocks
        units = dict.fromkeys(unit for entry in chosen for unit in entry.subnet.blocks)
        return Shipped(
            union=bytes_used([blocks[unit] for unit in units]),
            parts=sum(self.bundle.weight_bytes(entry.subnet) for entry in chosen),
            limit=None if self.together is None else self.together.limit,
        )

    def _point(self, i: int) -> FrontPoint:
        return FrontPoint(
            subnet=self.pool.subnets[i].name,
            quality=self._quality(i),
            cost=PlanCost.of(self.pool.cost(i)),
        )
