"""The cost model: what a subnet costs, from the measurements of its blocks.

Each metric is composed of sums over the blocks as ``forms`` says, with weights that are fitted on
the whole subnets that the table holds (``fit``), and comes with an interval.

Kinds hash shapes and dtypes, so a measurement at another batch size is another kind: it can be
missing, but it cannot be mistaken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from math import inf, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Block, Bundle, bytes_used
from hwnas.errors import BundleError, UnknownName
from hwnas.graphs import macs, parse_model
from hwnas.space import Subnet
from hwnas.table.additive import AdditiveCosts, Linear, bytes_linear, compose
from hwnas.table.cost import METRICS, Cost
from hwnas.table.fit import Fit, choose_fit
from hwnas.table.forms import ENERGY, MEMORY, P50, P95, describe
from hwnas.table.lut import Lut
from hwnas.table.missing import Missing, missing, missing_error
from hwnas.table.records import Measurement
from hwnas.table.weights import WeightBytes

__all__ = ["CostModel"]

_MB = 1e6
_UNITS = {"memory": "MB", "energy": "J"}

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
        MissingMeasurements: kinds that are needed have no good measurement; they are named, with
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
            raise missing_error(bundle, lut, lacking)
        blocks = bundle.manifest.blocks
        kinds = dict.fromkeys(block.kind for block in blocks.values())
        found = {kind: lut.measurement(kind, "block") for kind in kinds}
        self._index = {(block.slot, block.choice): i for i, block in enumerate(blocks.values())}
        self._blocks = _Blocks([found[block.kind] for block in blocks.values()])
        self._weights = WeightBytes(blocks)
        # What two blocks share each of them reads: traffic adds up where bytes do not.
        self._read = np.array([bytes_used([block]) for block in blocks.values()]) / _MB
        self._counted: dict[str, float] = {}
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
            energy_j=_joules(found),
            macs=sum(self._kind_macs(self.bundle.manifest.blocks[unit]) for unit in subnet.blocks),
        )

    def predict(self, subnet: Subnet) -> Cost:
        """The cost of ``subnet`` from its blocks; raises as :meth:`predict_many`."""
        return self.predict_many([subnet])[0]

    def cost(self, subnet: Subnet) -> Cost:
        """Measured if there is a measurement of the whole, else predicted."""
        return self.measured(subnet) or self.predict(subnet)

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        """Costs from blocks, in order; some 10^5 subnets a second.

        ``memory_bytes`` and ``energy_j`` are NaN where the device does not tell them.

        Raises:
            MissingMeasurements: a block without a measurement, not among the constructor's
                ``subnets``.
            UnknownName: a subnet of another space.
        """
        calls = self._calls(subnets)
        features = self._features(calls)
        if np.isnan(features["warm"]).any():
            raise missing_error(self.bundle, self._lut, self.missing(subnets))
        features["p50"] = self._fits["p50"](features)
        count = len(subnets)
        columns: dict[str, Iterable[Any]] = {
            "bytes": self._weights.of(calls.blocks, calls.counts).tolist(),
            "macs": self._blocks.total(self._macs, calls).tolist(),
        }
        ends: dict[str, Iterable[Any]] = {}
        for name, fit in self._fits.items():
            divide = _MB if name == "memory" else 1.0
            values = fit(features) * divide
            # One and the same NaN where all is unknown: then equal costs compare equal.
            columns[name] = repeat(nan, count) if np.isnan(values).all() else values.tolist()
            found = fit.intervals(features)
            ends[name] = (
                repeat(None, count)
                if found is None
                else zip(*((end * divide).tolist() for end in found), strict=True)
            )
        ahead = zip(*ends.values(), strict=True)
        rows = zip(*(columns[name] for name in METRICS), ahead, strict=True)
        return [
            Cost(p50, p95, memory, size, False, None, a, b, c, joules, arithmetic, d)
            for p50, p95, memory, size, joules, arithmetic, (a, b, c, d) in rows
        ]

    def additive(self) -> AdditiveCosts:
        """What :meth:`predict_many` computes, block by block."""
        blocks = self.bundle.manifest.blocks
        atoms = self._weights.atoms
        size = bytes_linear(blocks, atoms, self.bundle.manifest.space.skippable)
        features: dict[str, Linear | None] = {
            **self._blocks.linear(),
            "weights": Linear(0.0, self._read),
            "blocks": Linear(0.0, np.ones(len(blocks))),
            "one": Linear(1.0, np.zeros(len(blocks))),
        }
        metrics: dict[str, Linear | None] = {}
        for name, fit in self._fits.items():
            found = compose(fit, features)
            if name == "p50":
                features["p50"] = found
            elif name == "memory" and found is not None:
                found = found.scaled(_MB)
            metrics[name] = found
        metrics |= {"bytes": size, "macs": Linear(0.0, self._macs)}
        known = {
            name: found if found is None or not _unknown(found) else None
            for name, found in metrics.items()
        }
        pairs = tuple((block.slot, block.choice) for block in blocks.values())
        return AdditiveCosts(pairs, {name: known[name] for name in METRICS}, atoms)

    def describe(self) -> list[str]:
        """What the model does, one line per metric, for people; then what to know of the table."""
        lines = []
        for name, fit in self._fits.items():
            if name == "energy" and np.isnan(self._blocks.energy).all():
                continue
            text = describe(name, fit, _UNITS.get(name, "ms"))
            if name == "memory" and self._blocks.memory_unknown:
                text = "not measured, since this device does not tell it"
            if name == "p95" and self._blocks.tail_unknown:
                text = "not known, since only means were imported"
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
        found["weights"] = self._blocks.total(self._read, calls)
        found["blocks"] = calls.counts.astype(np.float64)
        found["one"] = np.ones(len(calls.counts))
        return found

    @cached_property
    def _macs(self) -> NDArray[np.float64]:
        """Multiply-accumulates of each block, shape (blocks,)."""
        return np.array([self._kind_macs(b) for b in self.bundle.manifest.blocks.values()])

    def _kind_macs(self, block: Block) -> float:
        """Of a block, counted once for all of its kind; NaN where its graph does not tell."""
        if block.kind not in self._counted:
            unit = f"{block.slot}/{block.choice}"
            model = parse_model(self.bundle.model(unit), unit)
            try:
                self._counted[block.kind] = float(macs(model))
            except BundleError:
                self._counted[block.kind] = nan
        return self._counted[block.kind]

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
            "energy": choose_fit("energy", ENERGY, features, [_joules(m) for m in found]),
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
        subnets: how many.
        which: number of the subnet of each of ``blocks``.
    """

    def __init__(self, blocks: NDArray[np.intp], counts: NDArray[np.intp]) -> None:
        self.blocks, self.counts = blocks, counts
        self.subnets = len(counts)
        self.which = np.repeat(np.arange(self.subnets), counts)


class _Blocks:
    """Costs per block, each of shape (blocks,): ms, bytes and J; NaN where unknown."""

    def __init__(self, found: Sequence[Measurement | None]) -> None:
        self._p50 = np.array([m.p50_ms if m else nan for m in found])
        self._p95 = np.array([m.p95_ms if m else nan for m in found])
        self._penalty = np.array([_penalty(m) if m else nan for m in found])
        self._load = np.array([_bytes(m.load_bytes if m else None) for m in found])
        self._run = np.array([_bytes(m.run_bytes if m else None) for m in found])
        self.energy = np.array([_joules(m) if m else nan for m in found])

    @property
    def memory_unknown(self) -> bool:
        return bool(np.isnan(self._load + self._run).all())

    @property
    def tail_unknown(self) -> bool:
        return bool(np.isnan(self._p95).all())

    def total(self, values: NDArray[np.float64], calls: _Calls) -> NDArray[np.float64]:
        """Sum of ``values`` over the blocks of each subnet, shape (subnets,)."""
        summed = np.bincount(calls.which, weights=values[calls.blocks], minlength=calls.subnets)
        return summed.astype(np.float64)

    def sums(self, calls: _Calls) -> dict[str, NDArray[np.float64]]:
        """Per subnet and feature, shape (subnets,)."""
        highest = np.zeros(calls.subnets)
        # Infinity is greater than all others and NaN is not; nor does NumPy warn about it.
        np.maximum.at(highest, calls.which, np.nan_to_num(self._run, nan=inf)[calls.blocks])
        highest[np.isinf(highest)] = nan
        return {
            "warm": self.total(self._p50, calls),
            "tail": self.total(self._p95, calls),
            "penalty": self.total(self._penalty, calls),
            "memory": (self.total(self._load, calls) + highest) / _MB,
            "energy": self.total(self.energy, calls),
        }

    def linear(self) -> Mapping[str, Linear]:
        """The same features as sums over blocks."""
        return {
            "warm": Linear(0.0, self._p50),
            "tail": Linear(0.0, self._p95),
            "penalty": Linear(0.0, self._penalty),
            "memory": Linear(0.0, self._load / _MB, self._run / _MB),
            "energy": Linear(0.0, self.energy),
        }


def _unknown(found: Linear) -> bool:
    """Whether it is known of no block."""
    peak = 0.0 if found.peak is None else found.peak
    return bool(np.isnan(found.per_block + peak).all())


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
    return nan if value is None else float(max(value, 0))


def _memory(measurement: Measurement) -> float:
    total = measurement.memory_bytes
    return nan if total is None else total


def _joules(measurement: Measurement) -> float:
    joules = measurement.joules
    return nan if joules is None else joules
