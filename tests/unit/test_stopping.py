"""The rules on synthetic series with known answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, repeat

import numpy as np
import pytest

from hwnas.agent.settings import Settings
from hwnas.agent.stopping import MedianConverged, WarmUp
from hwnas.errors import UsageError

MS = 1_000_000
SETTINGS = Settings(max_rounds=1000, sample_time_s=60.0)


def noisy(sd: float, seed: int = 0) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield max(1, round(MS * (1 + sd * rng.standard_normal())))


def sample(
    settings: Settings, series: Iterator[int], calm: Iterator[bool] | None = None
) -> tuple[str, int]:
    """Why and after how many turns the rule stops, told turns of one run."""
    rule = MedianConverged(settings)
    for value, quiet in zip(series, calm or repeat(True), strict=False):
        reason = rule.add([int(value)], quiet)
        if reason is not None:
            return reason, rule.turns
    pytest.fail("the rule did not stop")


def warm(settings: Settings, series: Iterator[int]) -> tuple[str, int]:
    rule = WarmUp(settings)
    for value in series:
        reason = rule.add(int(value))
        if reason is not None:
            return reason, rule.runs
    pytest.fail("the rule did not stop")


class TestMedianConverged:
    def test_constant_stops_at_the_least(self) -> None:
        assert sample(SETTINGS, repeat(MS)) == ("converged", 7)

    def test_too_few_enclose_no_median(self) -> None:
        settings = replace(SETTINGS, min_rounds=6)
        rule = MedianConverged(settings)
        assert [rule.add([MS], True) for _ in range(6)] == [*[None] * 5, "converged"]
        confident = replace(settings, confidence=0.99)
        assert sample(confident, repeat(MS)) == ("converged", 8), "99% takes 8 of them"

    def test_noise_takes_as_many_turns_as_theory_says(self) -> None:
        # Normal noise: the width of the interval is 2 * 1.96 * 1.2533 * sd / sqrt(n).
        settings = replace(SETTINGS, max_rounds=10_000)
        for sd in (0.02, 0.05, 0.1):
            reason, turns = sample(settings, noisy(sd))
            expected = (2 * 1.96 * 1.2533 * sd / settings.sitting_ci) ** 2
            assert reason == "converged"
            assert expected / 2 <= turns <= expected * 1.7, sd

    def test_more_noise_than_rounds_allow(self) -> None:
        assert sample(SETTINGS, noisy(0.5)) == ("max_rounds", 1000)

    def test_noise_within_a_turn_is_not_noise_of_its_median(self) -> None:
        rule = MedianConverged(SETTINGS)
        turn = [MS, MS, MS, 50 * MS, MS]
        assert [rule.add(turn, True) for _ in range(7)][-1] == "converged"

    def test_rare_outliers_do_not_matter(self) -> None:
        series = (MS * (50 if i % 10 == 4 else 1) for i in range(10**6))
        reason, turns = sample(SETTINGS, series)
        assert reason == "converged" and turns <= 12

    def test_drift_never_converges(self) -> None:
        # Slow enough for the interval to become narrow: the halves tell the drift.
        drift = (round(MS * (1 + 0.0004 * i)) for i in range(10**6))
        settings = replace(SETTINGS, min_rounds=100)
        assert sample(settings, drift) == ("max_rounds", 1000)

    def test_bimodal_never_converges(self) -> None:
        assert sample(SETTINGS, cycle([MS, 2 * MS])) == ("max_rounds", 1000)

    def test_one_mode_of_two_is_a_median(self) -> None:
        reason, turns = sample(SETTINGS, cycle([MS, MS, MS, MS, 2 * MS]))
        assert reason == "converged" and turns <= 15

    def test_turns_that_waited_are_not_looked_at(self) -> None:
        # Every other turn takes twice as long, and is not calm.
        found = sample(SETTINGS, cycle([MS, 2 * MS]), cycle([True, False]))
        assert found == ("converged", 13), "the seventh calm one"

    def test_none_calm_ends_by_rounds(self) -> None:
        assert sample(SETTINGS, repeat(MS), repeat(False)) == ("max_rounds", 1000)

    def test_slow_runs_end_by_time_with_few(self) -> None:
        settings = replace(SETTINGS, sample_time_s=3.0, min_rounds=20)
        assert sample(settings, repeat(400 * MS)) == ("time", 8)

    def test_very_slow_runs_still_enclose_the_median(self) -> None:
        settings = replace(SETTINGS, sample_time_s=3.0)
        assert sample(settings, repeat(5000 * MS)) == ("time", 6)

    def test_noise_ends_by_time(self) -> None:
        settings = replace(SETTINGS, sample_time_s=0.3)
        reason, turns = sample(settings, noisy(0.2))
        assert reason == "time"
        assert 290 <= turns <= 310

    def test_stays_stopped(self) -> None:
        rule = MedianConverged(SETTINGS)
        for _ in range(7):
            rule.add([MS], True)
        assert rule.add([100 * MS], True) == "converged"


class TestWarmUp:
    settings = Settings(warmup_window_runs=5, warmup_window_s=0.02, warmup_time_s=1.0)

    def test_steady_from_the_start_takes_two_windows(self) -> None:
        assert warm(self.settings, repeat(MS)) == ("steady", 40)

    def test_slow_runs_fill_a_window_by_number(self) -> None:
        assert warm(self.settings, repeat(50 * MS)) == ("steady", 10)

    def test_improvement_is_waited_for(self) -> None:
        # Ten runs a window: 4, 3, 2, 1, 1 ms.
        settings = replace(self.settings, warmup_window_runs=10, warmup_window_s=0.0)
        series = (max(4 - i // 10, 1) * MS for i in range(1000))
        assert warm(settings, series) == ("steady", 50)

    def test_the_median_is_that_of_the_last_window(self) -> None:
        settings = replace(self.settings, warmup_window_runs=10, warmup_window_s=0.0)
        rule = WarmUp(settings)
        for i in range(25):
            rule.add((4 - i // 10) * MS)
        assert rule.median_ns == 3 * MS
        first = WarmUp(settings)
        first.add(7 * MS)
        assert first.median_ns == 7 * MS, "of what there is, before a window is full"

    def test_getting_slower_is_as_warm_as_it_gets(self) -> None:
        settings = replace(self.settings, warmup_window_runs=10, warmup_window_s=0.0)
        series = ((1 + i // 10) * MS for i in range(1000))
        assert warm(settings, series) == ("steady", 20)

    def test_endless_improvement_ends_by_time(self) -> None:
        series = (round(100 * MS * 0.97**i) for i in range(10**6))
        reason, runs = warm(self.settings, series)
        assert reason == "time"
        assert runs == 12  # 100 + 97 + 94.1 + ... ms passes 1000

    def test_ends_by_number(self) -> None:
        settings = replace(self.settings, warmup_max_runs=7)
        assert warm(settings, repeat(MS)) == ("max_runs", 7)

    def test_one_slow_run_can_be_all(self) -> None:
        assert warm(self.settings, repeat(1500 * MS)) == ("time", 1)


class TestSettings:
    def test_what_the_docstring_promises(self) -> None:
        settings = Settings()
        assert warm(settings, repeat(MS)) == ("steady", 10)
        assert settings.turn_runs(0.001) == 2
        assert sample(settings, repeat(MS)) == ("converged", 7)
        least = 2 + settings.sittings * (10 + 7 * (1 + settings.turn_runs(0.001)))
        assert f"{least} at the least" in " ".join((Settings.__doc__ or "").split())
        assert sample(settings, noisy(0.9)) == ("max_rounds", settings.max_rounds)
        assert warm(settings, repeat(1000 * MS)) == ("time", 1)
        assert sample(settings, repeat(1000 * MS)) == ("time", 6)

    def test_runs_of_a_turn(self) -> None:
        settings = Settings(turn_s=0.002)
        found = [settings.turn_runs(seconds) for seconds in (0.0, 1e-9, 0.00015, 0.002, 1.0)]
        assert found == [1000, 1000, 14, 1, 1]

    def test_json_round_trip(self) -> None:
        settings = Settings(threads=2, affinity=(3, 1, 3), relative_ci=0.05)
        assert settings.affinity == (1, 3)
        assert Settings.from_json(settings.to_json()) == settings
        assert Settings.from_json(Settings().to_json()) == Settings()

    def test_what_tables_of_old_hold_is_read(self) -> None:
        assert Settings.from_dict({"threads": 2, "min_runs": 50}) == Settings(threads=2)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"threads": 0},
            {"relative_ci": 0.0},
            {"relative_ci": float("nan")},
            {"time_limit_s": -1.0},
            {"time_limit_s": float("inf")},
            {"seed": 10**400},
            {"confidence": 1.0},
            {"min_rounds": 5},
            {"min_rounds": 20, "max_rounds": 10},
            {"sittings": 0},
            {"affinity": ()},
            {"affinity": (-1,)},
        ],
    )
    def test_values_that_cannot_be_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UsageError) as caught:
            Settings(**wrong)  # type: ignore[arg-type]
        assert caught.value.fix

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            '{"threads": "many"}',
            '{"threads": 0}',
            '{"threads": true}',
            '{"speed": 1}',
            '{"affinity": [1.5]}',
            f'{{"time_limit_s": {10**400}}}',
            "[" * 9999,
        ],
    )
    def test_json_that_is_not_settings_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            Settings.from_json(text)
