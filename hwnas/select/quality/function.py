"""Quality by a function of the user's own: ``fn(subnet, bundle) -> float``.

Naming a function runs the code of its file, as importing it does. The function is called in this
process, one subnet at a time, unless an executor is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from sqlite3 import Connection

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, UsageError
from hwnas.select.protocol import Progress
from hwnas.select.quality.cache import CacheKey, QualityCache
from hwnas.select.quality.evaluation import Evaluate, Evaluation, evaluate
from hwnas.select.user_function import load_function
from hwnas.space import Subnet

__all__ = ["QualityFunction"]


class QualityFunction:
    """A function that rates any subnet of one bundle, and what it said before."""

    kind = "function"
    costly = True

    def __init__(
        self,
        name: str,
        function: Evaluate,
        bundle: Bundle,
        cache: QualityCache | None,
        evaluation: Evaluation | None = None,
    ) -> None:
        self._name = name
        self._function = function
        self._bundle = bundle
        self._cache = cache
        self._evaluation = evaluation
        self._known: dict[str, float] = {}

    @classmethod
    def load(cls, reference: str, bundle: Bundle, cache: Path | None = None) -> QualityFunction:
        """Import the function that ``reference`` names.

        Args:
            reference: ``package.module:fn`` or ``path/file.py:fn``.
            bundle: what it evaluates.
            cache: SQLite file for its results. Results are kept under the hash of the source file
                of the function; files that this one imports do not count.

        Raises:
            UsageError: no such file, module or function.
            HwnasError: its code fails; names the line.
        """
        found = load_function(reference)
        evaluation = Evaluation.of(reference, found, bundle)
        kept = None
        if cache is not None:
            key = CacheKey(found.name, found.source_sha256, evaluation.bundle_sha256)
            kept = QualityCache(cache, key)
        return cls(found.name, found.function, bundle, kept, evaluation)

    @property
    def source(self) -> str:
        """The reference, without the folder of a file."""
        return f"function {self._name}"

    @property
    def evaluation(self) -> Evaluation:
        """What a worker is given to evaluate subnets with.

        Raises:
            UsageError: the function is known by no reference.
        """
        if self._evaluation is None:
            raise UsageError(
                f"{self._name} has no reference, so that no other process can load it",
                "make it with QualityFunction.load",
            )
        return self._evaluation

    def rated(self) -> None:
        """None: any subnet can be evaluated."""
        return

    def scores(
        self,
        subnets: Sequence[Subnet],
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> list[float]:
        """Evaluate those that were not evaluated before.

        Args:
            subnets: to rate.
            progress: told of each that is new.
            executor: evaluates, if given, in its workers. Results are kept as they come, by the
                thread that called; what was evaluated when one fails is kept too.

        Raises:
            UsageError: the function does not return a finite number.
            HwnasError: it raises, names the line; or a worker died.
        """
        new = {subnet.spec: subnet for subnet in subnets if subnet.spec not in self._known}
        with self._connection() if new else nullcontext() as connection:
            kept = self._kept(new, connection)
            for done, (spec, value) in enumerate(kept.items(), start=1):
                self._known[spec] = value
                _tell(progress, done, len(new))
            missing = [subnet for spec, subnet in new.items() if spec not in kept]
            results = self._run(executor, missing) if executor else self._call(missing)
            for done, (subnet, value) in enumerate(results, start=len(kept) + 1):
                if self._cache is not None and connection is not None:
                    self._cache.put(connection, subnet.spec, value)
                self._known[subnet.spec] = value
                _tell(progress, done, len(new))
        return [self._known[subnet.spec] for subnet in subnets]

    def _connection(self) -> AbstractContextManager[Connection | None]:
        return nullcontext() if self._cache is None else self._cache.open()

    def _kept(self, specs: Iterable[str], connection: Connection | None) -> dict[str, float]:
        if self._cache is None or connection is None:
            return {}
        found = {spec: self._cache.get(connection, spec) for spec in specs}
        return {spec: value for spec, value in found.items() if value is not None}

    def _call(self, subnets: Sequence[Subnet]) -> Iterator[tuple[Subnet, float]]:
        for subnet in subnets:
            yield subnet, evaluate(self._name, self._function, subnet, self._bundle)

    def _run(self, executor: Executor, subnets: Sequence[Subnet]) -> Iterator[tuple[Subnet, float]]:
        """Each subnet with its result, in the order in which they come; then the first failure."""
        evaluation = self.evaluation
        failure: BaseException | None = None
        futures: dict[Future[float], Subnet] = {}
        try:
            try:
                for subnet in subnets:
                    futures[executor.submit(evaluation, subnet.spec)] = subnet
            except BrokenExecutor as error:
                failure = error
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                raised = future.exception()
                if raised is None:
                    yield futures[future], future.result()
                elif failure is None:
                    failure = raised
                    for other in futures:
                        other.cancel()
        finally:
            for future in futures:
                future.cancel()
        if isinstance(failure, BrokenExecutor):
            raise HwnasError(
                f"a worker died while it evaluated {self._name}: {failure}",
                "look whether memory ran out, give fewer workers, and start it again: "
                "what was evaluated is kept",
            ) from failure
        if failure is not None:
            raise failure


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("quality", done, total)
