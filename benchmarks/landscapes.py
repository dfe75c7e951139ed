"""Spaces, costs and qualities for searches to be compared on, made from formulas and a seed.

The space is as large as Once-for-All's MobileNetV3: five stages of two to four blocks with nine
choices each, five resolutions. Costs are additive, as a lookup table's are. Qualities are not.

``staircase``
    The true front is known by construction. A *chain* of subnets leads from the cheapest to the
    dearest, a single step dearer each time, in a random order. A subnet at cost c has the quality
    ``curve(c') - penalty``, where c' is the cost of the dearest subnet of the chain that costs no
    more than c, and the penalty grows with the distance to the nearest subnet of the chain: 0 on
    the chain, above 0 elsewhere. A subnet of the chain beats whatever costs more than it and less
    than the next of the chain, and whatever else costs as much. So the front is the chain, and
    nothing else: a schedule of how resolution, depth and width should grow together.

``network``
    A saturating function of the capacity of each stage, and of the interplay of all choices by a
    network of random weights, three layers of 400 as Once-for-All's accuracy predictor has. Its
    front is not known.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.select import Progress
from hwnas.select.search.encoding import Encoding, Genomes
from hwnas.space import Dimension, PrefixDepth, Slot, Space, Subnet
from hwnas.table import Cost
from hwnas.table.additive import AdditiveCosts, Linear

__all__ = ["Costs", "Formula", "Network", "Staircase", "make_costs", "make_space"]

Floats = npt.NDArray[np.float64]

STAGES, BLOCKS = 5, 4
WIDTHS = (24, 40, 80, 112, 160)
STRIDES = (4, 8, 16, 16, 32)
CHOICES = tuple(f"k{k}e{e}" for k in (3, 5, 7) for e in (3, 4, 6))
RESOLUTIONS = (128, 160, 192, 208, 224)


def make_space() -> Space:
    """2 * 10^19 subnets times five resolutions."""
    stem = Slot(name="stem", dimensions=("r",))
    blocks = [
        Slot(name=f"stage{s}.{b}", choices=CHOICES, dimensions=("r",))
        for s in range(STAGES)
        for b in range(BLOCKS)
    ]
    rules = tuple(
        PrefixDepth(
            name=f"d{s}_", slots=tuple(f"stage{s}.{b}" for b in range(BLOCKS)), depths=(2, 3, 4)
        )
        for s in range(STAGES)
    )
    return Space(
        slots=(stem, *blocks), rules=rules, dimensions=(Dimension(name="r", values=RESOLUTIONS),)
    )


@dataclass(frozen=True, eq=False)
class Costs:
    """Follows :class:`hwnas.select.Costs`: sums of given numbers.

    Attributes:
        space: whose blocks.
        ms: per (slot, written choice).
        weights: bytes of weights, per (slot, written choice).
    """

    space: Space
    ms: dict[tuple[str, str], float]
    weights: dict[tuple[str, str], int]

    def cost(self, subnet: Subnet) -> Cost:
        """The sums over its blocks; its memory is not known."""
        total = sum(self.ms[pair] for pair in subnet.choices.items())
        weights = sum(self.weights[pair] for pair in subnet.choices.items())
        return Cost(total, 1.2 * total, math.nan, weights)

    def predict_many(self, subnets: Sequence[Subnet]) -> list[Cost]:
        """Each one's cost."""
        return [self.cost(subnet) for subnet in subnets]

    def measured(self, subnet: Subnet) -> None:
        """Nothing was measured."""
        return

    def additive(self) -> AdditiveCosts:
        """The same as arrays."""
        metrics = {
            name: Linear(0.0, np.array([float(values[pair]) for pair in self.space.blocks]))
            for name, values in (("p50", self.ms), ("bytes", self.weights))
        }
        return AdditiveCosts(self.space.blocks, metrics, ())


def make_costs(space: Space, seed: int) -> Costs:
    """Milliseconds as a phone's: from multiply-accumulates, with an overhead and 10% of scatter."""
    rng = random.Random(seed)
    # By slot and choice, so that at every slot the order of choices is that at any resolution.
    scatter = {
        (slot.name, choice): rng.uniform(0.9, 1.1)
        for slot in space.slots
        for choice in slot.choices
    }
    ms, weights = {}, {}
    for slot, written in space.blocks:
        choice, at = space.read(slot, written)
        if slot == "stem":
            ms[slot, written], weights[slot, written] = 1.5 * (at["r"] / 224) ** 2, 2_000
            continue
        stage = int(slot[5])
        kernel, expand = int(choice[1]), int(choice[3])
        width = WIDTHS[stage]
        side = -(-at["r"] // STRIDES[stage])
        parameters = width * expand * (2 * width + kernel**2)
        macs = side**2 * parameters
        weights[slot, written] = 4 * parameters
        ms[slot, written] = 0.15 + macs / 2.0e7 * scatter[slot, choice]
    return Costs(space, ms, weights)


class Formula:
    """Follows :class:`hwnas.select.Quality` by a function of rows."""

    kind = "function"

    def __init__(self, space: Space, name: str) -> None:
        self.encoding = Encoding(space)
        self.source = f"formula {name}"
        self.evaluations = 0

    def rated(self) -> None:
        """Any subnet."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """One vectorised call."""
        self.evaluations += len(subnets)
        return [float(value) for value in self.rate(self.encoding.encode(subnets))]

    def rate(self, genomes: Genomes) -> Floats:
        """[n]: qualities."""
        raise NotImplementedError


class Staircase(Formula):
    """See the module's docstring.

    Attributes:
        front: [points, 2]: the true front, negated quality and p50 in ms.
    """

    def __init__(self, space: Space, costs: Costs, seed: int, weight: float = 0.06) -> None:
        super().__init__(space, f"staircase {seed}")
        self._costs, self._weight = costs, weight
        self._ranks = {
            slot.name: np.argsort(np.argsort([self._ms_of(slot.name, c) for c in CHOICES]))
            for slot in space.slots[1:]
        }
        self._chain = self._make_chain(random.Random(seed))
        self._levels = self._level(self._chain)
        self._ms = self._price(self._chain)
        assert (np.diff(self._ms) > 0).all(), "a step of the chain is no dearer"
        self.front = np.column_stack((-self._curve(self._ms), self._ms))

    def rate(self, genomes: Genomes) -> Floats:
        """[n]: qualities, in percent."""
        below = np.searchsorted(self._ms, self._price(genomes) * (1 + 1e-12), side="right") - 1
        levels = self._level(genomes)
        apart = np.abs(levels[:, None, :] - self._levels[None, :, :]).sum(axis=2).min(axis=1)
        penalty = 12.0 * (1 - np.exp(-self._weight * apart))
        quality: Floats = self._curve(self._ms[np.maximum(below, 0)]) - penalty
        return quality

    def _ms_of(self, slot: str, choice: str) -> float:
        return self._costs.ms[slot, f"{choice}.r{RESOLUTIONS[0]}"]

    def _curve(self, ms: Floats) -> Floats:
        """Rises with the logarithm of the cost: some 70% to 80%."""
        rise: Floats = np.log(ms / self._ms[0]) / np.log(self._ms[-1] / self._ms[0])
        return 70.0 + 10.0 * rise

    def _price(self, genomes: Genomes) -> Floats:
        found = self._costs.predict_many(self.encoding.decode(genomes))
        return np.array([cost.p50_ms for cost in found])

    def _level(self, genomes: Genomes) -> Floats:
        """[n, 1 + slots]: how much of everything: 0 for none, else a choice's rank and one."""
        columns = [4.0 * self.encoding.dimension("r", genomes)]
        for slot, ranks in self._ranks.items():
            used = self.encoding.active(slot, genomes)
            columns.append(np.where(used, 1 + ranks[self.encoding.choice(slot, genomes)], 0))
        return np.column_stack(columns).astype(np.float64) / 4

    def _make_chain(self, rng: random.Random) -> Genomes:
        """From cheapest to dearest, a random single step at a time."""
        space = self.encoding.space
        orders = {slot: [CHOICES[i] for i in np.argsort(r)] for slot, r in self._ranks.items()}
        dimensions = {"r": RESOLUTIONS[0]}
        depths = {f"d{s}_": 2 for s in range(STAGES)}
        choices = {slot: order[0] for slot, order in orders.items()}
        chain = [space.compose(dimensions, depths, choices)]
        while True:
            steps: list[tuple[dict[str, int], dict[str, int], dict[str, str]]] = []
            if dimensions["r"] != RESOLUTIONS[-1]:
                larger = RESOLUTIONS[RESOLUTIONS.index(dimensions["r"]) + 1]
                steps.append(({"r": larger}, depths, choices))
            for name, depth in depths.items():
                if depth < BLOCKS:  # what comes in is the cheapest there
                    steps.append((dimensions, {**depths, name: depth + 1}, choices))
            for slot in chain[-1].choices:
                if slot in orders and choices[slot] != orders[slot][-1]:
                    dearer = orders[slot][orders[slot].index(choices[slot]) + 1]
                    steps.append((dimensions, depths, {**choices, slot: dearer}))
            if not steps:
                return self.encoding.encode(chain)
            dimensions, depths, choices = rng.choice(steps)
            chain.append(space.compose(dimensions, depths, choices))


class Network(Formula):
    """See the module's docstring."""

    def __init__(self, space: Space, costs: Costs, seed: int, interplay: float = 1.0) -> None:
        super().__init__(space, f"network {seed}")
        rng = np.random.default_rng(seed)
        columns = int(self.encoding.sizes.sum())
        sizes = [columns, 400, 400, 400, 1]
        # He's initialisation: what comes out has about the scale of what goes in.
        self._layers = [
            (rng.standard_normal((a, b)) * np.sqrt(2 / a), rng.standard_normal(b) * 0.1)
            for a, b in itertools.pairwise(sizes)
        ]
        self._gain = rng.uniform(0.5, 1.5, (STAGES, 1))
        self._interplay = interplay
        drawn = self._network(self.encoding.sample(2000, rng))
        self._centre, self._spread = float(drawn.mean()), float(drawn.std())

    def rate(self, genomes: Genomes) -> Floats:
        """[n]: qualities, in percent."""
        quality = 68.0 + 1.5 * np.log2(1 + self.encoding.dimension("r", genomes))
        for stage in range(STAGES):
            capacity = np.zeros(len(genomes))
            for block in range(BLOCKS):
                name = f"stage{stage}.{block}"
                picked = self.encoding.choice(name, genomes)
                kernel, expand = picked // 3, np.array([3, 4, 6])[picked % 3]
                used = self.encoding.active(name, genomes)
                capacity += np.where(used, expand * (1 + 0.1 * kernel), 0)
            quality = quality + 3.0 * self._gain[stage] * (1 - np.exp(-capacity / 12))
        noise = (self._network(genomes) - self._centre) / self._spread
        rated: Floats = quality + self._interplay * np.tanh(noise / 2)
        return rated

    def _network(self, genomes: Genomes) -> Floats:
        values = self.encoding.one_hot(genomes)
        for i, (weights, bias) in enumerate(self._layers):
            values = values @ weights + bias
            if i < len(self._layers) - 1:
                values = np.maximum(values, 0)
        return values[:, 0]
