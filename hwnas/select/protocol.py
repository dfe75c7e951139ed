"""What selection asks of others: what a subnet costs, how good it is, and a measurement.

All are called from the thread that called :func:`hwnas.select.select`, one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hwnas.space import Space, Subnet
from hwnas.table.additive import AdditiveCosts
from hwnas.table.cost import Cost

__all__ = [
    "AdditivePrices",
    "AdditiveQuality",
    "Costs",
    "Goal",
    "Measure",
    "Method",
    "Progress",
    "Quality",
    "Terms",
]

Measure = Callable[[Subnet], Cost]
"""Measures one subnet whole on the device. What it raises ends the selection."""

Progress = Callable[[str, int, int], None]
"""Called with a stage (``quality`` or ``measure``), how many are done, and of how many.

The total of ``measure`` is 0: how many it takes is known only at the end.
"""


class Costs(Protocol):
    """Prices of subnets on one device, such as a lookup table's cost model."""

    def cost(self, subnet: Subnet) -> Cost:
        """Measured if there is a whole measurement, else predicted."""

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        """Predicted cost of each, in one vectorised call."""

    def measured(self, subnet: Subnet) -> Cost | None:
        """The whole measurement of ``subnet``, if there is one."""


class Quality(Protocol):
    """How good subnets are: a number each, higher is better."""

    @property
    def kind(self) -> str:
        """What kind of number it is, such as ``measured table``; recorded in the plan."""

    @property
    def source(self) -> str:
        """Where it comes from; recorded in the plan."""

    def rated(self) -> Sequence[Subnet] | None:
        """The subnets that have a number, in a fixed order; None if any can be evaluated."""

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """A finite number for each of ``subnets``, which are among :meth:`rated`."""


@dataclass(frozen=True)
class Goal:
    """What makes one subnet better than another.

    Attributes:
        minimize: the metric that is to be least; None for the greatest quality.
        floor: the least quality that a subnet may have.
    """

    minimize: str | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Terms:
    """A quality that is a sum over blocks.

    Attributes:
        constant: what every subnet has.
        per_block: (slot, choice as written) to what the block adds; every block of the space.
    """

    constant: float
    per_block: Mapping[tuple[str, str], float]


@runtime_checkable
class AdditiveQuality(Quality, Protocol):
    """A quality that is a sum over blocks: the best subnet is then found without listing any."""

    def terms(self, space: Space) -> Terms:
        """The sum: :meth:`scores` to rounding, for every subnet of ``space``."""


@runtime_checkable
class AdditivePrices(Costs, Protocol):
    """Prices that are sums over blocks, such as those of a lookup table's cost model."""

    def additive(self) -> AdditiveCosts:
        """The sums: :meth:`predict_many` to rounding, for every subnet."""


class Method(Protocol):
    """A way of selecting: which subnets are candidates, which is better, and what that proves."""

    @property
    def name(self) -> str:
        """Recorded in the plan."""

    @property
    def kind(self) -> str | None:
        """What kind of number qualities are; None if the order of sizes stands in for them."""

    @property
    def source(self) -> str | None:
        """Where qualities come from; None if the order of sizes stands in for them."""

    @property
    def unrated(self) -> int:
        """Subnets of the space that are not candidates because their quality is not known."""

    @property
    def costly(self) -> bool:
        """Whether scores take time: then only candidates whose rank matters are scored."""

    def candidates(self) -> Sequence[Subnet]:
        """Every subnet that may be chosen, in a fixed order."""

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """A finite number for each candidate, higher is better."""

    def proof(self, feasible: int, best: float, goal: Goal) -> str:
        """What is proven of a pick with score ``best`` among ``feasible`` candidates."""
