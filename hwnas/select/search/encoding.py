"""Subnets as rows of integers, as evolution and predictors need them.

A *gene* is one thing that is free: a dimension, a depth rule, a slot's choice or that of a group of
equal slots. Its values are numbered as the space lists them. Genes of slots that a subnet skips are
0, so that each subnet is one row and each row within the bounds is a subnet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwnas.space import EqualChoice, Slot, Space, Subnet

__all__ = ["Encoding", "Genomes", "keys"]

Genomes = npt.NDArray[np.int64]
"""[n, genes]: a subnet a row."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def keys(genomes: Genomes) -> list[bytes]:
    """What tells rows apart: equal for equal rows, usable in sets."""
    return [row.tobytes() for row in np.ascontiguousarray(genomes)]


class Encoding:
    """Between subnets of one space and rows. Fixed once it is constructed; any thread.

    Attributes:
        space: whose subnets.
        sizes: [genes]: how many values each gene has, 2 at least.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        rules = [rule for rule in space.rules if not isinstance(rule, EqualChoice)]
        self._dimensions = [d for d in space.dimensions if len(d.values) > 1]
        self._depths = [rule for rule in rules if len(rule.depths) > 1]
        equal = [rule.slots for rule in space.rules if isinstance(rule, EqualChoice)]
        group = {name: slots[0] for slots in equal for name in slots}
        members: dict[str, list[Slot]] = {}
        for slot in space.slots:
            if len(slot.choices) > 1:
                members.setdefault(group.get(slot.name, slot.name), []).append(slot)
        self._groups = list(members.values())
        self._first_depth = len(self._dimensions)
        self._first_group = self._first_depth + len(self._depths)
        self.sizes: Genomes = np.array(
            [len(d.values) for d in self._dimensions]
            + [len(rule.depths) for rule in self._depths]
            + [len(slots[0].choices) for slots in self._groups],
            dtype=np.int64,
        )
        self._rule_of = {name: rule for rule in rules for name in rule.slots}
        self._group_of = {s.name: i for i, slots in enumerate(self._groups) for s in slots}
        self._depth_gene = {r.name: self._first_depth + i for i, r in enumerate(self._depths)}

    @property
    def genes(self) -> int:
        """How many are free."""
        return len(self.sizes)

    def active(self, slot: str, genomes: Genomes) -> Mask:
        """[n]: whether each row's subnet has ``slot``."""
        rule = self._rule_of.get(slot)
        if rule is None:
            return np.ones(len(genomes), dtype=np.bool_)
        at = np.array([slot in rule.active(depth) for depth in rule.depths])
        gene = self._depth_gene.get(rule.name)
        picked = np.zeros(len(genomes), dtype=np.int64) if gene is None else genomes[:, gene]
        found: Mask = at[picked]
        return found

    def dimension(self, name: str, genomes: Genomes) -> Genomes:
        """[n]: which of its values the dimension has in each row's subnet."""
        for gene, dimension in enumerate(self._dimensions):
            if dimension.name == name:
                return genomes[:, gene]
        return np.zeros(len(genomes), dtype=np.int64)

    def choice(self, slot: str, genomes: Genomes) -> Genomes:
        """[n]: which of the slot's choices each row has; 0 where it is skipped."""
        group = self._group_of.get(slot)
        if group is None:
            return np.zeros(len(genomes), dtype=np.int64)
        return genomes[:, self._first_group + group]

    def canonical(self, genomes: Genomes) -> Genomes:
        """A copy with 0 for the genes of what is skipped."""
        out = genomes.copy()
        for i, slots in enumerate(self._groups):
            used = np.zeros(len(out), dtype=np.bool_)
            for slot in slots:
                used |= self.active(slot.name, out)
            out[~used, self._first_group + i] = 0
        return out

    def encode(self, subnets: Sequence[Subnet]) -> Genomes:
        """Rows of these subnets; :class:`hwnas.errors.UnknownName` for one of another space."""
        out = np.zeros((len(subnets), self.genes), dtype=np.int64)
        for row, subnet in zip(out, subnets, strict=True):
            parts = self.space.parts(subnet)
            for gene, dimension in enumerate(self._dimensions):
                row[gene] = dimension.values.index(parts.dimensions[dimension.name])
            for gene, rule in enumerate(self._depths, start=self._first_depth):
                row[gene] = rule.depths.index(parts.depths[rule.name])
            for gene, slots in enumerate(self._groups, start=self._first_group):
                picks = (parts.choices[s.name] for s in slots if s.name in parts.choices)
                row[gene] = slots[0].choices.index(next(picks, slots[0].choices[0]))
        return out

    def decode(self, genomes: Genomes) -> list[Subnet]:
        """The subnets of these rows."""
        return [self._decode(row) for row in genomes.tolist()]

    def _decode(self, row: Sequence[int]) -> Subnet:
        genes = iter(row)
        return self.space.compose(
            {d.name: d.values[next(genes)] for d in self._dimensions},
            {rule.name: rule.depths[next(genes)] for rule in self._depths},
            {slots[0].name: slots[0].choices[next(genes)] for slots in self._groups},
        )

    def sample(self, count: int, rng: np.random.Generator) -> Genomes:
        """Random rows, each value, depth and choice alike, as :meth:`hwnas.space.Space.sample`."""
        return self.canonical(rng.integers(0, self.sizes, (count, self.genes)))

    def one_hot(self, genomes: Genomes) -> Floats:
        """[n, sum of sizes]: a column per value of a gene; a skipped slot has none of its values.

        Depths keep their columns, so that no two subnets have equal rows.
        """
        columns = np.zeros((len(genomes), int(self.sizes.sum())))
        starts = np.concatenate(([0], np.cumsum(self.sizes)[:-1])).astype(np.int64)
        rows = np.arange(len(genomes))
        for gene, start in enumerate(starts.tolist()):
            columns[rows, start + genomes[:, gene]] = 1.0
        for gene, slots in enumerate(self._groups, start=self._first_group):
            used = np.zeros(len(genomes), dtype=np.bool_)
            for slot in slots:
                used |= self.active(slot.name, genomes)
            start = int(starts[gene])
            columns[~used, start : start + int(self.sizes[gene])] = 0.0
        return columns
