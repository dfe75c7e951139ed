"""An integer program as arrays, and how one is put together row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Ints", "Mask", "Model", "Rows"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass
class Rows:
    """Constraints under construction: ``lower <= sum of values * columns <= upper`` each."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    columns: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(
        self,
        lower: float,
        upper: float,
        columns: Sequence[int] | Ints,
        values: Sequence[float] | Floats | float = 1.0,
    ) -> None:
        """Add one constraint; a single value stands before all of its columns."""
        which = np.asarray(columns, dtype=np.intp)
        self.lower.append(lower)
        self.upper.append(upper)
        self.columns.append(which)
        self.values.append(np.broadcast_to(np.asarray(values, dtype=np.float64), which.shape))

    def balance(self, plus: Sequence[int] | Ints, minus: Sequence[int] | Ints) -> None:
        """Add that ``plus`` and ``minus`` have the same sum."""
        signs = np.concatenate((np.ones(len(plus)), -np.ones(len(minus))))
        self.add(0.0, 0.0, np.concatenate((plus, minus)).astype(np.intp), signs)

    def weighted(self, lower: float, upper: float, values: Floats) -> None:
        """Add a constraint by its values of the first ``len(values)`` columns."""
        which = np.flatnonzero(values)
        self.add(lower, upper, which, values[which])


@dataclass(frozen=True, eq=False)
class Model:
    """Maximise ``gain @ x`` under constraints, with ``0 <= x <= top``.

    Attributes:
        gain: shape (columns,).
        top: upper bounds, shape (columns,); may be infinite.
        whole: which columns are integers, shape (columns,).
        lower, upper: of the constraints, shape (rows,).
        row, column, value: what is not zero of their matrix, row by row.
    """

    gain: Floats
    top: Floats
    whole: Mask
    lower: Floats
    upper: Floats
    row: Ints
    column: Ints
    value: Floats

    @classmethod
    def of(cls, gain: Floats, top: Floats, whole: Mask, rows: Rows) -> Model:
        """The program with these constraints."""
        sizes = [len(columns) for columns in rows.columns]
        return cls(
            gain=gain,
            top=top,
            whole=whole,
            lower=np.array(rows.lower, dtype=np.float64),
            upper=np.array(rows.upper, dtype=np.float64),
            row=np.repeat(np.arange(len(sizes)), sizes),
            column=np.concatenate([np.empty(0, dtype=np.intp), *rows.columns]),
            value=np.concatenate([np.empty(0), *rows.values]),
        )

    def plus(self, rows: Rows) -> Model:
        """With more constraints."""
        more = Model.of(self.gain, self.top, self.whole, rows)
        return replace(
            self,
            lower=np.concatenate((self.lower, more.lower)),
            upper=np.concatenate((self.upper, more.upper)),
            row=np.concatenate((self.row, more.row + len(self.lower))),
            column=np.concatenate((self.column, more.column)),
            value=np.concatenate((self.value, more.value)),
        )

    def aiming(self, gain: Floats) -> Model:
        """With another objective."""
        return replace(self, gain=gain)

    def only(self, columns: Ints) -> Model:
        """With these columns alone, in this order; all others are 0."""
        place = np.full(len(self.gain), -1, dtype=np.intp)
        place[columns] = np.arange(len(columns))
        kept = place[self.column] >= 0
        return replace(
            self,
            gain=self.gain[columns],
            top=self.top[columns],
            whole=self.whole[columns],
            row=self.row[kept],
            column=place[self.column[kept]],
            value=self.value[kept],
        )

    def holds(self, x: Floats, tolerance: float) -> bool:
        """Whether ``x``, shape (columns,), meets all constraints to ``tolerance``."""
        sums = np.bincount(self.row, self.value * x[self.column], len(self.lower))
        met = (sums >= self.lower - tolerance) & (sums <= self.upper + tolerance)
        return bool(met.all()) and bool((x <= self.top + tolerance).all())
