"""A search from start to end: choose a batch, evaluate it, learn from it, again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from hwnas.errors import UnknownName, UsageError
from hwnas.select.budgets import Limit
from hwnas.select.protocol import Costs, Progress, Quality
from hwnas.select.quality import QualityFunction
from hwnas.select.quality.evaluation import worker_pool
from hwnas.select.search.encoding import Genomes, keys
from hwnas.select.search.evaluate import evaluate_batch
from hwnas.select.search.evolution import check_pymoo
from hwnas.select.search.linas import PREDICTED, Linas
from hwnas.select.search.nsga2 import Nsga2
from hwnas.select.search.predictor import check_sklearn
from hwnas.select.search.problem import Problem
from hwnas.select.search.protocol import Strategy
from hwnas.select.search.random_search import RandomSearch
from hwnas.select.search.result import SearchResult
from hwnas.select.search.state import State
from hwnas.select.search.surrogate import Surrogate
from hwnas.space import Space, Subnet
from hwnas.table.cost import METRICS

__all__ = ["METHODS", "POPULATION", "Solve", "search"]

METHODS = ("nsga2", "linas", "random")

POPULATION = 50
"""Evaluations per batch, and how many survive a generation."""

Solve = Callable[[Surrogate], Sequence[Subnet]]
"""Gives subnets on the exact front of an additive quality, at most as many as are wanted."""


def search(
    space: Space,
    costs: Costs,
    quality: Quality,
    *,
    evaluations: int,
    method: str = "linas",
    objectives: Sequence[str] = ("p50",),
    limits: Sequence[Limit] = (),
    min_quality: float | None = None,
    seed: int = 0,
    population: int = POPULATION,
    predicted: int = PREDICTED,
    start: Sequence[Subnet] = (),
    solve: Solve | None = None,
    executor: Executor | None = None,
    jobs: int = 1,
    state: Path | None = None,
    identity: Mapping[str, JsonValue] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Look for subnets of high quality and low cost where quality is known only by evaluating.

    Nothing is proven of what is found. The same arguments give the same result, whatever evaluates
    and however often it was cut off. Each subnet is evaluated once at most, and only if its
    predicted cost meets ``limits``.

    Args:
        space: of any size.
        costs: prices of its subnets on one device; those predicted count here.
        quality: any subnet can be evaluated.
        evaluations: how many subnets to evaluate. Fewer if no more are found.
        method: one of :data:`METHODS`.
        objectives: metrics that should be small, beside the quality that should be high.
        limits: budgets.
        min_quality: what is below counts for nothing but as a parent of others.
        seed: of all that is drawn.
        population: evaluations per batch, 2 at least. More than the workers of ``executor``, or
            they wait.
        predicted: predictions per round of LINAS.
        start: evaluated first if they meet the budgets, after the smallest and largest subnet.
        solve: given an additive quality that was fitted on the first batch, gives subnets on its
            exact front; they are the second batch.
        executor: evaluates, where ``quality`` is a function. Its owner shuts it down.
        jobs: processes to evaluate with if there is no ``executor``; 1 is this process.
        state: file to keep what was done in and to go on from.
        identity: what else the search depends on, such as the bundle; held against ``state``.
        progress: told of every evaluation.

    Raises:
        MissingExtra: pymoo or scikit-learn is not installed.
        UnknownName: no such method or metric.
        UsageError: an argument that cannot be, a quality that only some subnets have, or ``state``
            is of another search.
        Infeasible: no subnet that meets the budgets was found (exit code 3).
        TableError: a cost is not known.
        HwnasError: an evaluation failed; what was evaluated before is kept.
    """
    _check(method, objectives, evaluations, population, jobs, quality)
    problem = Problem(space, costs, objectives, limits)
    strategy = _strategy(problem, method, population, min_quality, predicted)
    settings: dict[str, JsonValue] = {
        "method": method,
        "seed": seed,
        "evaluations": evaluations,
        "population": population,
        "predictions per round": predicted if method == "linas" else None,
        "objectives": list(objectives),
        "budgets": [[limit.metric, limit.limit] for limit in limits],
        "least quality": min_quality,
        "start": [subnet.spec for subnet in start],
        "solved start": solve is not None,
        "quality": quality.source,
        "space": hashlib.sha256(space.model_dump_json().encode()).hexdigest(),
        "costs": _digest(problem),
        **_of_function(quality),
        **(identity or {}),
    }
    own_pool = executor is None and isinstance(quality, QualityFunction)
    pool = worker_pool(jobs) if own_pool else nullcontext(executor)
    with State.open(state, settings) as kept, pool as workers:
        run = _Run(
            problem, strategy, quality, kept, evaluations, population, seed, workers, progress
        )
        run.batch(lambda rng: _first(problem, start, min(population, evaluations), rng))
        if solve is not None:
            run.batch(lambda rng: _solved(problem, solve, run, population), fill=False)
        while run.batch(lambda rng: strategy.ask(min(population, run.left), run.seen, rng)):
            pass
        return SearchResult(
            method=method,
            seed=seed,
            objectives=problem.objectives,
            subnets=tuple(run.subnets),
            qualities=tuple(run.qualities),
            costs=problem.prices(run.genomes)[0],
            min_quality=min_quality,
        )


class _Run:
    """The evaluations of one search, batch by batch: those that its file has, then new ones."""

    def __init__(
        self,
        problem: Problem,
        strategy: Strategy,
        quality: Quality,
        state: State,
        evaluations: int,
        population: int,
        seed: int,
        executor: Executor | None,
        progress: Progress | None,
    ) -> None:
        self._problem, self._strategy, self._quality = problem, strategy, quality
        self._state, self._evaluations, self._seed = state, evaluations, seed
        self._size, self._executor, self._progress = population, executor, progress
        self._batches, self._known = state.batches(), state.evaluated()
        self._number = 0
        self.subnets: list[Subnet] = []
        self.qualities: list[float] = []
        self.genomes: Genomes = np.empty((0, problem.encoding.genes), dtype=np.int64)
        self.seen: set[bytes] = set()

    @property
    def left(self) -> int:
        """How many more to evaluate."""
        return self._evaluations - len(self.subnets)

    def batch(self, choose: Callable[[np.random.Generator], Genomes], *, fill: bool = True) -> bool:
        """Evaluate one batch and tell the strategy.

        Args:
            choose: chooses it, unless it was chosen before this search was cut off.
            fill: what is lacking of a batch is drawn at random.

        Returns:
            Whether there was anything to evaluate.
        """
        encoding, number = self._problem.encoding, self._number
        if number < len(self._batches):
            subnets = [encoding.space.find(spec) for spec in self._batches[number]]
            genomes = encoding.encode(subnets)
        else:
            genomes = self._choose(choose, fill) if self.left else self.genomes[:0]
            if len(genomes) == 0:
                return False
            subnets = encoding.decode(genomes)
            self._state.begin(number, [subnet.spec for subnet in subnets])
        self._number += 1
        self._evaluate(subnets)
        qualities = [self._known[subnet.spec] for subnet in subnets]
        self.subnets += subnets
        self.qualities += qualities
        self.genomes = np.concatenate((self.genomes, genomes))
        self.seen.update(keys(genomes))
        self._strategy.tell(genomes, np.array(qualities), self._rng(number, "tell"))
        return True

    def _choose(self, choose: Callable[[np.random.Generator], Genomes], fill: bool) -> Genomes:
        rng = self._rng(self._number, "ask")
        genomes = choose(rng)[: self.left]
        lacking = min(self._size, self.left) - len(genomes)
        if fill and lacking > 0:
            more = self._problem.draw(lacking, rng, self.seen | set(keys(genomes)))
            genomes = np.concatenate((genomes, more))
        return genomes

    def _evaluate(self, subnets: Sequence[Subnet]) -> None:
        missing = [subnet for subnet in subnets if subnet.spec not in self._known]
        before = len(self.subnets) + len(subnets) - len(missing)

        def keep(subnet: Subnet, quality: float) -> None:
            self._state.put(subnet.spec, quality)
            self._known[subnet.spec] = quality

        def tell(stage: str, done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(stage, before + done, self._evaluations)

        evaluate_batch(self._quality, missing, keep, self._executor, tell)

    def _rng(self, number: int, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self._seed} {number} {purpose}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest))


def _first(
    problem: Problem, start: Sequence[Subnet], count: int, rng: np.random.Generator
) -> Genomes:
    """The extremes and ``start``, those that meet the budgets; then random ones up to ``count``."""
    space = problem.encoding.space
    genomes = problem.encoding.encode([space.smallest(), space.largest(), *start])
    given = genomes[problem.unseen(set())(genomes)]
    more = problem.draw(max(count - len(given), 0), rng, set(keys(given)))
    return np.concatenate((given, more))


def _solved(problem: Problem, solve: Solve, run: _Run, count: int) -> Genomes:
    found = solve(Surrogate(problem.encoding, run.genomes, np.array(run.qualities)))
    genomes = problem.encoding.encode(found)
    return genomes[problem.unseen(run.seen)(genomes)][:count]


def _strategy(
    problem: Problem, method: str, population: int, min_quality: float | None, predicted: int
) -> Strategy:
    if method == "random":
        return RandomSearch(problem)
    if method == "linas":
        check_sklearn()
        return Linas(problem, min_quality, predicted)
    return Nsga2(problem, population, min_quality)


def _check(
    method: str,
    objectives: Sequence[str],
    evaluations: int,
    population: int,
    jobs: int,
    quality: Quality,
) -> None:
    check_pymoo()
    if method not in METHODS:
        raise UnknownName("way of searching:", method, METHODS)
    for name in objectives:
        if name not in METRICS:
            raise UnknownName("metric to search for:", name, METRICS)
    if not objectives or len(set(objectives)) < len(objectives):
        raise UsageError(
            f"the objectives are {', '.join(objectives) or 'none'}", "name each once, such as p50"
        )
    for value, least, what in (
        (evaluations, 1, "evaluations"),
        (population, 2, "evaluations per batch"),
        (jobs, 1, "jobs"),
    ):
        if value < least:
            raise UsageError(f"{value} {what} were asked for", f"ask for {least} or more")
    rated = quality.rated()
    if rated is not None:
        raise UsageError(
            f"{quality.source} rates {len(rated)} subnets and no others: there is nothing to "
            "search for",
            "select without a search, which looks at all of them",
        )


def _of_function(quality: Quality) -> dict[str, JsonValue]:
    if not isinstance(quality, QualityFunction):
        return {}
    try:
        evaluation = quality.evaluation
    except UsageError:  # a function without a reference, from this process alone
        return {}
    return {"function's source": evaluation.source_sha256, "bundle": evaluation.bundle_sha256}


def _digest(problem: Problem) -> str:
    """What tells cost models apart: prices of some subnets, to eight digits."""
    space = problem.encoding.space
    ends = problem.encoding.encode([space.smallest(), space.largest()])
    drawn = problem.encoding.sample(30, np.random.default_rng(0))
    prices, over = problem.prices(np.concatenate((ends, drawn)))
    text = " ".join(f"{value:.8g}" for value in np.column_stack((prices, over)).ravel())
    return hashlib.sha256(text.encode()).hexdigest()
