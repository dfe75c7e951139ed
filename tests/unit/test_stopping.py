"""The rules on synthetic series with known answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, repeat

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.profile.settings import Settings
from hwnas.profile.stopping import MedianConverged, StoppingRule, WarmUp

MS = 1_000_000
SETTINGS = Settings(min_runs=50, max_runs=1000, min_time_s=0.0, sample_time_s=60.0)


def run(rule: StoppingRule, series: Iterator[int]) -> tuple[str, int]:
    for value in series:
        reason = rule.add(int(value))
        if reason is not None:
            return reason, rule.runs
    pytest.fail("the rule did not stop")


def noisy(sd: float, seed: int = 0) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield max(1, round(MS * (1 + sd * rng.standard_normal())))


class TestMedianConverged:
    def test_constant_stops_at_the_least(self) -> None:
        assert run(MedianConverged(SETTINGS), repeat(MS)) == ("converged", 50)

    def test_constant_runs_for_the_least_time(self) -> None:
        settings = replace(SETTINGS, min_time_s=0.2)
        assert run(MedianConverged(settings), repeat(MS)) == ("converged", 200)

    def test_noise_takes_as_many_runs_as_theory_says(self) -> None:
        # Normal noise: the width of the interval is 2 * 1.96 * 1.2533 * sd / sqrt(n).
        settings = replace(SETTINGS, max_runs=10_000)
        for sd in (0.02, 0.05, 0.1):
            reason, runs = run(MedianConverged(settings), noisy(sd))
            expected = (2 * 1.96 * 1.2533 * sd / 0.02) ** 2
            assert reason == "converged"
            assert max(50, expected / 2) <= runs <= max(50, expected * 1.7), sd

    def test_more_noise_than_runs_allow(self) -> None:
        assert run(MedianConverged(SETTINGS), noisy(0.5)) == ("max_runs", 1000)

    def test_rare_outliers_do_not_matter(self) -> None:
        series = (MS * (50 if i % 10 == 9 else 1) for i in range(10**6))
        assert run(MedianConverged(SETTINGS), series) == ("converged", 50)

    def test_drift_never_converges(self) -> None:
        # Slow enough for the interval to become narrow: the halves tell the drift.
        drift = (round(MS * (1 + 0.0004 * i)) for i in range(10**6))
        assert run(MedianConverged(SETTINGS), drift) == ("max_runs", 1000)

    def test_bimodal_never_converges(self) -> None:
        assert run(MedianConverged(SETTINGS), cycle([MS, 2 * MS])) == ("max_runs", 1000)

    def test_one_mode_of_two_is_a_median(self) -> None:
        series = cycle([MS, MS, MS, MS, 2 * MS])
        assert run(MedianConverged(SETTINGS), series) == ("converged", 50)

    def test_slow_runs_end_by_time_with_few(self) -> None:
        settings = replace(SETTINGS, sample_time_s=3.0)
        assert run(MedianConverged(settings), repeat(400 * MS)) == ("time", 8)

    def test_very_slow_runs_still_enclose_the_median(self) -> None:
        settings = replace(SETTINGS, sample_time_s=3.0)
        assert run(MedianConverged(settings), repeat(5000 * MS)) == ("time", 6)

    def test_noise_ends_by_time(self) -> None:
        settings = replace(SETTINGS, sample_time_s=0.3)
        reason, runs = run(MedianConverged(settings), noisy(0.2))
        assert reason == "time"
        assert 290 <= runs <= 310

    def test_stays_stopped(self) -> None:
        rule = MedianConverged(SETTINGS)
        run(rule, repeat(MS))
        assert rule.add(100 * MS) == "converged"


class TestWarmUp:
    settings = Settings(warmup_window_runs=5, warmup_window_s=0.02, warmup_time_s=1.0)

    def test_steady_from_the_start_takes_two_windows(self) -> None:
        assert run(WarmUp(self.settings), repeat(MS)) == ("steady", 40)

    def test_slow_runs_fill_a_window_by_number(self) -> None:
        assert run(WarmUp(self.settings), repeat(50 * MS)) == ("steady", 10)

    def test_improvement_is_waited_for(self) -> None:
        # Ten runs a window: 4, 3, 2, 1, 1 ms.
        settings = replace(self.settings, warmup_window_runs=10, warmup_window_s=0.0)
        series = (max(4 - i // 10, 1) * MS for i in range(1000))
        assert run(WarmUp(settings), series) == ("steady", 50)

    def test_getting_slower_is_as_warm_as_it_gets(self) -> None:
        settings = replace(self.settings, warmup_window_runs=10, warmup_window_s=0.0)
        series = ((1 + i // 10) * MS for i in range(1000))
        assert run(WarmUp(settings), series) == ("steady", 20)

    def test_endless_improvement_ends_by_time(self) -> None:
        series = (round(100 * MS * 0.97**i) for i in range(10**6))
        reason, runs = run(WarmUp(self.settings), series)
        assert reason == "time"
        assert runs == 12  # 100 + 97 + 94.1 + ... ms passes 1000

    def test_ends_by_number(self) -> None:
        settings = replace(self.settings, warmup_max_runs=7)
        assert run(WarmUp(settings), repeat(MS)) == ("max_runs", 7)

    def test_one_slow_run_can_be_all(self) -> None:
        assert run(WarmUp(self.settings), repeat(1500 * MS)) == ("time", 1)


class TestSettings:
    def test_what_the_docstring_promises(self) -> None:
        settings = Settings()
        assert run(WarmUp(settings), repeat(MS)) == ("steady", 40)
        assert run(MedianConverged(settings), repeat(MS)) == ("converged", 50)
        assert run(MedianConverged(settings), noisy(0.9)) == ("time", pytest.approx(3000, rel=0.3))
        assert run(WarmUp(settings), repeat(1000 * MS)) == ("time", 1)
        assert run(MedianConverged(settings), repeat(1000 * MS)) == ("time", 6)

    def test_json_round_trip(self) -> None:
        settings = Settings(threads=2, affinity=(3, 1, 3), relative_ci=0.05)
        assert settings.affinity == (1, 3)
        assert Settings.from_json(settings.to_json()) == settings
        assert Settings.from_json(Settings().to_json()) == Settings()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"threads": 0},
            {"relative_ci": 0.0},
            {"relative_ci": float("nan")},
            {"time_limit_s": -1.0},
            {"confidence": 1.0},
            {"min_runs": 5},
            {"min_runs": 20, "max_runs": 10},
            {"affinity": ()},
            {"affinity": (-1,)},
        ],
    )
    def test_values_that_cannot_be_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UsageError) as caught:
            Settings(**wrong)  # type: ignore[arg-type]
        assert caught.value.fix

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"threads": "many"}', '{"threads": 0}', "[" * 9999]
    )
    def test_json_that_is_not_settings_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            Settings.from_json(text)
