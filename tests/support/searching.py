"""A space, costs and a quality to search, small enough to know everything of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.space import (
    Dimension,
    EqualChoice,
    EquidistantDepth,
    PrefixDepth,
    Slot,
    Space,
    Subnet,
)
from hwnas.table.additive import AdditiveCosts, Linear
from hwnas.table.cost import Cost

__all__ = ["AdditiveSummedCosts", "Balanced", "SummedCosts", "everything", "staged"]


def everything() -> Space:
    """180 subnets; every kind of rule, a dimension, slots and groups that may be skipped."""
    layers = tuple(f"layers.{i}" for i in range(3))
    return Space(
        slots=(
            Slot(name="stem", choices=("s", "m"), dimensions=("r",)),
            *(Slot(name=name, choices=("h8", "h16"), dimensions=("r",)) for name in layers),
            Slot(name="tail.0", choices=("a", "b", "c"), dimensions=("r", "w")),
            Slot(name="tail.1", choices=("a", "b"), dimensions=("w",)),
            Slot(name="head", dimensions=("w", "one")),
        ),
        rules=(
            PrefixDepth(slots=layers, depths=(0, 1, 3)),
            EqualChoice(slots=layers),
            EquidistantDepth(name="t", slots=("tail.0", "tail.1"), depths=(1,)),
        ),
        dimensions=(
            Dimension(name="r", values=(32, 64, 96)),
            Dimension(name="w", values=(1, 2)),
            Dimension(name="one", values=(7,)),
        ),
    )


def staged(stages: int = 3, slots: int = 3, choices: int = 4) -> Space:
    """Stages of two to ``slots`` slots with choices ``c0`` and up, and a resolution."""
    return Space(
        slots=(
            Slot(name="stem", dimensions=("r",)),
            *(
                Slot(
                    name=f"s{i}.{j}",
                    choices=tuple(f"c{k}" for k in range(choices)),
                    dimensions=("r",),
                )
                for i in range(stages)
                for j in range(slots)
            ),
        ),
        rules=tuple(
            PrefixDepth(
                name=f"d{i}_",
                slots=tuple(f"s{i}.{j}" for j in range(slots)),
                depths=tuple(range(2, slots + 1)),
            )
            for i in range(stages)
        ),
        dimensions=(Dimension(name="r", values=(1, 2, 3)),),
    )


class SummedCosts:
    """Follows ``hwnas.select.Costs``; random ms per block, with a maximum in the memory."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.space = space
        self.index = {pair: i for i, pair in enumerate(space.blocks)}
        slots = list(dict.fromkeys(slot for slot, _ in self.index))
        # Later choices and larger values cost more, as they do.
        places = np.array([space.written(slot).index(w) for slot, w in self.index])
        self.ms = 1.0 + places + rng.uniform(0, 0.5, len(places))
        self.peak = 100.0 * (1 + places) + np.array([slots.index(slot) for slot, _ in self.index])

    def _blocks(self, subnet: Subnet) -> list[int]:
        return [self.index[pair] for pair in subnet.choices.items()]

    def cost(self, subnet: Subnet) -> Cost:
        blocks = self._blocks(subnet)
        p50 = 0.5 + float(self.ms[blocks].sum())
        return Cost(p50, 1.5 * p50, 50 * len(blocks) + float(self.peak[blocks].max()), 1000)

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        return [self.cost(subnet) for subnet in subnets]

    def measured(self, subnet: Subnet) -> None:
        return None


class AdditiveSummedCosts(SummedCosts):
    """The same, and says how it is made up; but not of p95."""

    def additive(self) -> AdditiveCosts:
        size = len(self.ms)
        return AdditiveCosts(
            self.space.blocks,
            {
                "p50": Linear(0.5, self.ms),
                "memory": Linear(0.0, np.full(size, 50.0), self.peak),
                "p95": None,
            },
            (),
        )


class Balanced:
    """Follows ``hwnas.select.Quality``: more is better, but only where all slots have alike.

    Not additive: what a choice is worth depends on all others. Remembers what it evaluated.
    """

    kind = "function"
    source = "balance"

    def __init__(self, space: Space) -> None:
        self.space = space
        self.evaluated: list[str] = []

    def rated(self) -> None:
        return None

    def value(self, subnet: Subnet) -> float:
        parts = self.space.parts(subnet)
        levels = [self.space.slot(s).choices.index(c) for s, c in parts.choices.items()]
        levels = [level for s, level in zip(parts.choices, levels, strict=True) if s != "stem"]
        total = sum(levels) + 3 * sum(parts.depths.values()) + 5 * parts.dimensions.get("r", 0)
        return 50.0 + 8 * float(np.log1p(total)) - 2 * float(np.std(levels))

    def scores(self, subnets: Sequence[Subnet], progress: object = None) -> list[float]:
        self.evaluated += [subnet.spec for subnet in subnets]
        return [self.value(subnet) for subnet in subnets]
