"""Bytes of weights of many subnets: a sum over blocks, corrected for what slots share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Block, WeightRange, bytes_used

__all__ = ["WeightBytes"]


class WeightBytes:
    """Counts each byte once, like ``Bundle.weight_bytes``, but fast for many subnets.

    A subnet has one block per slot, so a tensor that only one slot's blocks use just adds up.
    Tensors that several slots use (tied weights) are counted per subnet.
    """

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        units = list(blocks.values())
        slots: dict[str, set[str]] = {}
        for block in units:
            for used in block.weights:
                slots.setdefault(used.tensor, set()).add(block.slot)
        tied = {tensor for tensor, users in slots.items() if len(users) > 1}
        self._tied = [tuple(w for w in block.weights if w.tensor in tied) for block in units]
        self._own = np.array([bytes_used([_only(block, tied)]) for block in units], dtype=np.int64)
        self._units = units
        self._count_tied = lru_cache(maxsize=65536)(self._count)

    def of(self, blocks: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.int64]:
        """Bytes per subnet, shape (subnets,).

        Args:
            blocks: numbers of the subnets' blocks, one subnet after the other, shape (calls,).
            counts: how many blocks each subnet has, shape (subnets,).
        """
        stops = np.cumsum(counts)
        summed = np.zeros(len(blocks) + 1, dtype=np.int64)
        np.cumsum(self._own[blocks], out=summed[1:])
        total: NDArray[np.int64] = summed[stops] - summed[stops - counts]
        if any(self._tied):
            spans = zip((stops - counts).tolist(), stops.tolist(), strict=True)
            tied = [self._tied_bytes(blocks[a:b].tolist()) for a, b in spans]
            total += np.array(tied, dtype=np.int64)
        return total

    def _tied_bytes(self, blocks: Sequence[int]) -> int:
        users = tuple(i for i in blocks if self._tied[i])
        return self._count_tied(users) if users else 0

    def _count(self, users: tuple[int, ...]) -> int:
        return bytes_used(
            [self._units[i].model_copy(update={"weights": self._tied[i]}) for i in users]
        )


def _only(block: Block, tied: set[str]) -> Block:
    own: tuple[WeightRange, ...] = tuple(w for w in block.weights if w.tensor not in tied)
    return block.model_copy(update={"weights": own})
