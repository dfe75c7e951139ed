"""Bytes of weights of many subnets: each byte counted once, also those that slots share.

Stored tensors are cut into *atoms*, the parts that exactly the same blocks use. Whatever blocks are
chosen, they use together the sum of the atoms that at least one of them uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Block

__all__ = ["Atom", "WeightBytes", "cut_atoms"]

Atom = tuple[int, tuple[int, ...]]
"""Bytes of weights, and the numbers of the blocks that use them, ascending."""

_AT_ONCE = 1 << 24
"""Cells of the table of which subnet uses which atom that are made at a time."""


def cut_atoms(blocks: Mapping[str, Block]) -> tuple[Atom, ...]:
    """Cut stored tensors at all ends of what blocks use of them; merge what the same blocks use."""
    ranges: dict[str, dict[tuple[int, int], list[int]]] = {}
    for number, block in enumerate(blocks.values()):
        for used in block.weights:
            spans = ranges.setdefault(used.tensor, {})
            spans.setdefault((used.offset, used.offset + used.length), []).append(number)
    sizes: Counter[tuple[int, ...]] = Counter()
    for spans in ranges.values():
        begin: dict[int, list[int]] = {}
        end: dict[int, list[int]] = {}
        for (start, stop), users in spans.items():
            begin.setdefault(start, []).extend(users)
            end.setdefault(stop, []).extend(users)
        using: Counter[int] = Counter()  # a block may name the same bytes twice
        for place, following in pairwise(sorted({*begin, *end})):
            using.update(begin.get(place, ()))
            using.subtract(end.get(place, ()))
            now = tuple(sorted(number for number, times in using.items() if times > 0))
            if now:
                sizes[now] += following - place
    return tuple((size, users) for users, size in sorted(sizes.items()))


class WeightBytes:
    """Counts each byte once, like ``Bundle.weight_bytes``, but fast for many subnets.

    A subnet has one block per slot, so an atom that only one slot's blocks use just adds up. Atoms
    that several slots use (tied weights) are looked for in each subnet.

    Attributes:
        atoms: of all blocks.
    """

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        slots = [block.slot for block in blocks.values()]
        self.atoms = cut_atoms(blocks)
        tied = [atom for atom in self.atoms if len({slots[i] for i in atom[1]}) > 1]
        self._own = np.zeros(len(slots), dtype=np.int64)
        for size, users in set(self.atoms) - set(tied):
            self._own[list(users)] += size
        self._tied_sizes = np.array([size for size, _ in tied], dtype=np.int64)
        self._uses_tied = np.zeros((len(slots), len(tied)), dtype=np.bool_)
        for column, (_, users) in enumerate(tied):
            self._uses_tied[list(users), column] = True

    def of(self, blocks: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.int64]:
        """Bytes per subnet, shape (subnets,).

        Args:
            blocks: numbers of the subnets' blocks, one subnet after the other, shape (calls,).
            counts: how many blocks each subnet has, at least one, shape (subnets,).
        """
        starts = np.cumsum(counts) - counts
        if not len(counts):
            return np.zeros(0, dtype=np.int64)
        total: NDArray[np.int64] = np.add.reduceat(self._own[blocks], starts)
        step = max(1, _AT_ONCE // max(1, int(counts.max()) * len(self._tied_sizes)))
        for first in range(0, len(counts) if len(self._tied_sizes) else 0, step):
            some = slice(first, first + step)
            end = starts[some][-1] + counts[some][-1]
            uses = self._uses_tied[blocks[starts[first] : end]]
            used = np.logical_or.reduceat(uses, starts[some] - starts[first], axis=0)
            total[some] += used @ self._tied_sizes
        return total
