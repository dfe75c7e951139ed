"""Several subnets chosen at once, so that together they use few bytes of weights.

Each is a program of its own; what ties them are the atoms: a column for each, 1 if any block that
any of them has uses it, and one row that holds their bytes to the budget.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hwnas.errors import HwnasError
from hwnas.select.milp.model import Floats, Ints, Model, Rows
from hwnas.select.milp.search import Optimum, Part, optimise
from hwnas.table.weights import Atom

__all__ = ["Copy", "Joint", "solve_joint"]


_PARTS = 100
"""Each is relaxed before any is solved, which takes some hundredths of a second."""


@dataclass(frozen=True, eq=False)
class Copy:
    """One of the subnets to choose.

    Attributes:
        model: all that it may be, and what is good about it.
        groups: block numbers by column, for sets of columns of which at most one is 1.
        parts: columns of the places that solutions lie in, taken apart by their dimensions.
    """

    model: Model
    groups: Sequence[Sequence[tuple[int, Collection[int]]]]
    parts: Sequence[Ints]


@dataclass(frozen=True, eq=False)
class Joint:
    """What was chosen.

    Attributes:
        parts: of each copy its columns; None if the budget cannot be met.
        bytes: that it uses together; if the budget cannot be met, the least that was found;
            infinite if it is not the bytes that stand in the way.
        room: by how much the sum of gains may be more, or the least bytes less; 0 if proven.
    """

    parts: tuple[Floats, ...] | None
    bytes: float
    room: float


def solve_joint(
    copies: Sequence[Copy],
    atoms: Collection[Atom],
    fixed: Collection[int],
    budget: float,
    seconds: float,
) -> Joint:
    """Choose all copies for the greatest sum of gains within ``budget`` bytes.

    Args:
        copies: what is to be chosen.
        atoms: of the bundle's blocks.
        fixed: blocks that ship anyway.
        budget: bytes.
        seconds: for each of two questions to the solver.

    Raises:
        HwnasError: time was up before any choice was found, or proven not to exist.
    """
    taken = set(fixed)
    paid = sum(size for size, users in atoms if not taken.isdisjoint(users))
    open_atoms = [(size, frozenset(users)) for size, users in atoms if taken.isdisjoint(users)]
    first = np.cumsum([0, *(len(copy.model.gain) for copy in copies)])
    sizes = np.array([float(size) for size, _ in open_atoms])
    model = _joined(copies, open_atoms, first)
    columns = first[-1] + np.arange(len(open_atoms))
    scale = float(sizes.max(initial=1.0))  # so that what is tolerated is less than a byte
    held = Rows()
    held.add(-math.inf, (budget - paid) / scale, columns, sizes / scale)
    everything = _parts(copies, first, columns)
    found = optimise(model.plus(held), everything, time.monotonic() + seconds)
    if isinstance(found, Optimum):
        parts = tuple(found.x[a:b] for a, b in pairwise(first))
        used = paid + float(sizes @ _used(copies, open_atoms, parts))
        return Joint(parts, used, 0.0 if found.proven else found.bound - found.value)
    # Nothing was found: the least bytes tell whether there is nothing, or time was up.
    total = float(sizes.sum()) or 1.0
    least = np.zeros(len(model.gain))
    least[columns] = -sizes * (1000.0 / total)
    cheap = optimise(model.aiming(least), everything, time.monotonic() + seconds)
    if cheap == -math.inf:
        return Joint(None, math.inf, 0.0)
    if not isinstance(cheap, Optimum):
        raise _no_time(seconds)
    parts = tuple(cheap.x[a:b] for a, b in pairwise(first))
    used = paid + float(sizes @ _used(copies, open_atoms, parts))
    if used <= budget:
        return Joint(parts, used, found - float(model.gain @ cheap.x))
    if found != -math.inf and not cheap.proven:
        raise _no_time(seconds)
    return Joint(None, used, 0.0 if cheap.proven else (cheap.bound - cheap.value) * total / 1000.0)


def _parts(copies: Sequence[Copy], first: Ints, atoms: Ints) -> list[Part]:
    """What each copy's parts make together; a copy's are one where there would be too many.

    A relaxation of all at once would mix dimensions, and say little of what is possible.
    """
    own: list[Sequence[Ints]] = []
    for copy in copies:
        many = math.prod(map(len, own)) * len(copy.parts) > _PARTS
        own.append([np.arange(len(copy.model.gain))] if many else copy.parts)
    return [
        Part(np.concatenate([*(p + at for p, at in zip(parts, first, strict=False)), atoms]))
        for parts in itertools.product(*own)
    ]


def _no_time(seconds: float) -> HwnasError:
    return HwnasError(
        f"in {seconds:g} s no subnets were found that fit together, nor that there are none",
        "allow more bytes (--max-shipped-bytes), or ask for fewer subnets (-n)",
    )


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
