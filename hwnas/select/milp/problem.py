"""Choosing where cost and quality are sums over blocks: as integer programs, solved exactly.

Latency, energy, multiply-accumulates and mostly bytes are sums. Peak memory is a sum and a maximum:
one more column, at least as high as what the block of each slot needs while it runs. Bytes of
tensors that slots share are counted by atoms: a column for each, 1 if any of its users runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from hwnas.errors import HwnasError, TableError, shorten
from hwnas.select.milp.highs import relax
from hwnas.select.milp.model import Floats, Model
from hwnas.select.milp.program import EXCESS, Program
from hwnas.select.milp.search import Optimum, Part, optimise
from hwnas.select.milp.structure import Structure
from hwnas.select.protocol import Terms
from hwnas.space import Space, Subnet
from hwnas.table.additive import AdditiveCosts, Linear

__all__ = ["SECONDS", "AdditiveProblem", "Best", "Query"]

SECONDS = 60.0
"""For one question: after that, the best that is known is the answer, and how far off it may be."""


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        limits: metric to the most that it may be, in the metric's unit, as predicted.
        floor: the least quality.
        minimize: the metric that is to be least; None for the greatest quality.
        without: subnets that are not wanted.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None
    minimize: str | None = None
    without: tuple[Subnet, ...] = ()


@dataclass(frozen=True)
class Best:
    """The answer.

    Attributes:
        subnet: that it is; of equal ones that with lower p50, then fewer bytes.
        value: its quality, or the metric that was to be least.
        bound: no other is better than that; as ``value`` if that is proven.
        proven: whether it is, to a billionth of the objective's range.
    """

    subnet: Subnet
    value: float
    bound: float
    proven: bool


class AdditiveProblem:
    """All of one space's subnets, priced and rated by sums.

    Args:
        space: any.
        costs: what each block costs.
        terms: what each block adds to the quality; None where only costs are asked about.

    Raises:
        TableError: a block of the space has no cost or no quality.
        MissingExtra: the solver is not installed; raised by the first question.
    """

    def __init__(self, space: Space, costs: AdditiveCosts, terms: Terms | None = None) -> None:
        self.space, self.costs = space, costs
        self.structure = Structure(space, costs.blocks)
        self._parts = [Part(columns) for columns in self.structure.parts()]
        self.quality = None if terms is None else self._quality(terms)

    def _quality(self, terms: Terms) -> Linear:
        names = self.costs.blocks
        values = np.array([terms.per_block.get(block, math.nan) for block in names])
        used = [i for blocks in self.structure.slots.values() for i in blocks]
        unknown = [i for i in used if not math.isfinite(values[i])]
        if unknown or not math.isfinite(terms.constant):
            named = shorten("/".join(names[i]) for i in unknown) or "the constant"
            raise TableError(f"the quality of {named} is not known", "give it in --quality")
        return Linear(terms.constant, values)

    def linear(self, metric: str) -> Linear | None:
        """``metric`` as a sum, ``quality`` included; None if it is counted by atoms.

        Raises:
            TableError: it is not known of some block.
        """
        found = self.quality if metric == "quality" else self.costs.metrics.get(metric)
        if found is None and metric == "bytes" and self.costs.atoms:
            return None
        blocks = [i for numbers in self.structure.slots.values() for i in numbers]
        values = np.zeros(0) if found is None else found.per_block[blocks]
        if found is None or not np.isfinite(values).all() or not math.isfinite(found.constant):
            unknown = [blocks[i] for i in np.flatnonzero(~np.isfinite(values))]
            of = shorten("/".join(self.costs.blocks[i]) for i in unknown) or "any block"
            raise TableError(
                f"{metric} is not known of {of}",
                f"drop the budget on {metric}, or profile where it can be measured",
            )
        return found

    def value(self, metric: str, subnet: Subnet) -> float:
        """``metric`` of ``subnet``, or its ``quality``."""
        numbers, found = self.structure.numbers(subnet), self.linear(metric)
        return float(self.costs.shared_bytes(numbers)) if found is None else found(numbers)

    def best(
        self, query: Query, starts: Sequence[Subnet] = (), seconds: float = SECONDS
    ) -> Best | None:
        """The best subnet; None if there is none.

        Args:
            query: what is asked for.
            starts: subnets that may be good; they save time.
            seconds: see :data:`SECONDS`.

        Raises:
            TableError: a metric of the query is not known of some block.
            MissingExtra: the solver is not installed.
            HwnasError: time was up before any subnet was found, or proven not to exist.
        """
        first = query.minimize or "quality"
        order = [first, *(name for name in ("quality", "p50", "bytes") if name != first)]
        if self.quality is None:
            order.remove("quality")
        program = self._program(query, order)
        deadline = time.monotonic() + seconds
        begin = [self._vector(program, subnet) for subnet in starts]
        parts = [program.widened(part) for part in self._parts]
        found = optimise(program.model(first), parts, deadline, begin)
        if not isinstance(found, Optimum):
            self._none(found, seconds)
            return None
        best = found
        for held, metric in pairwise(order):
            if not best.proven:
                break
            program.hold(held, best.value)
            again = optimise(program.model(metric), best.parts, deadline, [best.x])
            if not isinstance(again, Optimum):
                break
            best = again
        subnet = self.structure.subnet(best.x)
        value = self.value(first, subnet)
        bound = value if found.proven else program.real(first, found.bound)
        return Best(subnet, value, bound, found.proven)

    def nearest(
        self, limits: Mapping[str, float], floor: float | None = None, seconds: float = SECONDS
    ) -> Subnet:
        """The subnet whose worst excess over ``limits``, as a share of each, is the least.

        Of equal ones, that of lower p50. A floor is a limit too: what is missing is its excess.
        """
        program = self._program(Query(limits, floor), ["p50"], elastic=True)
        parts = [program.widened(part) for part in self._parts]
        deadline = time.monotonic() + seconds
        found = optimise(program.model(EXCESS), parts, deadline)
        if not isinstance(found, Optimum):
            self._none(found, seconds)
            raise AssertionError("with all limits loose, every subnet is possible")
        program.hold(EXCESS, found.value)
        again = optimise(program.model("p50"), found.parts, deadline, [found.x])
        return self.structure.subnet((again if isinstance(again, Optimum) else found).x)

    def worth(self, query: Query) -> dict[str, float]:
        """By how much one more unit of each limit would better the answer, with fractions allowed.

        Quality (or what is to be least) per unit of the metric: the duals of the relaxation, of
        the part where it is best.
        """
        first = query.minimize or "quality"
        program = self._program(query, [first])
        model = program.model(first)
        found = [relax(model.only(program.widened(part).columns)) for part in self._parts]
        best = max((f for f in found if f), key=lambda f: f.value, default=None)
        return {} if best is None else program.duals(first, best.duals)

    def model(self, query: Query) -> tuple[Model, float]:
        """The program of ``query`` itself, for those that put several into one.

        Also what one unit of its objective is, in that of the quality or metric.
        """
        first = query.minimize or "quality"
        program = self._program(query, [first])
        return program.model(first), program.scale[first]

    def _program(self, query: Query, order: Sequence[str], *, elastic: bool = False) -> Program:
        names = {*order, *query.limits, *(["quality"] if query.floor is not None else [])}
        program = Program(
            self.structure,
            {name: self.linear(name) for name in sorted(names)},
            self.costs.atoms,
            elastic=elastic,
        )
        for metric, limit in query.limits.items():
            program.limit(metric, limit)
        if query.floor is not None:
            program.limit("quality", query.floor, -1.0)
        for subnet in query.without:
            program.forbid(self.structure.telling(subnet))
        return program

    def _vector(self, program: Program, subnet: Subnet) -> Floats:
        return program.vector(self.structure.vector(subnet), self.structure.numbers(subnet))

    def _none(self, bound: float, seconds: float) -> None:
        if bound != -math.inf:
            raise HwnasError(
                f"in {seconds:g} s no subnet was found that fits, nor that there is none",
                "loosen a budget, or select with --method search",
            )
