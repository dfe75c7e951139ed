"""Solving one program: part by part, each bounded by its relaxation, then among few columns.

What a relaxation says a column would lose at least (its reduced cost) against its bound does two
things. The columns that lose least are a core whose optimum is found at once and is nearly always
the optimum of all. And against that solution, a column that loses more than the bound lies above
it cannot be in a better one: it is left out, with proof, and what is left is solved to the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.select.milp.highs import FEASIBLE, Relaxed, maximise, relax
from hwnas.select.milp.model import Floats, Ints, Model

__all__ = ["CLOSE", "Optimum", "Part", "optimise"]

CLOSE = 1e-6
"""Objectives are scaled to a range of about 1000; less than this apart counts as equal."""

_CORE = 100
"""Columns beyond those of the relaxation's own solution that a core has."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some columns of a program.

    Attributes:
        columns: ascending, shape (kept,).
        bound: nothing in this part is better.
        loss: by how much less than ``bound`` any solution is that has a column, shape (kept,).
    """

    columns: Ints
    bound: float = math.inf
    loss: Floats | None = None

    def down_to(self, value: float) -> Part:
        """Without the columns of which no solution is as good as ``value``."""
        if self.loss is None:
            return self
        return Part(self.columns[self.loss <= self.bound - value + CLOSE])


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best solution of a program.

    Attributes:
        x: shape (columns,).
        value: of the objective.
        bound: nothing is better; more than ``value`` only if time was up.
        parts: every solution that is as good lies in one of these.
    """

    x: Floats
    value: float
    bound: float
    parts: tuple[Part, ...]

    @property
    def proven(self) -> bool:
        """Whether nothing is better."""
        return self.bound <= self.value + CLOSE


def optimise(
    model: Model, parts: Sequence[Part], deadline: float, starts: Sequence[Floats] = ()
) -> Optimum | float:
    """The best solution in ``parts``.

    Args:
        model: the program.
        parts: all places where solutions are.
        deadline: of ``time.monotonic``; when it is past, the best that is known is given.
        starts: what may be solutions, shape (columns,) each.

    Returns:
        It, or if there is none, a bound: minus infinity if that is proven.
    """
    best = _best_of(model, starts)
    relaxed = [part for part in (_relaxed(model, part) for part in parts) if part is not None]
    relaxed.sort(key=lambda part: -part.bound)
    bound = -math.inf
    for part in relaxed:
        value = -math.inf if best is None else float(model.gain @ best)
        if part.bound <= value + CLOSE:
            break
        found, above = _in_part(model, part, best, value, deadline)
        bound = max(bound, above)
        if found is not None and (best is None or float(model.gain @ found) > value):
            best = found
    if best is None:
        return bound
    value = float(model.gain @ best)
    near = tuple(part.down_to(value) for part in relaxed if part.bound >= value - CLOSE)
    return Optimum(best, value, max(bound, value), near)


def _best_of(model: Model, starts: Sequence[Floats]) -> Floats | None:
    able = [x for x in starts if model.holds(x, FEASIBLE)]
    return max(able, key=lambda x: float(model.gain @ x), default=None)


def _relaxed(model: Model, part: Part) -> Part | None:
    found = relax(model.only(part.columns))
    return None if found is None else Part(part.columns, found.value, _losses(found, model, part))


def _losses(found: Relaxed, model: Model, part: Part) -> Floats:
    at_zero = (found.x < 0.5) & model.whole[part.columns]
    return np.where(at_zero, np.maximum(-found.reduced, 0.0), 0.0)


def _in_part(
    model: Model, part: Part, best: Floats | None, value: float, deadline: float
) -> tuple[Floats | None, float]:
    """The best of one part that is better than ``value``, if any, and a bound on all of it."""
    assert part.loss is not None
    start = None
    if len(part.columns) > 2 * _CORE:
        least = np.sort(part.loss)[: np.count_nonzero(part.loss <= 0) + _CORE][-1]
        core = part.columns[part.loss <= least]
        first = maximise(model.only(core), deadline - time.monotonic())
        if first.x is not None and first.value > value:
            start, value = _spread(first.x, core, len(model.gain)), first.value
    if part.bound <= value + CLOSE:
        return start, value
    left = part.down_to(value).columns
    begin = start if start is not None else best
    inside = begin is not None and not np.delete(begin, left).any()
    found = maximise(
        model.only(left),
        deadline - time.monotonic(),
        begin[left] if inside and begin is not None else None,
    )
    # Without any time the solver knows of no bound; the relaxation still does.
    bound = min(found.bound, part.bound)
    if found.x is not None and found.value > value:
        return _spread(found.x, left, len(model.gain)), bound
    return start, bound


def _spread(x: Floats, columns: Ints, size: int) -> Floats:
    whole = np.zeros(size)
    whole[columns] = x
    return whole
