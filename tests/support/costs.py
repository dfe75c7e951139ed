"""Prices of subnets as given numbers, and a device on which they can be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan

import numpy as np

from hwnas.bundle import Bundle
from hwnas.select.protocol import Terms
from hwnas.space import Space, Subnet
from hwnas.table.additive import AdditiveCosts, Linear
from hwnas.table.cost import Cost
from hwnas.table.weights import cut_atoms

__all__ = [
    "Device",
    "GivenCosts",
    "GivenQuality",
    "SumCosts",
    "SumQuality",
    "cost",
    "device_of",
    "sums",
]


def cost(p50: float, p95: float | None = None, memory: float = 1e6, weights: int = 1000) -> Cost:
    """A cost; ``p95`` is 1.25 times ``p50`` if it is not given."""
    return Cost(p50, p50 * 1.25 if p95 is None else p95, memory, weights)


class GivenCosts:
    """Follows ``hwnas.select.Costs``. Counts look-ups."""

    def __init__(
        self, predicted: Mapping[str, Cost], measured: Mapping[str, Cost] | None = None
    ) -> None:
        self.predicted = predicted
        self.known = dict(measured or {})
        self.asked: list[str] = []

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        return [self.predicted[subnet.name] for subnet in subnets]

    def measured(self, subnet: Subnet) -> Cost | None:
        self.asked.append(subnet.name)
        return self.known.get(subnet.name)

    def cost(self, subnet: Subnet) -> Cost:
        return self.measured(subnet) or self.predicted[subnet.name]


class Device:
    """Measures subnets: ``Device(truth)`` is a ``hwnas.select.Measure``; remembers which."""

    def __init__(self, truth: Mapping[str, Cost]) -> None:
        self.truth = truth
        self.measured: list[str] = []

    def __call__(self, subnet: Subnet) -> Cost:
        self.measured.append(subnet.name)
        return self.truth[subnet.name]


class GivenQuality:
    """Follows ``hwnas.select.Quality``: rates any subnet, as a function does; remembers which."""

    kind = "function"
    source = "given numbers"

    def __init__(self, values: Mapping[str, float]) -> None:
        self.values = values
        self.evaluated: list[str] = []

    def rated(self) -> None:
        return None

    def scores(self, subnets: Sequence[Subnet], progress: object = None) -> list[float]:
        self.evaluated += [subnet.name for subnet in subnets]
        return [self.values[subnet.name] for subnet in subnets]


class SumCosts:
    """Follows ``hwnas.select.AdditivePrices``: what blocks cost, added up. Counts look-ups."""

    def __init__(self, sums: AdditiveCosts, measured: Mapping[str, Cost] | None = None) -> None:
        self.sums = sums
        self.index = {block: i for i, block in enumerate(sums.blocks)}
        self.known = dict(measured or {})
        self.asked: list[str] = []

    def additive(self) -> AdditiveCosts:
        return self.sums

    def _predict(self, subnet: Subnet) -> Cost:
        blocks = [self.index[pair] for pair in subnet.choices.items()]
        value = {name: linear(blocks) for name, linear in self.sums.metrics.items() if linear}
        size = value.get("bytes", self.sums.shared_bytes(blocks))
        return Cost(
            value["p50"], value.get("p95", nan), value.get("memory", nan), round(size),
            energy_j=value.get("energy", nan), macs=value.get("macs", nan),
        )  # fmt: skip

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        return [self._predict(subnet) for subnet in subnets]

    def measured(self, subnet: Subnet) -> Cost | None:
        self.asked.append(subnet.name)
        return self.known.get(subnet.name)

    def cost(self, subnet: Subnet) -> Cost:
        return self.measured(subnet) or self._predict(subnet)


class SumQuality:
    """Follows ``hwnas.select.AdditiveQuality``."""

    kind = "additive scores"
    source = "given sums"

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def rated(self) -> None:
        return None

    def scores(self, subnets: Sequence[Subnet], progress: object = None) -> list[float]:
        terms = self._terms
        return [
            terms.constant + sum(terms.per_block[pair] for pair in subnet.choices.items())
            for subnet in subnets
        ]

    def terms(self, space: Space) -> Terms:
        return self._terms


def sums(bundle: Bundle, seed: int = 0, steps: int = 0) -> tuple[SumCosts, SumQuality]:
    """Costs and qualities of blocks; multiples of 1/``steps`` if that is given."""
    rng = np.random.default_rng(seed)
    blocks = bundle.manifest.space.blocks

    def draw(low: float, high: float) -> np.ndarray:
        values = rng.uniform(low, high, len(blocks))
        return np.round(values * steps) / steps if steps else values

    wide = np.array([2.0 if choice == "h4" else 1.0 for _, choice in blocks])
    size = np.array([bundle.weight_bytes(Subnet(name="x", spec="x", choices={s: c}))
                     for s, c in blocks], dtype=np.float64)  # fmt: skip
    metrics: dict[str, Linear | None] = {
        "p50": Linear(0.5, wide * draw(0.5, 1.5)),
        "p95": Linear(0.5, wide * draw(0.75, 2.0)),
        "memory": Linear(100.0, size, wide * draw(1, 100)),
        "bytes": Linear(0.0, size),
        "energy": Linear(0.0, wide * draw(0.5, 1.5)),
        "macs": Linear(0.0, wide * 1000),
    }
    gains = dict(zip(blocks, (np.sqrt(wide) * draw(0.5, 1.5)).tolist(), strict=True))
    found = AdditiveCosts(blocks, metrics, cut_atoms(bundle.manifest.blocks))
    return SumCosts(found), SumQuality(Terms(0.25, gains))


def device_of(bundle: Bundle, costs: SumCosts, off: Mapping[str, float], by: float = 1.0) -> Device:
    """One on which all takes ``by`` times what is predicted, or ``off`` times by name."""
    truth = {}
    for subnet in bundle.manifest.space.subnets():
        (price,) = costs.predict_many([subnet])
        factor = off.get(subnet.name, by)
        truth[subnet.name] = replace(
            price, p50_ms=price.p50_ms * factor, p95_ms=price.p95_ms * factor, measured=True
        )
    return Device(truth)
