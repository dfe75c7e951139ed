"""Ways of searching side by side: ``python benchmarks/bench_search.py [SEEDS]``, 5 by default.

On the landscapes of ``landscapes.py``: random search, NSGA-II and LINAS, and the latter two started
from the exact front of an additive surrogate, each with several seeds. Prints how many evaluations
of quality it took to 95% of the final hypervolume: the highest that any of them ends with, in the
median. Hypervolumes are shares of one box per landscape: that of the true front, or where it is not
known, the least box around all that was found. Histories and plots stay in ``build/bench``. Exits
with 1 if NSGA-II or LINAS does not beat random search. Takes minutes; nothing is timed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from landscapes import Costs, Formula, Network, Staircase, make_costs, make_space

from hwnas.select.milp import AdditiveProblem, Query
from hwnas.select.search import (
    Box,
    SearchResult,
    Surrogate,
    hypervolumes,
    plot_histories,
    reached,
    search,
)
from hwnas.space import Subnet

OUT = Path("build/bench")
LANDSCAPES = ("staircase", "network")
CONTENDERS = {
    "random": ("random", False, 2000),
    "nsga2": ("nsga2", False, 2000),
    "nsga2 from exact": ("nsga2", True, 2000),
    "linas": ("linas", False, 500),
    "linas from exact": ("linas", True, 500),
}
"""Method, whether it starts from the surrogate's front, and evaluations."""
SHARE = 0.95
FRONT = 20
AT = (50, 100, 200, 350, 500, 1000, 2000)


class Task(NamedTuple):
    """One run."""

    landscape: str
    contender: str
    seed: int


def make(landscape: str) -> tuple[Costs, Formula]:
    """The landscape of that name."""
    space = make_space()
    costs = make_costs(space, 0)
    return costs, (Staircase if landscape == "staircase" else Network)(space, costs, 0)


def run(task: Task) -> SearchResult:
    """One search, in a process of its own."""
    costs, quality = make(task.landscape)
    method, exact, evaluations = CONTENDERS[task.contender]

    def solve(surrogate: Surrogate) -> list[Subnet]:
        terms = surrogate.terms(costs.space)
        return exact_front(AdditiveProblem(costs.space, costs.additive(), terms))

    return search(
        costs.space,
        costs,
        quality,
        evaluations=evaluations,
        method=method,
        seed=task.seed,
        solve=solve if exact else None,
    )


def exact_front(problem: AdditiveProblem) -> list[Subnet]:
    """The best subnets at evenly spaced latencies."""
    low = problem.best(Query({}, minimize="p50"))
    top = problem.best(Query({}))
    assert low is not None and top is not None
    high = problem.value("p50", top.subnet)
    found = [top.subnet]
    for bound in np.linspace(low.value * (1 + 1e-9), high, FRONT)[:-1]:
        best = problem.best(Query({"p50": float(bound)}))
        if best is not None:
            found.append(best.subnet)
    return found


def box_of(landscape: str, results: Sequence[SearchResult]) -> Box:
    """Where hypervolumes are taken."""
    quality = make(landscape)[1]
    if isinstance(quality, Staircase):
        return Box.around(quality.front)
    return Box.around(np.concatenate([result.points for result in results]))


def compare(landscape: str, found: dict[Task, SearchResult]) -> bool:
    """Print and write what was found on one landscape; whether random search is beaten."""
    mine = {task: result for task, result in found.items() if task.landscape == landscape}
    box = box_of(landscape, list(mine.values()))
    histories = {
        name: [result.history(box) for task, result in mine.items() if task.contender == name]
        for name in CONTENDERS
    }
    final = max(median(run[-1] for run in runs) for runs in histories.values())
    quality = make(landscape)[1]
    truth = ""
    if isinstance(quality, Staircase):
        best = hypervolumes(quality.front, box)[-1]
        assert all(run[-1] <= best * (1 + 1e-9) for runs in histories.values() for run in runs)
        truth = f", the true front's is {best:.3f}"
    shown = f"{SHARE:.0%} of the final hypervolume {final:.3f}"
    print(f"\n{landscape}: evaluations to {shown}{truth}")
    print(f"quality {-box.worst[0]:.2f} to {-box.best[0]:.2f}, ", end="")
    print(f"p50 {box.best[1]:.2f} to {box.worst[1]:.2f} ms")
    columns = "".join(f"{f'at {n}':>9}" for n in AT)
    print(f"{'':18}{'median':>8}{'range':>16}{columns}")
    for name, runs in histories.items():
        print(row(name, runs, SHARE * final))
    OUT.mkdir(parents=True, exist_ok=True)
    plot_histories(histories, OUT / f"search-{landscape}.svg", box, ("p50",))
    report = {"best": box.best, "worst": box.worst, "final": final, "histories": histories}
    (OUT / f"search-{landscape}.json").write_text(json.dumps(report) + "\n")
    ends = {name: median(run[-1] for run in runs) for name, runs in histories.items()}
    return all(ends[name] > ends["random"] for name in CONTENDERS if name != "random")


def row(name: str, runs: Sequence[list[float]], level: float) -> str:
    """A line of the table; a run that never came there counts as longer than any."""
    took = [reached(run, level) or np.inf for run in runs]
    limit = f">{len(runs[0])}"
    texts = [f"{n:.0f}" if n < np.inf else limit for n in (median(took), min(took), max(took))]
    at = "".join(
        f"{median(run[n - 1] for run in runs):9.3f}" if n <= len(runs[0]) else f"{'':9}" for n in AT
    )
    return f"{name:18}{texts[0]:>8}{f'{texts[1]} to {texts[2]}':>16}{at}"


def main() -> int:
    """Run all and compare."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tasks = [Task(*one, seed) for one in _pairs() for seed in range(seeds)]
    found: dict[Task, SearchResult] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for task, result in zip(tasks, pool.map(run, tasks), strict=True):
            found[task] = result
            print(f"{len(found)}/{len(tasks)} {' '.join(map(str, task))}", file=sys.stderr)
    beaten = [compare(landscape, found) for landscape in LANDSCAPES]
    print(f"\nrandom search is {'beaten by all others' if all(beaten) else 'NOT beaten'}")
    return 0 if all(beaten) else 1


def _pairs() -> list[tuple[str, str]]:
    return [(landscape, name) for landscape in LANDSCAPES for name in CONTENDERS]


if __name__ == "__main__":
    sys.exit(main())
