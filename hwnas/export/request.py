"""What an exporter is asked for: the subnets to ship and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.space import Subnet

__all__ = ["Wanted"]


@dataclass(frozen=True)
class Wanted:
    """A subnet to ship, with its quality and cost (ms, bytes) where a plan knows them."""

    subnet: Subnet
    quality: float | None = None
    cost: dict[str, float] = field(default_factory=dict)
