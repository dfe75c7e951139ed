"""Once-for-all selection beside its authors' own search: ``make bench-ofa``.

Compiles MobileNetV3 (w1.0) at 160, 192 and 224 with weights that the authors' package ``ofa``
initialised, and measures its blocks, once, into ``build/bench/ofa``. Then, on that one table and
one additive quality:

* the exact answer beside the authors' ``EvolutionFinder`` (population 100, 500 generations) under
  the same latency budget, each in turn;
* three budgets at once, a front of 20 points, a budget that nothing meets;
* one chosen subnet, from the compiled bundle to a finalised one.

Goals: exact in under 1 s and at least as good; the front in under 10 s; the bundle in under 20 s.
Exits with 1 if one is missed. Nothing else should run meanwhile.
"""

from __future__ import annotations

import math
import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hwnas.bundle import Bundle
from hwnas.select import Terms
from hwnas.select.milp import AdditiveProblem, Query, solver
from hwnas.table import AdditiveCosts, CostModel, Lut

OUT = Path("build/bench/ofa")
RESOLUTIONS = (160, 192, 224)
BUDGETS = (0.3, 0.45, 0.6)
"""Of the largest subnet's latency."""

_PATIENCE = 20.0
"""Seconds that the authors' search gets with a budget that nothing meets."""

T = TypeVar("T")


def prepare() -> tuple[Bundle, AdditiveCosts]:
    """The compiled network and what its blocks cost; made on the first call, then kept."""
    net, table, weights = OUT / "net.hwnas", OUT / "lut.db", OUT / "ofa_mbv3_w1.0.pt"
    if not net.exists():
        import torch
        from authors import network

        OUT.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save({"state_dict": network().state_dict()}, weights)
        sides = ",".join(map(str, RESOLUTIONS))
        _hwnas("compile", "ofa:mbv3-w1.0", "--weights", weights, "--resolution", sides, "-o", net)
    if not table.exists():
        _hwnas("profile", net, "--target", "cpu", "--ci", "5", "-o", table)
    bundle = Bundle.open(net, "space")
    with Lut.open(table) as lut:
        return bundle, CostModel(bundle, lut).additive()


def _hwnas(*arguments: object) -> float:
    """Run a command; how long it took, in s."""
    started = time.perf_counter()
    subprocess.run(["hwnas", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def additive_quality(bundle: Bundle, costs: AdditiveCosts) -> Terms:
    """A plausible one: more arithmetic is better, ever less so, and not everywhere alike."""
    macs = costs.metrics["macs"]
    assert macs is not None
    rng = random.Random(0)
    per_block, seen = {}, dict[tuple[str, str], float]()
    for block, size in zip(costs.blocks, macs.per_block.tolist(), strict=True):
        base, at = bundle.manifest.space.read(*block)
        liked = seen.setdefault((block[0], base), rng.uniform(0.6, 1.4))
        elastic = len(bundle.manifest.space.slot(block[0]).choices) > 1
        at_full = size * (RESOLUTIONS[-1] / at.get("r", RESOLUTIONS[-1])) ** 2
        per_block[block] = liked * math.log2(1 + at_full / 1e6) / 4 if elastic else 0.0
        if block[0] == "stem":
            per_block[block] = 6 * math.log2(at["r"] / RESOLUTIONS[0])
    return Terms(60.0, per_block)


class Authors:
    """Prices and rates the authors' samples by our table and quality: two look-ups per block."""

    def __init__(self, bundle: Bundle, costs: AdditiveCosts, terms: Terms) -> None:
        p50 = costs.metrics["p50"]
        assert p50 is not None
        self._ms = dict(zip(costs.blocks, p50.per_block.tolist(), strict=True))
        self._terms = terms.per_block
        self._constant, self._base = p50.constant, terms.constant
        space = bundle.manifest.space
        self._fixed = [s for s in space.slots if len(s.choices) == 1]

    def _blocks(self, sample: Mapping[str, Any]) -> list[tuple[str, str]]:
        end = f"r{sample['r'][0]}"
        found = [(s.name, end if s.dimensions else s.choices[0]) for s in self._fixed]
        for stage, depth in enumerate(sample["d"]):
            for i in range(depth):
                j = 4 * stage + i
                choice = f"k{sample['ks'][j]}e{sample['e'][j]}.{end}"
                found.append((f"stage{stage}.{i}", choice))
        return found

    def predict_efficiency(self, sample: Mapping[str, Any]) -> float:
        """Latency in ms, as the authors' search asks for it."""
        return float(self._constant + sum(self._ms[block] for block in self._blocks(sample)))

    def predict_accuracy(self, samples: list[Mapping[str, Any]]) -> Any:
        """Quality of each, as the authors' search asks for it."""
        terms = self._terms
        return np.array([self._base + sum(terms[b] for b in self._blocks(s)) for s in samples])


def evolve(authors: Authors, budget: float, seed: int) -> float:
    """The best quality that the authors' ``EvolutionFinder`` finds in its 500 generations."""
    from authors import evolution_finder

    random.seed(seed)
    np.random.seed(seed)
    finder = evolution_finder()
    finder.valid_constraint_range["note10"] = [0, 1e9]
    search = finder("note10", budget, authors, authors, population_size=100, max_time_budget=500)
    search.arch_manager.resolutions = list(RESOLUTIONS)
    best: tuple[float, Any, float] = search.run_evolution_search()[1]
    return best[0]


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """What ``run`` gives, and the seconds that it took."""
    started = time.perf_counter()
    return run(), time.perf_counter() - started


def main() -> int:
    """Run all, print each figure and goal."""
    sys.path.insert(0, str(Path(__file__).parent))
    bundle, costs = prepare()
    space, terms = bundle.manifest.space, additive_quality(bundle, costs)
    authors = Authors(bundle, costs, terms)
    problem = AdditiveProblem(space, costs, terms)
    full = {name: problem.value(name, space.largest()) for name in ("p50", "memory", "bytes")}
    print(f"{space.count():.4g} subnets, {len(costs.blocks)} blocks; {solver()}")
    goals: list[tuple[bool, str]] = []
    problem.best(Query({"p50": full["p50"]}))  # imports and first-call costs are paid here
    for share in BUDGETS:
        budget = share * full["p50"]
        best, took = timed(lambda limit=budget: problem.best(Query({"p50": limit})))  # type: ignore[misc]
        found, theirs = timed(lambda limit=budget: evolve(authors, limit, 0))  # type: ignore[misc]
        assert best is not None
        text = (
            f"p50 <= {budget:.2f} ms: exact {best.value:.4f} in {took:.2f} s"
            f"{'' if best.proven else ' NOT PROVEN'}; evolution {found:.4f} in {theirs:.1f} s"
        )
        goals.append((best.proven and took < 1 and best.value >= found - 1e-9, text))
    three = Query({name: 0.5 * value for name, value in full.items()})
    best, took = timed(lambda: problem.best(three))
    what = "infeasible" if best is None else f"{best.value:.4f}"
    goals.append((took < 1, f"half of p50, memory and bytes: {what} in {took:.2f} s"))
    _, took = timed(lambda: front(problem, full["p50"]))
    goals.append((took < 10, f"a front of 20 points in {took:.1f} s"))
    goals.append(infeasible(problem, authors))
    spec = space.largest().spec if best is None else best.subnet.spec
    linked = OUT / "linked"
    took = _hwnas("export", OUT / "net.hwnas", "--subnet", spec, "--finalise", "-o", linked)
    goals.append((took < 20, f"one chosen subnet, finalised and written, in {took:.1f} s"))
    for met, text in goals:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    return 0 if all(met for met, _ in goals) else 1


def front(problem: AdditiveProblem, largest: float) -> list[float]:
    """Qualities of 20 subnets, at budgets spread evenly from the quickest to the largest."""
    quickest = problem.best(Query(minimize="p50"))
    assert quickest is not None
    found, starts = [], [quickest.subnet]
    for limit in np.linspace(quickest.value, largest, 20).tolist():
        best = problem.best(Query({"p50": limit}), starts)
        assert best is not None and best.proven
        found.append(best.value)
        starts = [best.subnet]
    return found


def infeasible(problem: AdditiveProblem, authors: Authors) -> tuple[bool, str]:
    """What both make of a budget that nothing meets."""
    quickest = problem.best(Query(minimize="p50"))
    assert quickest is not None
    budget = 0.9 * quickest.value
    (best, nearest), took = timed(
        lambda: (problem.best(Query({"p50": budget})), problem.nearest({"p50": budget}))
    )
    process = multiprocessing.get_context("fork").Process(target=evolve, args=(authors, budget, 0))
    process.start()
    process.join(_PATIENCE)
    hangs = process.is_alive()
    process.kill()
    process.join()
    text = (
        f"p50 <= {budget:.2f} ms, which nothing meets: said so in {took:.2f} s, nearest is "
        f"{problem.value('p50', nearest):.2f} ms; evolution "
        f"{f'had not returned after {_PATIENCE:.0f} s' if hangs else 'returned'}"
    )
    return best is None and took < 1, text


if __name__ == "__main__":
    sys.exit(main())
