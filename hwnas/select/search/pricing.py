"""Predicted costs of many rows at once.

Where the cost model can be written as sums over blocks (``CostModel.additive``), a row is priced by
looking its blocks up in arrays, some 10^6 rows a second; else each subnet is built and priced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwnas.select.protocol import Costs
from hwnas.select.search.encoding import Encoding, Genomes
from hwnas.space import Slot
from hwnas.table.additive import AdditiveCosts, Linear

__all__ = ["Pricing", "pricing"]

Floats = npt.NDArray[np.float64]
Pricing = Callable[[Genomes], Floats]
"""From rows to [n, metrics]."""


def pricing(encoding: Encoding, costs: Costs, metrics: Sequence[str]) -> Pricing:
    """How rows are priced; the quicker way if ``costs`` has an ``additive`` that knows it all."""
    additive = getattr(costs, "additive", None)
    if additive is not None:
        found: AdditiveCosts = additive()
        linear = [found.metrics.get(name) for name in metrics]
        known = [one for one in linear if one is not None]
        if len(known) == len(metrics):
            return _Sums(encoding, found.blocks, known)
    return _Whole(encoding, costs, metrics)


class _Whole:
    """Builds each subnet and asks for its cost, once per subnet."""

    def __init__(self, encoding: Encoding, costs: Costs, metrics: Sequence[str]) -> None:
        self._encoding, self._costs, self._metrics = encoding, costs, metrics
        self._known: dict[bytes, list[float]] = {}

    def __call__(self, genomes: Genomes) -> Floats:
        rows = [row.tobytes() for row in genomes]
        new = {key: i for i, key in enumerate(rows) if key not in self._known}
        subnets = self._encoding.decode(genomes[list(new.values())])
        for key, cost in zip(new, self._costs.predict_many(subnets), strict=True):
            self._known[key] = [cost.metric(name) for name in self._metrics]
        values = [self._known[key] for key in rows]
        return np.array(values, dtype=np.float64).reshape(-1, len(self._metrics))


class _Sums:
    """Adds up what blocks cost."""

    def __init__(
        self, encoding: Encoding, blocks: Sequence[tuple[str, str]], metrics: Sequence[Linear]
    ) -> None:
        self._encoding, self._metrics = encoding, metrics
        index = {block: i for i, block in enumerate(blocks)}
        self._tables = [(slot, self._table(slot, index)) for slot in encoding.space.slots]

    def _table(self, slot: Slot, index: dict[tuple[str, str], int]) -> npt.NDArray[np.intp]:
        """[choices, values of the slot's dimensions...]: numbers of blocks."""
        space = self._encoding.space
        known = {d.name: d.values for d in space.dimensions}
        values = [known[name] for name in slot.dimensions]
        numbers = np.zeros((len(slot.choices), *map(len, values)), dtype=np.intp)
        for written in space.written(slot.name):
            choice, at = space.read(slot.name, written)
            place = [v.index(at[name]) for name, v in zip(slot.dimensions, values, strict=True)]
            numbers[(slot.choices.index(choice), *place)] = index[slot.name, written]
        return numbers

    def __call__(self, genomes: Genomes) -> Floats:
        encoding = self._encoding
        sums = [np.full(len(genomes), one.constant) for one in self._metrics]
        peaks = [np.zeros(len(genomes)) for _ in self._metrics]
        for slot, table in self._tables:
            places = [encoding.dimension(name, genomes) for name in slot.dimensions]
            blocks = table[(encoding.choice(slot.name, genomes), *places)]
            used = encoding.active(slot.name, genomes)
            for one, total, peak in zip(self._metrics, sums, peaks, strict=True):
                total += np.where(used, one.per_block[blocks], 0.0)
                if one.peak is not None:
                    np.maximum(peak, np.where(used, one.peak[blocks], 0.0), out=peak)
        return np.column_stack([total + peak for total, peak in zip(sums, peaks, strict=True)])
