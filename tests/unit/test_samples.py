from __future__ import annotations

import math

import numpy as np
import pytest

from hwnas.profile.samples import interval_ranks, quantile_interval, statistics


def _coverage(n: int, low: int, high: int, q: float) -> float:
    """P(the q-quantile lies between the sorted samples low and high), by plain summation."""
    return sum(math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(low + 1, high + 1))


@pytest.mark.parametrize("n", range(6, 80))
def test_ranks_are_the_narrowest_that_hold_the_confidence(n: int) -> None:
    ranks = interval_ranks(n)
    assert ranks is not None
    low, high = ranks
    assert _coverage(n, low, high, 0.5) >= 0.95
    assert low + high == n - 1, "symmetric for the median"
    if high - low > 1:
        assert _coverage(n, low + 1, high - 1, 0.5) < 0.95


def test_known_ranks() -> None:
    # From tables of the sign test at 95%: n=10 gives ranks 2 and 9 from 1, n=20 gives 6 and 15.
    assert interval_ranks(10) == (1, 8)
    assert interval_ranks(20) == (5, 14)
    assert interval_ranks(5000) == (2430, 2569)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("n", [60, 100, 137])
def test_other_quantiles_hold_the_confidence(n: int, q: float) -> None:
    ranks = interval_ranks(n, q)
    if ranks is None:
        assert q**n > 0.025 or (1 - q) ** n > 0.025
    else:
        assert _coverage(n, *ranks, q) >= 0.95


@pytest.mark.parametrize("n", range(6))
def test_too_few_have_no_interval(n: int) -> None:
    assert interval_ranks(n) is None
    assert quantile_interval(np.arange(n)) is None


def test_interval_is_made_of_samples_in_any_order() -> None:
    values = np.random.default_rng(0).permutation(np.arange(20) * 10)
    assert quantile_interval(values) == (50.0, 140.0)


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = quantile_interval(rng.lognormal(size=41)) or (math.nan, math.nan)
        hits += low <= 1.0 <= high
    assert 0.945 < hits / 2000 < 0.99


def test_statistics_are_in_ms() -> None:
    ns = np.arange(1, 102, dtype=np.int64) * 1_000_000
    found = statistics(ns)
    assert (found.runs, found.p50_ms, found.p95_ms) == (101, 51.0, 96.0)
    assert found.p50_interval_ms == (41.0, 61.0)


def test_statistics_of_few_and_none() -> None:
    assert statistics(np.array([2_000_000, 4_000_000])).p50_interval_ms is None
    with pytest.raises(ValueError, match="no samples"):
        statistics(np.array([], dtype=np.int64))
