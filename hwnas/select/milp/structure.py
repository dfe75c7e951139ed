"""A space as constraints: every 0/1 vector that meets them is a subnet, and each subnet is one.

Columns: one per block (it runs), one per value of what slots have in common (a dimension, the
choice of an equal group), one per depth of each depth rule, and one per depth and common value of
the slots of a rule. The last say no more than the others, but with them fractions can mix less, so
that relaxations are tight: without budgets all their corners are subnets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.errors import TableError
from hwnas.rules import EqualChoice
from hwnas.select.milp.model import Floats, Ints, Model, Rows
from hwnas.space import Space, Subnet

__all__ = ["Structure"]

_PARTS = 32
"""A space is taken apart by the values of its dimensions into at most so many parts."""


@dataclass(frozen=True)
class _Common:
    """What slots have in common: a dimension, or the choice of an equal group.

    Attributes:
        name: of the dimension; empty for an equal group.
        columns: one per value.
        value_of: index of the value that each block of these slots has, by block number.
    """

    name: str
    columns: tuple[int, ...]
    value_of: Mapping[int, int]


class Structure:
    """The constraints of one space.

    Args:
        space: any.
        blocks: (slot, written choice) of each block, in the order of the first columns.

    Raises:
        TableError: the space has a block that is not among ``blocks``.

    Attributes:
        model: with no gain and no budgets.
        blocks: number of blocks, the first columns.
        slots: for each slot, the numbers of its blocks.
    """

    def __init__(self, space: Space, blocks: Sequence[tuple[str, str]]) -> None:
        self.space = space
        self.index = {block: i for i, block in enumerate(blocks)}
        lacking = [f"{slot}/{choice}" for slot, choice in space.blocks
                   if (slot, choice) not in self.index]  # fmt: skip
        if lacking:
            raise TableError(
                f"the cost of {lacking[0]} and {len(lacking) - 1} other blocks is not known"
                if len(lacking) > 1
                else f"the cost of {lacking[0]} is not known",
                "profile again",
            )
        self.blocks = len(blocks)
        self.names = tuple(blocks)
        self.slots = {
            slot.name: [self.index[slot.name, choice] for choice in space.written(slot.name)]
            for slot in space.slots
        }
        self._columns = self.blocks
        self._rows = Rows()
        self._common = self._find_common()
        self._depths = {
            rule.name: dict(zip(rule.depths, self._new(len(rule.depths)), strict=True))
            for rule in space.rules
            if not isinstance(rule, EqualChoice)
        }
        for one in [*(c.columns for c in self._common), *map(_values, self._depths.values())]:
            self._rows.add(1.0, 1.0, one)
        self._joint: dict[tuple[str, int], dict[int, tuple[int, ...]]] = {}
        for slot in self.slots:
            self._tie(slot)
        size = self._columns
        self.model = Model.of(
            np.zeros(size), np.ones(size), np.ones(size, dtype=np.bool_), self._rows
        )

    def _new(self, count: int) -> tuple[int, ...]:
        self._columns += count
        return tuple(range(self._columns - count, self._columns))

    def _find_common(self) -> list[_Common]:
        found = []
        read = {(s, c): self.space.read(s, c) for s, c in self.space.blocks}
        for dimension in self.space.dimensions:
            place = {value: i for i, value in enumerate(dimension.values)}
            value_of = {
                self.index[block]: place[at[dimension.name]]
                for block, (_, at) in read.items()
                if dimension.name in at
            }
            found.append(_Common(dimension.name, self._new(len(place)), value_of))
        for rule in self.space.rules:
            if isinstance(rule, EqualChoice):
                choices = self.space.slot(rule.slots[0]).choices
                value_of = {
                    self.index[slot, written]: choices.index(base)
                    for (slot, written), (base, _) in read.items()
                    if slot in rule.slots
                }
                found.append(_Common("", self._new(len(choices)), value_of))
        return found

    def _tie(self, slot: str) -> None:
        """One block of ``slot`` runs if the slot is active, with the values in common."""
        blocks = self.slots[slot]
        rule = next(
            (r for r in self.space.rules if not isinstance(r, EqualChoice) and slot in r.slots),
            None,
        )
        active = [d for d in rule.depths if slot in rule.active(d)] if rule else []
        own = [i for i, common in enumerate(self._common) if blocks[0] in common.value_of]
        for i in own:
            common = self._common[i]
            joint = self._join(rule.name, i) if rule else {}
            for value, column in enumerate(common.columns):
                having = [b for b in blocks if common.value_of[b] == value]
                self._rows.balance(having, [joint[d][value] for d in active] if rule else [column])
        if not own and rule:
            self._rows.balance(blocks, [self._depths[rule.name][d] for d in active])
        elif not own:
            self._rows.add(1.0, 1.0, blocks)

    def _join(self, rule: str, i: int) -> dict[int, tuple[int, ...]]:
        """By depth, the columns that say: this depth of ``rule`` and that value of common ``i``."""
        if (rule, i) not in self._joint:
            common, depths = self._common[i], self._depths[rule]
            joint = {depth: self._new(len(common.columns)) for depth in depths}
            self._joint[rule, i] = joint
            for depth, column in depths.items():
                self._rows.balance(joint[depth], [column])
            for value, column in enumerate(common.columns):
                self._rows.balance([columns[value] for columns in joint.values()], [column])
        return self._joint[rule, i]

    def parts(self) -> list[Ints]:
        """The space taken apart by the values of dimensions: which columns each part has."""
        split: list[_Common] = []
        for common in sorted(self._common, key=lambda c: -len(c.value_of)):
            sizes = [len(c.columns) for c in (*split, common)]
            if common.name and len(common.columns) > 1 and math.prod(sizes) <= _PARTS:
                split.append(common)
        found = []
        for values in itertools.product(*(range(len(c.columns)) for c in split)):
            kept = np.ones(self._columns, dtype=np.bool_)
            for common, value in zip(split, values, strict=True):
                i = self._common.index(common)
                kept[[b for b, at in common.value_of.items() if at != value]] = False
                kept[[c for at, c in enumerate(common.columns) if at != value]] = False
                for (_, other), joint in self._joint.items():
                    if other == i:
                        gone = [
                            c for cs in joint.values() for at, c in enumerate(cs) if at != value
                        ]
                        kept[gone] = False
            found.append(np.flatnonzero(kept))
        return found

    def subnet(self, x: Floats) -> Subnet:
        """The subnet that a 0/1 vector is, shape (columns or more,)."""
        dimensions = {
            common.name: dimension.values[int(np.argmax(x[list(common.columns)]))]
            for dimension, common in zip(self.space.dimensions, self._common, strict=False)
        }
        depths = {
            rule: max(columns, key=lambda depth: float(x[columns[depth]]))
            for rule, columns in self._depths.items()
        }
        chosen = (self.names[i] for i in np.flatnonzero(x[: self.blocks] > 0.5))
        choices = {slot: self.space.read(slot, written)[0] for slot, written in chosen}
        return self.space.compose(dimensions, depths, choices)

    def numbers(self, subnet: Subnet) -> list[int]:
        """The numbers of the blocks of ``subnet``."""
        return [self.index[slot, choice] for slot, choice in subnet.choices.items()]

    def vector(self, subnet: Subnet) -> Floats:
        """``subnet`` as a 0/1 vector, shape (columns,)."""
        depth_of = self.space.parts(subnet).depths
        numbers = self.numbers(subnet)
        x = np.zeros(self._columns)
        x[numbers] = 1.0
        at = [
            next((common.value_of[b] for b in numbers if b in common.value_of), 0)
            for common in self._common
        ]
        x[[common.columns[value] for common, value in zip(self._common, at, strict=True)]] = 1.0
        x[[columns[depth_of[rule]] for rule, columns in self._depths.items()]] = 1.0
        for (rule, i), joint in self._joint.items():
            x[joint[depth_of[rule]][at[i]]] = 1.0
        return x

    def telling(self, subnet: Subnet) -> list[int]:
        """Columns that no other subnet has all of.

        Its blocks, and its depths: a deeper one may have all of its blocks.
        """
        depth_of = self.space.parts(subnet).depths
        depths = [columns[depth_of[rule]] for rule, columns in self._depths.items()]
        return [*self.numbers(subnet), *depths]


def _values(columns: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(columns.values())
