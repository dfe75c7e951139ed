from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hwnas.profile.record import Round, Turn
from hwnas.profile.samples import (
    OUTLIER,
    SLOW_CLOCK,
    THROTTLED,
    WAITED,
    flags,
    interval_ranks,
    quantile_interval,
    statistics,
)


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


def series(
    ns: Sequence[float], sitting: int = 1, busy: float = 1.0, cold: int | None = None
) -> list[Turn]:
    """One turn of one run for each of ``ns``."""
    return [
        Turn(sitting, i, cold, (round(t),), round(t), round(t * busy), 0) for i, t in enumerate(ns)
    ]


def around(turns: Sequence[Turn], canary: float = 1.0, throttled: int | None = 0) -> list[Round]:
    return [Round(t.sitting, t.round, (canary, canary), throttled, {}) for t in turns]


class TestFlags:
    def test_calm_turns_have_none(self) -> None:
        turns = series(np.random.default_rng(0).normal(1e6, 1e4, 50))
        assert not flags(turns, around(turns)).any()
        assert not flags(series([1e6] * 20), []).any()

    def test_waiting_counts_with_one_thread_only(self) -> None:
        turns = [*series([1e6] * 9), *series([1e6] * 3, busy=0.97)]
        assert flags(turns, []).tolist() == [0] * 9 + [WAITED] * 3
        assert not flags(turns, [], threads=2).any()

    def test_cpu_time_that_was_not_taken_flags_nothing(self) -> None:
        assert flags([Turn(0, 0, None, (5, 5, 5), 0, 0, None)], []).tolist() == [0]

    def test_a_slow_canary_counts_within_its_sitting(self) -> None:
        one, two = series([1e6] * 6), series([1e6] * 6, sitting=2)
        rounds = [*around(one, 1.0), *around(two[:3], 1.2), *around(two[3:], 1.27)]
        assert flags(one + two, rounds).tolist() == [0] * 9 + [SLOW_CLOCK] * 3

    def test_throttling_counts_where_it_is_told(self) -> None:
        turns = series([1e6] * 6)
        rounds = [*around(turns[:3], throttled=None), *around(turns[3:], throttled=2)]
        assert flags(turns, rounds).tolist() == [0] * 3 + [THROTTLED] * 3

    def test_outliers_are_of_their_sitting(self) -> None:
        one = series([1e6, 1.001e6, 0.999e6, 1.002e6, 0.998e6, 1.1e6])
        two = series([1.1e6, 1.101e6, 1.099e6, 1.102e6, 1.098e6, 1.1e6], sitting=2)
        assert flags(one + two, []).tolist() == [0] * 5 + [OUTLIER] + [0] * 6

    def test_disturbed_turns_do_not_say_what_an_outlier_is(self) -> None:
        turns = [*series([1e6] * 4), *series([2e6], busy=0.5)]
        assert flags(turns, []).tolist() == [0] * 4 + [WAITED | OUTLIER]

    def test_a_second_mode_is_no_outlier(self) -> None:
        assert not flags([*series([1e6] * 9), *series([1.2e6] * 4)], []).any()

    def test_a_slow_round_is_no_outlier(self) -> None:
        turns = series([1e6, 1e6, 1e6, 1.2e6])
        assert flags(turns, []).tolist() == [0, 0, 0, OUTLIER]
        assert flags(turns, [], factors=[1, 1, 1, 1.2]).tolist() == [0, 0, 0, 0]


class TestStatistics:
    def test_are_in_ms(self) -> None:
        turns = series(np.arange(1, 102) * 1e6, cold=5_000_000)
        found = statistics(turns)
        assert (found.runs, found.p50_ms, found.p95_ms) == (101, 51.0, 96.0)
        assert found.p50_interval_ms == (41.0, 61.0)
        assert (found.cold_p50_ms, found.spread) == (5.0, None)

    def test_a_turn_counts_by_its_median(self) -> None:
        turns = [Turn(1, i, None, (10, 10, 90), 110, 110, 0) for i in range(7)]
        assert statistics(turns).p50_ms == 10e-6
        assert statistics(turns).p95_ms == 90e-6

    def test_flagged_turns_are_left_out_of_medians(self) -> None:
        calm, waited = series([1e6] * 10), series([3e6] * 20, busy=0.4)
        found = statistics(calm + waited)
        assert (found.p50_ms, found.turns, found.flagged) == (1.0, 30, 20)
        assert found.p95_ms == 3.0, "what was seen stays in the tail"

    def test_throttled_turns_are_left_out_of_the_tail_too(self) -> None:
        calm = series([1e6] * 10)
        slow = [replace(turn, round=10 + turn.round) for turn in series([9e6] * 10)]
        found = statistics(calm + slow, [*around(calm), *around(slow, throttled=1)])
        assert (found.p50_ms, found.p95_ms, found.flagged) == (1.0, 1.0, 10)

    def test_where_all_are_flagged_all_count(self) -> None:
        turns = series([1e6] * 10, busy=0.5)
        assert statistics(turns).p50_ms == 1.0
        assert statistics(turns, around(turns, throttled=1)).p50_ms == 1.0

    def test_sittings_count_alike_and_widen_the_interval(self) -> None:
        few, many = series([1e6] * 7), series([1.02e6] * 60, sitting=2)
        found = statistics(few + many)
        assert found.p50_ms == pytest.approx(1.01)
        assert found.spread == pytest.approx(0.02 / 1.01)
        assert found.p50_interval_ms == (1.0, 1.02)

    def test_drift_that_is_the_machines_is_taken_out(self) -> None:
        drift = 1 + np.arange(20) / 40
        turns = series(1e6 * drift, cold=2_000_000)
        found = statistics(turns, factors=drift.tolist())
        assert found.p50_ms == pytest.approx(1.0)
        assert found.p50_interval_ms == pytest.approx((1.0, 1.0))
        assert found.p95_ms > 1.4

    def test_bimodal_turns_have_a_wide_interval(self) -> None:
        values = np.random.default_rng(0).choice([1e6, 1.2e6], 31)
        low, high = statistics(series(values)).p50_interval_ms or (0, 0)
        assert (low, high) == (1.0, 1.2)

    def test_one_series_without_turns_is_judged_by_its_runs(self) -> None:
        ns = tuple(range(1_000_000, 1_000_101))
        assert statistics([Turn(0, 0, None, ns, 0, 0, None)]).p50_interval_ms is not None
        assert statistics([Turn(1, 0, None, ns, 1, 1, None)]).p50_interval_ms is None

    def test_of_few_and_none(self) -> None:
        assert statistics(series([2e6, 4e6])).p50_interval_ms is None
        with pytest.raises(ValueError, match="no samples"):
            statistics([])
