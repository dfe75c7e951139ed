"""Random subnets to evaluate."""

from __future__ import annotations

import itertools
import random

from hwnas.errors import UsageError
from hwnas.space import Space, Subnet

__all__ = ["sample_subnets"]

_TRIES = 10
"""Draws for each subnet that is wanted, before those that are left are listed."""
_LISTED = 100_000


def sample_subnets(space: Space, count: int, seed: int) -> list[Subnet]:
    """The largest, the smallest and random others, ``count`` in all and no two alike.

    More of one seed begin with the same ones, so that their evaluations are found again. Where the
    space has no more than ``count``, all of them.

    Raises:
        UsageError: fewer than two are asked for, or draws give too few that differ.
    """
    if count < 2:
        raise UsageError(
            f"{count} subnets are asked for", "ask for 2 or more: the extremes are among them"
        )
    rng = random.Random(seed)
    draws = itertools.chain(
        (space.largest(), space.smallest()), (space.sample(rng) for _ in range(_TRIES * count))
    )
    found: dict[str, Subnet] = {}
    wanted = min(count, space.count())
    for subnet in draws:
        found.setdefault(subnet.spec, subnet)
        if len(found) == wanted:
            return list(found.values())
    # Draws are alike in each choice, not in each subnet: some may hardly ever come.
    if space.count() > _LISTED:
        raise UsageError(
            f"{_TRIES * count:,} draws gave {len(found):,} subnets that differ, not {count:,}",
            "ask for fewer",
        )
    rest = [subnet for subnet in space.subnets() if subnet.spec not in found]
    return [*found.values(), *rng.sample(rest, wanted - len(found))]
