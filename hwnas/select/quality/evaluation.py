"""Evaluating one subnet with a user's function, in this process or in a worker.

A worker gets an :class:`Evaluation`, which is names and hashes only, and loads the function and
the bundle once.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import HwnasError, UsageError
from hwnas.files import sha256_file
from hwnas.processes import die_with_parent
from hwnas.select.quality.text import LARGEST
from hwnas.select.user_function import UserFunction, load_function
from hwnas.space import Subnet
from hwnas.usercode import parse, user_code

__all__ = ["Evaluate", "Evaluation", "evaluate", "worker_pool"]

Evaluate = Callable[[Subnet, Bundle], Any]


@dataclass(frozen=True)
class Evaluation:
    """``evaluation(spec)`` is the quality of a subnet, in any process that sees the same files.

    Picklable. Threads: one call at a time in each process, as the function may not be made for
    more.

    Attributes:
        reference: of the function; absolute, if it is of a file.
        folder: absolute; where a module is looked for that is not installed.
        source_sha256: of the function's source.
        bundle: absolute path.
        bundle_sha256: of its manifest.
    """

    reference: str
    folder: str
    source_sha256: str
    bundle: str
    bundle_sha256: str

    @classmethod
    def of(cls, reference: str, function: UserFunction, bundle: Bundle) -> Evaluation:
        """The evaluation of subnets of ``bundle`` with ``function``, loaded as ``reference``."""
        parsed = parse(reference)
        if parsed is not None and parsed.is_file:
            reference = f"{Path(parsed.where).resolve()}:{parsed.name}"
        return cls(
            reference,
            str(Path.cwd()),
            function.source_sha256,
            str(bundle.path.resolve()),
            sha256_file(bundle.path / MANIFEST),
        )

    def __call__(self, spec: str) -> float:
        """Evaluate the subnet of that name or full spec.

        Raises:
            HwnasError: the function raises, or it or the bundle is another one than when the
                evaluation was asked for.
            UsageError: it does not return a finite number.
        """
        function, bundle = _load(self)
        return evaluate(function.name, function.function, bundle.subnet(spec), bundle)


@lru_cache(maxsize=1)
def _load(evaluation: Evaluation) -> tuple[UserFunction, Bundle]:
    if evaluation.folder not in sys.path:
        sys.path.append(evaluation.folder)
    function = load_function(evaluation.reference)
    bundle = Bundle.open(evaluation.bundle, verify=False)
    found = (function.source_sha256, sha256_file(bundle.path / MANIFEST))
    if found != (evaluation.source_sha256, evaluation.bundle_sha256):
        what = "function" if found[0] != evaluation.source_sha256 else "bundle"
        raise HwnasError(
            f"the {what} of {evaluation.reference} on {evaluation.bundle} has changed since the "
            "evaluation began",
            "start it again",
        )
    return function, bundle


def evaluate(name: str, function: Evaluate, subnet: Subnet, bundle: Bundle) -> float:
    """Call ``function`` on one subnet and hold what it returns to be a quality.

    Raises:
        HwnasError: it raises; names the line.
        UsageError: it does not return a finite number.
    """
    with user_code(f"{name} on {subnet.name}"):
        value = function(subnet, bundle)
    try:
        if value is None or isinstance(value, bool | str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        shown = f"a {type(value).__name__}"
    else:
        if abs(number) <= LARGEST:
            return number
        shown = str(number)
    raise UsageError(
        f"{name} returned {shown} for {subnet.name}",
        "it must return a finite number, higher being better",
    )


@contextmanager
def worker_pool(jobs: int) -> Iterator[Executor | None]:
    """``jobs`` processes that evaluate; None for one, which this process is.

    They start afresh instead of as copies of this one, which may have threads. If the block fails
    or is interrupted, they end at once, whatever they are at.
    """
    if jobs == 1:
        yield None
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _prepare_worker() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
