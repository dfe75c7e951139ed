"""The exact method: every candidate is priced, every one that fits is rated, the best is taken."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.errors import UsageError
from hwnas.select.protocol import Goal, Progress, Quality
from hwnas.select.units import show
from hwnas.space import Space, Subnet

__all__ = ["ENUMERATION_LIMIT", "Exhaustive", "value_of"]

ENUMERATION_LIMIT = 100_000
"""Subnets of a space that are listed at most; listing takes some 50 us and 3 kB each."""


_SLOW = "function"


class Exhaustive:
    """Candidates are the rated subnets, or all of the space. Follows the ``Method`` protocol.

    Args:
        space: whose subnets.
        quality: rates them.
        limit: of subnets to list where ``quality`` can rate any.

    Raises:
        UsageError: there are more than ``limit``.
    """

    name = "exact"

    def __init__(self, space: Space, quality: Quality, limit: int = ENUMERATION_LIMIT) -> None:
        rated = quality.rated()
        total = space.count()
        if rated is None and total > limit:
            raise UsageError(
                f"the space has {total:,} subnets, and at most {limit:,} are listed to be "
                f"evaluated with a {quality.kind}",
                "give a table of subnets that were evaluated (--quality FILE.csv), a quality that "
                "is a sum over blocks (docs/quality.md), or search: --method search",
            )
        self._quality = quality
        self._subnets = tuple(space.subnets()) if rated is None else tuple(rated)
        self.kind, self.source = quality.kind, quality.source
        # Predictors rate thousands at once; a user's function may take minutes for one.
        self.costly = rated is None and quality.kind == _SLOW
        self._whole = rated is None
        self.unrated = total - len(self._subnets)

    def candidates(self) -> Sequence[Subnet]:
        """The rated subnets in the table's order, or all in the order of the space."""
        return self._subnets

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Their quality."""
        return self._quality.scores(subnets, progress)

    def proof(self, feasible: int, best: float, goal: Goal) -> str:
        """How many were priced and how many fit; over what the answer is exact."""
        count = f"{len(self._subnets):,}"
        if not self._whole and self.unrated:
            priced = (
                f"exact over the table: the {count} rated of {len(self._subnets) + self.unrated:,}"
            )
        else:
            priced = f"exact: all {count}"
        return f"{priced} subnets priced, {feasible:,} feasible, {value_of(goal, best)}"


def value_of(goal: Goal, value: float) -> str:
    """What was reached, in words: ``best quality 0.9`` or ``least p50 8 ms``."""
    if goal.minimize is None:
        return f"best quality {value:.6g}"
    return f"least {goal.minimize} {show(goal.minimize, value)}"
