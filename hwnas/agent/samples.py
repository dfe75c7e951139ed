"""Which turns count, and order statistics of run times: intervals of quantiles.

Run times have long tails and several modes, so intervals come from ranks: the q-quantile lies
between the samples of rank l and u with the probability P(l <= B < u), B binomial with n draws of
probability q. See David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["interval_ranks", "quantile_interval", "waited"]

_BUSY = 0.98
"""Share of a calm turn in which its thread ran, at least."""


def waited(wall: int, cpu: int, threads: int) -> bool:
    """Whether the system let a turn's thread wait: such turns are not calm.

    Args:
        wall: ns that the turn took; 0 where CPU time was not taken.
        cpu: ns of these in which its thread ran.
        threads: of one inference. Several wait for each other, so nothing can be told then.
    """
    return threads == 1 and cpu < _BUSY * wall


@lru_cache(maxsize=4096)
def interval_ranks(n: int, q: float = 0.5, confidence: float = 0.95) -> tuple[int, int] | None:
    """Ranks (from 0) of the two sorted samples that enclose the ``q``-quantile.

    Each tail holds at most half of ``1 - confidence``.

    Returns:
        ``(low, high)``, or ``None`` if ``n`` samples are too few.
    """
    if n < 1:
        return None
    draws = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    log_pmf = log_choose + draws * math.log(q) + (n - draws) * math.log1p(-q)
    # Rounding must not refuse a sample size whose tail is exactly the one allowed.
    tail = (1 - confidence) / 2 * (1 + 1e-9)
    below = np.cumsum(np.exp(log_pmf))
    above = np.cumsum(np.exp(log_pmf)[::-1])[::-1]
    low = int(np.searchsorted(below, tail, side="right"))
    high = n + 1 - int(np.searchsorted(above[::-1], tail, side="right"))
    return (low - 1, high - 1) if low >= 1 and high <= n else None


def quantile_interval(
    ns: ArrayLike, q: float = 0.5, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Confidence interval of the ``q``-quantile, in the unit of ``ns``.

    Args:
        ns: samples, shape (n,), in any order.
        q: which quantile, strictly between 0 and 1.
        confidence: of the interval, at least.

    Returns:
        Its ends, which are samples; ``None`` if there are too few (for the median at 95%: 6).
    """
    values = np.asarray(ns)
    ranks = interval_ranks(values.size, q, confidence)
    if ranks is None:
        return None
    low, high = np.partition(values, sorted(set(ranks)))[list(ranks)]
    return float(low), float(high)
