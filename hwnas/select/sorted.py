"""The sorted method: in a nested chain the largest subnet that fits is the best; no search.

SortedNet (arXiv 2309.00255) trains each prefix of the network as part of every larger one.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.select.protocol import Goal, Progress
from hwnas.space import Space, Subnet

__all__ = ["SortedPrefix"]


class SortedPrefix:
    """Candidates are all prefixes; a longer one is better. Follows the ``Method`` protocol."""

    name = "sorted"
    kind = None
    source = None
    unrated = 0
    costly = False

    def __init__(self, space: Space) -> None:
        self._subnets = tuple(space.subnets())
        self._size = {subnet.name: float(i) for i, subnet in enumerate(self._subnets)}

    @staticmethod
    def applies(space: Space) -> bool:
        """Whether the subnets of ``space`` are ordered by how much of each other they hold."""
        return space.count() == 1 or (space.nested and space.chain)

    def candidates(self) -> Sequence[Subnet]:
        """All prefixes, the smallest first."""
        return self._subnets

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Place in the order of sizes, from 0."""
        return [self._size[subnet.name] for subnet in subnets]

    def proof(self, feasible: int, best: float, goal: Goal) -> str:
        """That the pick is the largest."""
        return f"sorted: largest prefix that fits, {feasible} of {len(self._subnets)} fit"
