"""What an exporter is asked for: the subnets to ship and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.link.norms import OwnNorms
from hwnas.space import Subnet

__all__ = ["Wanted"]


@dataclass(frozen=True)
class Wanted:
    """A subnet to ship.

    Attributes:
        subnet: which.
        quality: as in the plan.
        cost: as in the plan, where it knows them: ms and bytes.
        norms: normalisation statistics of its own, and how they are linked.
    """

    subnet: Subnet
    quality: float | None = None
    cost: dict[str, float] = field(default_factory=dict)
    norms: OwnNorms | None = None
