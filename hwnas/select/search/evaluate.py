"""Evaluating a batch: here, or by the workers of an executor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from hwnas.errors import UsageError
from hwnas.select.protocol import Progress, Quality
from hwnas.select.quality import QualityFunction
from hwnas.space import Subnet

__all__ = ["Keep", "evaluate_batch"]

Keep = Callable[[Subnet, float], None]
"""Stores what was found of a subnet."""


def evaluate_batch(
    quality: Quality,
    subnets: Sequence[Subnet],
    keep: Keep,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> None:
    """Find the quality of each of ``subnets`` and ``keep`` it, in the thread that called.

    Args:
        quality: a function's is evaluated one by one, and its cache keeps each; of anything else
            all are asked for at once.
        subnets: distinct.
        keep: called once for each.
        executor: evaluates a function; its workers need to see the bundle and the function.
        progress: told how many of these are done.

    Raises:
        HwnasError: the function raises, names the subnet and the line; or a worker died. What was
            evaluated until then is in the function's cache.
        UsageError: a quality is not a finite number.
    """
    if isinstance(quality, QualityFunction) and executor is None:
        for done, subnet in enumerate(subnets, start=1):
            keep(subnet, quality.scores([subnet])[0])
            if progress is not None:
                progress("quality", done, len(subnets))
        return
    if isinstance(quality, QualityFunction):
        values = quality.scores(subnets, progress, executor)
    else:
        values = quality.scores(subnets, progress)
    for subnet, value in zip(subnets, values, strict=True):
        if not math.isfinite(value):
            raise UsageError(
                f"{quality.source} gives {value} for {subnet.name}",
                "it must give finite numbers, higher being better",
            )
        keep(subnet, value)
