"""Which whole subnets to measure, before anything is measured; and others, to check predictions.

A fit needs subnets that differ in whatever may matter. What is known ahead of a subnet is how many
blocks of each kind it has, and how much weights and activations these read and write.
Subnets are added one by one, each where the model would be least sure without it, which is greedy
D-optimal design (Fedorov, Theory of Optimal Experiments, 1972) with a ridge, since there are more
kinds than subnets.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle, bytes_used
from hwnas.space import Space, Subnet

__all__ = ["choose", "holdout"]

_POOL = 256
"""Random candidates; more of them find hardly better designs."""

_LISTED = 2000
"""Spaces of at most so many subnets are listed."""

_RIDGE = 1e-2


def choose(bundle: Bundle, count: int, seed: int = 0) -> list[Subnet]:
    """The subnets to measure whole for a calibration: smallest, largest, then the most telling.

    Args:
        bundle: of form ``space``.
        count: how many; fewer come back where the space has no more.
        seed: of the candidates; the same seed gives the same subnets.
    """
    space = bundle.manifest.space
    pool = _distinct([space.smallest(), space.largest(), *_candidates(space, seed)])
    return [pool[i] for i in _spread(_features(bundle, pool), count)]


def _spread(features: NDArray[np.float64], count: int) -> list[int]:
    """Numbers of the rows of a design: the first two, then each time the least certain one."""
    count = min(count, len(features))
    chosen = list(range(min(2, count)))
    inverse = np.eye(features.shape[1]) / _RIDGE
    for i in chosen:
        inverse = _added(inverse, features[i])
    while len(chosen) < count:
        unsure = np.einsum("ij,jk,ik->i", features, inverse, features)
        unsure[chosen] = -1
        best = int(np.argmax(unsure))
        chosen.append(best)
        inverse = _added(inverse, features[best])
    return chosen


def holdout(
    bundle: Bundle, count: int, exclude: Collection[Subnet] = (), seed: int = 0
) -> list[Subnet]:
    """Random subnets to check predictions on, none of ``exclude`` nor equal to one in kind.

    Fewer than ``count`` come back where the space has no more.
    """
    space = bundle.manifest.space
    seen = {bundle.subnet_kind(subnet) for subnet in exclude}
    found: list[Subnet] = []
    # Another stream than that of the candidates, or the two would draw the same subnets.
    for subnet in _candidates(space, seed + 1):
        kind = bundle.subnet_kind(subnet)
        if len(found) < count and kind not in seen:
            seen.add(kind)
            found.append(subnet)
    return found


def _candidates(space: Space, seed: int) -> list[Subnet]:
    rng = random.Random(seed)
    if space.count() <= _LISTED:
        every = list(space.subnets())
        rng.shuffle(every)
        return every
    return _distinct([space.sample(rng) for _ in range(_POOL)])


def _distinct(subnets: Sequence[Subnet]) -> list[Subnet]:
    return list({subnet.spec: subnet for subnet in subnets}.values())


def _features(bundle: Bundle, subnets: Sequence[Subnet]) -> NDArray[np.float64]:
    """What is known ahead, each column with spread 1, shape (subnets, features).

    Sums as logarithms, since errors are relative. Shares of kinds together weigh as much as one of
    them: a model has weights for sums, but the sums must not all come from the same kinds.
    """
    blocks = bundle.manifest.blocks
    kinds = {kind: i for i, kind in enumerate(bundle.kinds())}
    moved = {
        unit: (
            1.0,
            float(bytes_used([block])),
            float(sum(np.prod(spec.shape) for spec in (*block.inputs, *block.outputs))),
        )
        for unit, block in blocks.items()
    }
    sums = np.array([np.sum([moved[unit] for unit in s.blocks], axis=0) for s in subnets])
    shares = np.zeros((len(subnets), len(kinds)))
    for row, subnet in enumerate(subnets):
        for unit in subnet.blocks:
            shares[row, kinds[blocks[unit].kind]] += 1 / len(subnet.blocks)
    constant = np.ones((len(subnets), 1))
    return np.hstack([constant, _scaled(np.log1p(sums)), _scaled(shares) / np.sqrt(len(kinds))])


def _scaled(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = columns.std(axis=0)
    scaled: NDArray[np.float64] = (columns - columns.mean(axis=0)) / np.where(spread, spread, 1.0)
    return scaled


def _added(inverse: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse after another row, by Sherman and Morrison."""
    moved = inverse @ row
    added: NDArray[np.float64] = inverse - np.outer(moved, moved) / (1 + row @ moved)
    return added
