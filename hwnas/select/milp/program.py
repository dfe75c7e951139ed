"""The rows and columns of one question about a space: its limits, and what it optimises."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np

from hwnas.select.milp.model import Floats, Model, Rows
from hwnas.select.milp.search import Part
from hwnas.select.milp.structure import Structure
from hwnas.table.additive import Linear
from hwnas.table.weights import Atom

__all__ = ["EXCESS", "Program"]

EXCESS = "excess"
"""The worst excess over a limit, as a share of it, where limits are elastic."""

_RANGE = 1000.0
"""What objectives are scaled to; see ``search.CLOSE``."""

_TIE = 2e-9
"""Share of an objective's range within which two values are equal."""


class Program:
    """Maximises one metric after the other. Owned by one question.

    Columns are those of the structure, then one for each maximum, atom and the excess.

    Args:
        structure: of the space.
        metrics: all that are limited or optimised: as a sum, or None if counted by atoms.
        atoms: of all blocks.
        elastic: whether limits may be exceeded, at the price of :data:`EXCESS`.
    """

    def __init__(
        self,
        structure: Structure,
        metrics: Mapping[str, Linear | None],
        atoms: Collection[Atom],
        *,
        elastic: bool = False,
    ) -> None:
        self._structure = structure
        self._size = len(structure.model.gain)
        self._used = np.array([i for blocks in structure.slots.values() for i in blocks])
        optional = structure.space.skippable
        self._always = [slot for slot in structure.slots if slot not in optional]
        self._rows = Rows()
        self._tops: list[float] = []
        self._fill: list[Callable[[list[int]], float]] = []
        self._limits: dict[str, tuple[int, float]] = {}
        made = {name: self._metric(linear, atoms) for name, linear in metrics.items()}
        if elastic:
            made[EXCESS] = ({self._column(math.inf, lambda _: math.nan): 1.0}, 0.0)
        self.constant = {name: constant for name, (_, constant) in made.items()}
        self._values = {name: self._spread(values) for name, (values, _) in made.items()}
        self.scale = {name: self._scale(values) for name, values in self._values.items()}

    def _column(self, top: float, fill: Callable[[list[int]], float]) -> int:
        """A new column, and what it is at least in the subnet with these blocks."""
        self._tops.append(top)
        self._fill.append(fill)
        return self._size + len(self._tops) - 1

    def _spread(self, values: Mapping[int, float]) -> Floats:
        found = np.zeros(self._size + len(self._tops))
        found[list(values)] = list(values.values())
        return found

    def _metric(
        self, linear: Linear | None, atoms: Collection[Atom]
    ) -> tuple[dict[int, float], float]:
        """What each column counts, and the constant."""
        if linear is None:
            return dict(map(self._atom, atoms)), 0.0
        values = dict(zip(self._used.tolist(), linear.per_block[self._used].tolist(), strict=True))
        constant = linear.constant
        # What every choice of a slot has in common would drown how they differ in rounding.
        for slot in self._always:
            blocks = self._structure.slots[slot]
            least = min(values[i] for i in blocks)
            values |= {i: values[i] - least for i in blocks}
            constant += least
        peak = linear.peak
        if peak is not None and peak[self._used].max(initial=0.0) > 0:
            high = float(peak[self._used].max())
            column = self._column(math.inf, lambda blocks: float(peak[blocks].max() / high))
            for blocks in self._structure.slots.values():
                self._below(blocks, peak[blocks] / high, column)
            values[column] = high
        return values, constant

    def _atom(self, atom: Atom) -> tuple[int, float]:
        size, users = atom
        using = frozenset(users)
        column = self._column(1.0, lambda blocks: float(not using.isdisjoint(blocks)))
        for blocks in self._structure.slots.values():
            mine = [i for i in blocks if i in using]
            if mine:
                self._below(mine, np.ones(len(mine)), column)
        return column, float(size)

    def _below(self, blocks: list[int], values: Floats, column: int) -> None:
        # At most one block of a slot runs, so one row for all of them is right, and tighter.
        self._rows.add(-math.inf, 0.0, [*blocks, column], [*values, -1.0])

    def _scale(self, values: Floats) -> float:
        spread = float(np.abs(values[self._size :]).sum())
        for slot, blocks in self._structure.slots.items():
            own = values[blocks] if slot in self._always else np.append(values[blocks], 0.0)
            spread += float(np.ptp(own))
        return (spread or 1.0) / _RANGE

    def limit(self, metric: str, limit: float, sign: float = 1.0) -> None:
        """From now on ``metric`` is at most ``limit``; at least, if ``sign`` is -1."""
        values = sign * self._values[metric]
        bound = sign * (limit - self.constant[metric])
        if EXCESS in self._values:
            values = values - self._values[EXCESS] * (abs(limit) or 1.0)
        scale = max(abs(bound), float(np.abs(values).max(initial=0.0))) or 1.0
        self._limits[metric] = (len(self._rows.lower), sign * scale)
        self._rows.weighted(-math.inf, bound / scale, values / scale)

    def hold(self, metric: str, value: float) -> None:
        """From now on ``metric`` is as good as ``value``, which is an objective's."""
        self._rows.weighted(value / _RANGE - _TIE, math.inf, self._gain(metric) / _RANGE)

    def forbid(self, numbers: list[int]) -> None:
        """Leave out one subnet, given by the columns that tell it from all others."""
        self._rows.add(-math.inf, len(numbers) - 1.0, numbers)

    def _gain(self, metric: str) -> Floats:
        return self._values[metric] * (_sign(metric) / self.scale[metric])

    def model(self, metric: str) -> Model:
        """The program whose objective is ``metric``: the most quality, the least of all else."""
        base, more = self._structure.model, np.array(self._tops)
        wide = replace(
            base,
            gain=self._gain(metric),
            top=np.concatenate((base.top, more)),
            whole=np.concatenate((base.whole, np.zeros(len(more), dtype=np.bool_))),
        )
        return wide.plus(self._rows)

    def real(self, metric: str, value: float) -> float:
        """An objective's value as ``metric``."""
        return value * self.scale[metric] * _sign(metric) + self.constant[metric]

    def widened(self, part: Part) -> Part:
        """``part`` with the columns that are not the structure's."""
        return Part(np.concatenate((part.columns, self._size + np.arange(len(self._tops)))))

    def vector(self, x: Floats, blocks: list[int]) -> Floats:
        """A subnet's vector with the least that the further columns can be."""
        return np.concatenate((x, [fill(blocks) for fill in self._fill]))

    def duals(self, metric: str, row_duals: Floats) -> dict[str, float]:
        """By limited metric, by how much one more unit of its limit betters ``metric``."""
        first = len(self._structure.model.lower)
        per = self.scale[metric]
        return {
            name: float(row_duals[first + row]) / scale * per
            for name, (row, scale) in self._limits.items()
        }


def _sign(metric: str) -> float:
    return 1.0 if metric == "quality" else -1.0
