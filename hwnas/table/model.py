"""The cost model: what a subnet costs, from the measurements of its blocks.

    cost of a subnet = scale * sum over its blocks + offset

for the median, the 95th percentile and memory each, calibrated on the whole subnets that the
table holds (``fit``). Memory is what loading each block adds, plus the most that running one
adds: buffers of blocks that run one after the other are used again.

Kinds hash shapes and dtypes, so a measurement at another batch size is another kind: it can be
missing, but it cannot be mistaken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.errors import UnknownName
from hwnas.space import Subnet
from hwnas.table.cost import Cost
from hwnas.table.fit import Line, fit_line
from hwnas.table.lut import Lut
from hwnas.table.missing import Missing, missing, missing_error
from hwnas.table.records import Measurement
from hwnas.table.weights import WeightBytes

__all__ = ["CostModel"]

_MB = 1e6


class CostModel:
    """Prices the subnets of one bundle with one table.

    Predictions are fixed once it is constructed; measurements of whole subnets are looked up in
    the table as it is when they are asked for. Used by one thread, as the table is.

    Args:
        bundle: of form ``space``.
        lut: holds its kinds; stays open.
        subnets: those that will be asked for; ``None`` for all of the space.

    Raises:
        MissingMeasurements: kinds that are needed have no good measurement; all are named, with
            the error of those that failed, and the command that measures them.
    """

    def __init__(self, bundle: Bundle, lut: Lut, subnets: Iterable[Subnet] | None = None) -> None:
        self._bundle, self._lut = bundle, lut
        lacking = self.missing(subnets)
        if lacking:
            raise missing_error(bundle.path, lut.path, lacking)
        blocks = bundle.manifest.blocks
        kinds = dict.fromkeys(block.kind for block in blocks.values())
        found = {kind: lut.measurement(kind, "block") for kind in kinds}
        self._index = {(block.slot, block.choice): i for i, block in enumerate(blocks.values())}
        self._blocks = _Blocks([found[block.kind] for block in blocks.values()])
        self._weights = WeightBytes(blocks)
        self._lines = self._fit()

    def missing(self, subnets: Iterable[Subnet] | None = None) -> list[Missing]:
        """The kinds that the table lacks for ``subnets``, by default for all of the space."""
        return missing(self._bundle, self._lut, subnets)

    def measured(self, subnet: Subnet) -> Cost | None:
        """The cost of ``subnet`` as it was measured whole; ``None`` if it was not."""
        found = self._lut.measurement(self._bundle.subnet_kind(subnet), "subnet")
        if found is None:
            return None
        return Cost(
            p50_ms=found.p50_ms,
            p95_ms=found.p95_ms,
            memory_bytes=_memory(found),
            weight_bytes=self._bundle.weight_bytes(subnet),
            measured=True,
            p50_interval_ms=found.statistics.p50_interval_ms,
        )

    def predict(self, subnet: Subnet) -> Cost:
        """The cost of ``subnet`` from its blocks; raises as :meth:`predict_many`."""
        return self.predict_many([subnet])[0]

    def cost(self, subnet: Subnet) -> Cost:
        """Measured if there is a measurement of the whole, else predicted."""
        return self.measured(subnet) or self.predict(subnet)

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        """Costs from blocks, in order; some 10^5 subnets a second.

        ``memory_bytes`` is NaN where the device does not tell memory.

        Raises:
            MissingMeasurements: a block without a measurement, not among the constructor's
                ``subnets``.
            UnknownName: a subnet of another space.
        """
        calls = self._calls(subnets)
        sums = self._blocks.sums(calls)
        if np.isnan(sums["p50"]).any():
            raise missing_error(self._bundle.path, self._lut.path, self.missing(subnets))
        columns = [self._lines[name](values).tolist() for name, values in sums.items()]
        weights = self._weights.of(calls.blocks, calls.counts).tolist()
        return [Cost(*row) for row in zip(*columns, weights, strict=True)]

    def describe(self) -> list[str]:
        """What the model does, one line per metric, for people."""
        lines = []
        for name, line in self._lines.items():
            unit, divide = ("MB", _MB) if name == "memory" else ("ms", 1.0)
            text = line.describe(unit, divide)
            if name == "memory" and self._blocks.memory_unknown:
                text = "not measured, since this device does not tell it"
            lines.append(f"{name}: {text}")
        return lines

    def _calls(self, subnets: Sequence[Subnet]) -> _Calls:
        index = self._index
        try:
            pairs = chain.from_iterable(subnet.choices.items() for subnet in subnets)
            blocks = np.fromiter((index[pair] for pair in pairs), dtype=np.intp)
        except KeyError as error:
            slot, choice = error.args[0]
            known = [f"{slot}/{choice}" for slot, choice in index]
            raise UnknownName("block", f"{slot}/{choice}", known) from None
        return _Calls(blocks, np.array([len(subnet.choices) for subnet in subnets], dtype=np.intp))

    def _fit(self) -> dict[str, Line]:
        known = self._whole_subnets()
        sums = self._blocks.sums(self._calls([subnet for subnet, _ in known]))
        least = self._blocks.sums(self._calls([self._bundle.manifest.space.smallest()]))
        found = [measurement for _, measurement in known]
        measured = {
            "p50": [m.p50_ms for m in found],
            "p95": [m.p95_ms for m in found],
            "memory": [_memory(m) for m in found],
        }
        return {
            name: fit_line(sums[name].tolist(), values, float(least[name][0]))
            for name, values in measured.items()
        }

    def _whole_subnets(self) -> list[tuple[Subnet, Measurement]]:
        """Subnets of this bundle that the table holds whole, found by their labels."""
        known = []
        for key in self._lut.keys("subnet"):
            measurement = self._lut.measurement(key, "subnet")
            if measurement is None:
                continue
            try:
                subnet = self._bundle.manifest.space.find(measurement.label)
            except UnknownName:
                continue
            if self._bundle.subnet_kind(subnet) == key:
                known.append((subnet, measurement))
        return known


class _Calls:
    """The blocks of several subnets, one subnet after the other.

    Attributes:
        blocks: block numbers, shape (calls,).
        counts: how many of them each subnet has, shape (subnets,).
    """

    def __init__(self, blocks: NDArray[np.intp], counts: NDArray[np.intp]) -> None:
        self.blocks, self.counts = blocks, counts


class _Blocks:
    """Costs per block: ms, NaN where unknown; bytes, infinite where unknown.

    Infinity outweighs in sums and maxima without NumPy's warning about NaN.
    """

    def __init__(self, found: Sequence[Measurement | None]) -> None:
        self._p50 = np.array([m.p50_ms if m else nan for m in found])
        self._p95 = np.array([m.p95_ms if m else nan for m in found])
        self._load = np.array([_bytes(m.load_bytes if m else None) for m in found])
        self._run = np.array([_bytes(m.run_bytes if m else None) for m in found])

    @property
    def memory_unknown(self) -> bool:
        return bool(np.isinf(self._load + self._run).all())

    def sums(self, calls: _Calls) -> dict[str, NDArray[np.float64]]:
        """Per subnet and metric, shape (subnets,): the sum, for memory with the highest run."""
        subnets = len(calls.counts)
        which = np.repeat(np.arange(subnets), calls.counts)

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            summed = np.bincount(which, weights=values[calls.blocks], minlength=subnets)
            return summed.astype(np.float64)

        highest = np.zeros(subnets)
        np.maximum.at(highest, which, self._run[calls.blocks])
        memory = total(self._load) + highest
        memory[np.isinf(memory)] = nan
        return {"p50": total(self._p50), "p95": total(self._p95), "memory": memory}


def _bytes(value: int | None) -> float:
    # Below 0: what was there before shrank meanwhile. The job itself cost nothing that shows.
    return inf if value is None else float(max(value, 0))


def _memory(measurement: Measurement) -> float:
    total = _bytes(measurement.load_bytes) + _bytes(measurement.run_bytes)
    return nan if total == inf else total
