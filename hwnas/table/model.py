"""The cost model: what a subnet costs, from the measurements of its blocks.

Each metric is composed of sums over the blocks as ``forms`` says, with weights that are fitted on
the whole subnets that the table holds (``fit``), and comes with an interval.

Kinds hash shapes and dtypes, so a measurement at another batch size is another kind: it can be
missing, but it cannot be mistaken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain, repeat
from math import inf, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.errors import UnknownName
from hwnas.space import Subnet
from hwnas.table.cost import Cost
from hwnas.table.fit import Fit, choose_fit
from hwnas.table.forms import MEMORY, P50, P95, describe
from hwnas.table.lut import Lut
from hwnas.table.missing import Missing, missing, missing_error
from hwnas.table.records import Measurement
from hwnas.table.weights import WeightBytes

__all__ = ["CostModel"]

_MB = 1e6

_SIGMAS = 1.96
"""Standard errors in half a 95% interval."""


class CostModel:
    """Prices the subnets of one bundle with one table.

    Predictions are fixed once it is constructed; measurements of whole subnets are looked up in
    the table as it is when they are asked for. Used by one thread, as the table is.

    Args:
        bundle: of form ``space``; also an attribute.
        lut: holds its kinds; stays open.
        subnets: those that will be asked for; ``None`` for all of the space.
        without: subnets to leave out of the fit, if the table holds them whole: those that
            predictions are to be checked on.

    Raises:
        MissingMeasurements: kinds that are needed have no good measurement; all are named, with
            the error of those that failed, and the command that measures them.
    """

    def __init__(
        self,
        bundle: Bundle,
        lut: Lut,
        subnets: Iterable[Subnet] | None = None,
        *,
        without: Iterable[Subnet] = (),
    ) -> None:
        self.bundle, self._lut = bundle, lut
        self._without = {bundle.subnet_kind(subnet) for subnet in without}
        lacking = self.missing(subnets)
        if lacking:
            raise missing_error(bundle.path, lut.path, lacking)
        blocks = bundle.manifest.blocks
        kinds = dict.fromkeys(block.kind for block in blocks.values())
        found = {kind: lut.measurement(kind, "block") for kind in kinds}
        self._index = {(block.slot, block.choice): i for i, block in enumerate(blocks.values())}
        self._blocks = _Blocks([found[block.kind] for block in blocks.values()])
        self._weights = WeightBytes(blocks)
        self._fits = self._fit({bundle.subnet_kind(subnet) for subnet in without})

    def missing(self, subnets: Iterable[Subnet] | None = None) -> list[Missing]:
        """The kinds that the table lacks for ``subnets``, by default for all of the space."""
        return missing(self.bundle, self._lut, subnets)

    def measured(self, subnet: Subnet) -> Cost | None:
        """The cost of ``subnet`` as it was measured whole; ``None`` if it was not."""
        found = self._lut.measurement(self.bundle.subnet_kind(subnet), "subnet")
        if found is None:
            return None
        return Cost(
            p50_ms=found.p50_ms,
            p95_ms=found.p95_ms,
            memory_bytes=_memory(found),
            weight_bytes=self.bundle.weight_bytes(subnet),
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
        features = self._features(calls)
        if np.isnan(features["warm"]).any():
            raise missing_error(self.bundle.path, self._lut.path, self.missing(subnets))
        features["p50"] = self._fits["p50"](features)
        columns: list[Iterable[Any]] = []
        ends: list[Iterable[Any]] = []
        for name, fit in self._fits.items():
            divide = _MB if name == "memory" else 1.0
            columns.append((fit(features) * divide).tolist())
            found = fit.intervals(features)
            ends.append(
                repeat(None, len(subnets))
                if found is None
                else zip(*((end * divide).tolist() for end in found), strict=True)
            )
        weights = self._weights.of(calls.blocks, calls.counts).tolist()
        return [
            Cost(p50, p95, memory, size, False, None, *intervals)
            for p50, p95, memory, size, *intervals in zip(*columns, weights, *ends, strict=True)
        ]

    def describe(self) -> list[str]:
        """What the model does, one line per metric, for people; then what to know of the table."""
        lines = []
        for name, fit in self._fits.items():
            text = describe(name, fit, "MB" if name == "memory" else "ms")
            if name == "memory" and self._blocks.memory_unknown:
                text = "not measured, since this device does not tell it"
            lines.append(f"{name}: {text}")
        return lines

    def notes(self) -> list[str]:
        """What whoever uses predictions must know of the table: ``Lut.notes``."""
        return self._lut.notes()

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

    def _features(self, calls: _Calls) -> dict[str, NDArray[np.float64]]:
        """What ``forms`` names, but for ``p50``, per subnet."""
        found = self._blocks.sums(calls)
        found["weights"] = self._weights.of(calls.blocks, calls.counts) / _MB
        found["blocks"] = calls.counts.astype(np.float64)
        found["one"] = np.ones(len(calls.counts))
        return found

    def _fit(self, without: Collection[str]) -> dict[str, Fit]:
        known = self._whole_subnets(without)
        space = self.bundle.manifest.space
        features = self._features(self._calls([subnet for subnet, _ in known]))
        ends = self._features(self._calls([space.smallest(), space.largest()]))
        ends = {name: column[np.isfinite(ends["warm"])] for name, column in ends.items()}
        found = [measurement for _, measurement in known]
        noise = _noise(found)
        level = _level(found)
        p50 = choose_fit("warm", P50, features, [m.p50_ms for m in found], noise, ends, level)
        features["p50"], ends["p50"] = p50(features), p50(ends)
        p95 = choose_fit("tail", P95, features, [m.p95_ms for m in found], noise, None, level)
        whole = [_memory(m) / _MB for m in found]
        return {
            "p50": p50,
            "p95": p95,
            "memory": choose_fit("memory", MEMORY, features, whole),
        }

    def _whole_subnets(self, without: Collection[str]) -> list[tuple[Subnet, Measurement]]:
        """Subnets of this bundle that the table holds whole, found by their labels."""
        known = []
        for key in self._lut.keys("subnet"):
            if key in without:
                continue
            measurement = self._lut.measurement(key, "subnet")
            if measurement is None or key in self._without:
                continue
            try:
                subnet = self.bundle.manifest.space.find(measurement.label)
            except UnknownName:
                continue
            if self.bundle.subnet_kind(subnet) == key:
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
        self._penalty = np.array([_penalty(m) if m else nan for m in found])
        self._load = np.array([_bytes(m.load_bytes if m else None) for m in found])
        self._run = np.array([_bytes(m.run_bytes if m else None) for m in found])

    @property
    def memory_unknown(self) -> bool:
        return bool(np.isinf(self._load + self._run).all())

    def sums(self, calls: _Calls) -> dict[str, NDArray[np.float64]]:
        """Per subnet and feature, shape (subnets,)."""
        subnets = len(calls.counts)
        which = np.repeat(np.arange(subnets), calls.counts)

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            summed = np.bincount(which, weights=values[calls.blocks], minlength=subnets)
            return summed.astype(np.float64)

        highest = np.zeros(subnets)
        np.maximum.at(highest, which, self._run[calls.blocks])
        memory = (total(self._load) + highest) / _MB
        memory[np.isinf(memory)] = nan
        return {
            "warm": total(self._p50),
            "tail": total(self._p95),
            "penalty": total(self._penalty),
            "memory": memory,
        }


def _penalty(measurement: Measurement) -> float:
    # No cold run is taken of a block so slow that it does not live on what it finds in caches.
    cold = measurement.cold_p50_ms
    return 0.0 if cold is None else max(cold - measurement.p50_ms, 0.0)


def _noise(found: Sequence[Measurement]) -> float:
    """Relative standard error of a typical one of these medians."""
    errors = []
    for measurement in found:
        ends = measurement.statistics.p50_interval_ms
        if ends is not None:
            errors.append((ends[1] - ends[0]) / (2 * _SIGMAS * measurement.p50_ms))
    return float(np.median(errors)) if errors else 0.0


def _level(found: Sequence[Measurement]) -> float:
    """By how much all of a measurement may be higher or lower another time, relative.

    Two sittings of the table and two of a later measurement each lie off by chance, all items of a
    sitting alike; of two sittings that differ by D, each varies by D / sqrt(2), and means of two by
    half of that variance, on both sides.
    """
    apart = []
    for measurement in found:
        by_sitting: dict[int, list[float]] = {}
        for turn, flag in zip(measurement.turns, measurement.flags, strict=True):
            if not flag:
                by_sitting.setdefault(turn.sitting, []).append(float(np.median(turn.ns)))
        if len(by_sitting) > 1:
            first, *_, last = (np.median(by_sitting[sitting]) for sitting in sorted(by_sitting))
            apart.append(float(np.log(last / first)))
    return abs(float(np.median(apart))) / sqrt(2) if apart else 0.0


def _bytes(value: int | None) -> float:
    # Below 0: what was there before shrank meanwhile. The job itself cost nothing that shows.
    return inf if value is None else float(max(value, 0))


def _memory(measurement: Measurement) -> float:
    total = measurement.memory_bytes
    return nan if total is None else total
