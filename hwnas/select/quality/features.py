"""Subnets as vectors of zeros and ones, which predictors read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.space import Slot, Space, Subnet

__all__ = ["OneHot", "feature_names", "one_hot"]

_NUMBERED = re.compile(r"([A-Za-z_]+)([0-9]+)")


class OneHot:
    """Which columns each block sets to one.

    Args:
        width: number of columns.
        columns: of each block, by slot and choice as written.
        absent: of each slot in it, the column that is set where a subnet skips that slot.
    """

    def __init__(
        self,
        width: int,
        columns: Mapping[tuple[str, str], Sequence[int]],
        absent: Mapping[str, int] | None = None,
    ) -> None:
        self.width = width
        self.columns = {block: tuple(found) for block, found in columns.items()}
        self._absent = dict(absent or {})

    def matrix(self, subnets: Sequence[Subnet], dtype: Any = np.float64) -> NDArray[Any]:
        """One row for each of ``subnets``: shape (subnets, width)."""
        found = np.zeros((len(subnets), self.width), dtype)
        columns = self.columns
        rows: list[int] = []
        ones: list[int] = []
        for row, subnet in enumerate(subnets):
            before = len(ones)
            for block in subnet.choices.items():
                ones.extend(columns[block])
            ones.extend(c for slot, c in self._absent.items() if slot not in subnet.choices)
            rows.extend([row] * (len(ones) - before))
        found[rows, ones] = 1
        return found


def feature_names(space: Space) -> tuple[str, ...]:
    """What a predictor that is fitted to ``space`` looks at, in order.

    ``r=160``: a value of a dimension. ``slot/k=3``: a part of a choice, where all choices of the
    slot are numbers after the same words, as in ``k3e4``: many blocks have a part in common, so
    that far fewer evaluated subnets tell its worth. ``slot/h8``: else a choice, or that a slot is
    there at all.
    """
    names = [f"{d.name}={v}" for d in space.dimensions if len(d.values) > 1 for v in d.values]
    optional = space.skippable
    for slot in space.slots:
        if len(slot.choices) > 1 or slot.name in optional:
            words = (word for choice in slot.choices for word in _words(slot, choice))
            names += [f"{slot.name}/{word}" for word in dict.fromkeys(words)]
    return tuple(names)


def one_hot(space: Space) -> OneHot:
    """The columns of :func:`feature_names`."""
    names = feature_names(space)
    index = {name: column for column, name in enumerate(names)}
    columns = {}
    for slot, written in space.blocks:
        base, at = space.read(slot, written)
        wanted = [f"{name}={value}" for name, value in at.items()]
        wanted += [f"{slot}/{word}" for word in _words(space.slot(slot), base)]
        columns[slot, written] = [index[name] for name in wanted if name in index]
    return OneHot(len(names), columns)


def _words(slot: Slot, choice: str) -> list[str]:
    """``k3e4`` as ``k=3`` and ``e=4`` if every choice of ``slot`` is written like that."""
    parts = {known: _NUMBERED.findall(known) for known in slot.choices}
    whole = all("".join(map("".join, found)) == known for known, found in parts.items())
    words = {tuple(word for word, _ in found) for found in parts.values()}
    if not whole or len(words) != 1 or len(set(next(iter(words)))) < 2:
        return [choice]
    return [f"{word}={number}" for word, number in parts[choice]]
