"""Several subnets chosen at once, so that together they use few bytes of weights.

Each is a program of its own; what ties them are the atoms: a column for each, 1 if any block that
any of them has uses it, and one row that holds their bytes to the budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hwnas.select.milp.model import Floats, Ints, Model, Rows
from hwnas.select.milp.search import Optimum, Part, optimise
from hwnas.table.weights import Atom

__all__ = ["Copy", "Joint", "solve_joint"]


@dataclass(frozen=True, eq=False)
class Copy:
    """One of the subnets to choose.

    Attributes:
        model: all that it may be, and what is good about it.
        groups: block numbers by column, for sets of columns of which at most one is 1.
    """

    model: Model
    groups: Sequence[Sequence[tuple[int, Collection[int]]]]


@dataclass(frozen=True, eq=False)
class Joint:
    """What was chosen.

    Attributes:
        parts: of each copy its columns; None if the budget cannot be met.
        bytes: that it uses together; if the budget cannot be met, the least that is possible.
        gap: share by which the sum of gains may be better at most.
    """

    parts: tuple[Floats, ...] | None
    bytes: float
    gap: float


def solve_joint(
    copies: Sequence[Copy],
    atoms: Collection[Atom],
    fixed: Collection[int],
    budget: float,
    seconds: float,
    starts: Sequence[Sequence[Floats]] = (),
) -> Joint:
    """Choose all copies for the greatest sum of gains within ``budget`` bytes.

    Args:
        copies: what is to be chosen.
        atoms: of the bundle's blocks.
        fixed: blocks that ship anyway.
        budget: bytes.
        seconds: for each of two questions to the solver.
        starts: what may be solutions, each with a vector per copy.
    """
    taken = set(fixed)
    paid = sum(size for size, users in atoms if not taken.isdisjoint(users))
    open_atoms = [(size, frozenset(users)) for size, users in atoms if taken.isdisjoint(users)]
    first = np.cumsum([0, *(len(copy.model.gain) for copy in copies)])
    sizes = np.array([float(size) for size, _ in open_atoms])
    model = _joined(copies, open_atoms, first)
    columns = first[-1] + np.arange(len(open_atoms))
    scale = max(budget, 1.0)
    held = Rows()
    held.add(-math.inf, (budget - paid) / scale, columns, sizes / scale)
    everything = [Part(np.arange(len(model.gain)))]
    begin = [_vector(copies, open_atoms, first, start) for start in starts]
    found = optimise(model.plus(held), everything, time.monotonic() + seconds, begin)
    if not isinstance(found, Optimum):
        least = np.zeros(len(model.gain))
        least[columns] = -sizes / (float(sizes.sum()) or 1.0) * 1000.0
        cheap = optimise(model.aiming(least), everything, time.monotonic() + seconds)
        used = sizes @ cheap.x[columns] if isinstance(cheap, Optimum) else math.inf
        return Joint(None, paid + float(used), math.inf)
    parts = tuple(found.x[a:b] for a, b in pairwise(first))
    used = float(sizes @ _used(copies, open_atoms, parts))
    gap = 0.0 if found.proven else (found.bound - found.value) / (abs(found.value) or 1.0)
    return Joint(parts, paid + used, gap)


def _joined(
    copies: Sequence[Copy], atoms: Sequence[tuple[int, frozenset[int]]], first: Ints
) -> Model:
    rows = Rows()
    for copy, offset in zip(copies, first, strict=False):
        for group in copy.groups:
            for a, (_, users) in enumerate(atoms):
                mine = [offset + c for c, blocks in group if not users.isdisjoint(blocks)]
                if mine:
                    rows.add(-math.inf, 0.0, [*mine, first[-1] + a], [*(1.0 for _ in mine), -1.0])
    models = [copy.model for copy in copies]
    lines = np.cumsum([0, *(len(model.lower) for model in models)])
    extra = len(atoms)
    joined = Model(
        gain=np.concatenate([*(m.gain for m in models), np.zeros(extra)]),
        top=np.concatenate([*(m.top for m in models), np.ones(extra)]),
        whole=np.concatenate([*(m.whole for m in models), np.zeros(extra, dtype=np.bool_)]),
        lower=np.concatenate([m.lower for m in models]),
        upper=np.concatenate([m.upper for m in models]),
        row=np.concatenate([m.row + n for m, n in zip(models, lines, strict=False)]),
        column=np.concatenate([m.column + n for m, n in zip(models, first, strict=False)]),
        value=np.concatenate([m.value for m in models]),
    )
    return joined.plus(rows)


def _used(
    copies: Sequence[Copy],
    atoms: Sequence[tuple[int, frozenset[int]]],
    parts: Sequence[Floats],
) -> Floats:
    """Which atoms are used, shape (atoms,)."""
    chosen: set[int] = set()
    for copy, x in zip(copies, parts, strict=True):
        for group in copy.groups:
            for column, blocks in group:
                if x[column] > 0.5:
                    chosen.update(blocks)
    return np.array([float(not users.isdisjoint(chosen)) for _, users in atoms])


def _vector(
    copies: Sequence[Copy],
    atoms: Sequence[tuple[int, frozenset[int]]],
    first: Ints,
    start: Sequence[Floats],
) -> Floats:
    return np.concatenate([*start, _used(copies, atoms, start)])
