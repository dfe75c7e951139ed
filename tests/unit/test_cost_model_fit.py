"""Which terms a model takes, and whether its intervals hold what they claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.table.fit import Fit, choose_fit, student
from hwnas.table.forms import MEMORY, P50, describe

Floats = NDArray[np.float64]
Features = dict[str, Floats]


def subnets(rng: np.random.Generator, count: int) -> Features:
    """Features as of convolutional subnets: sizes by a factor of 4, shares of penalty and bytes."""
    blocks = rng.integers(12, 22, count).astype(float)
    warm = blocks * rng.uniform(0.2, 0.6, count)
    weights = warm * rng.uniform(1.0, 3.0, count)
    penalty = warm * (0.15 + 0.08 * weights / warm + rng.normal(0, 0.02, count))
    memory = weights * 1.3 + blocks * 0.4
    return {
        "warm": warm,
        "penalty": penalty,
        "weights": weights,
        "blocks": blocks,
        "memory": memory,
        "one": np.ones(count),
    }


def some(features: Features, which: object) -> Features:
    return {name: column[which] for name, column in features.items()}


class TestStudent:
    @pytest.mark.parametrize(
        ("freedom", "level", "value"),
        [(3, 0.9, 2.3534), (5, 0.9, 2.0150), (10, 0.9, 1.8125), (10, 0.95, 2.2281)],
    )
    def test_is_as_in_tables(self, freedom: int, level: float, value: float) -> None:
        assert student(freedom, level) == pytest.approx(value, rel=3e-3)


class TestForms:
    def test_nothing_to_fit(self) -> None:
        features = subnets(np.random.default_rng(0), 3)
        for values in ([], [math.nan] * 3, [0.0, -1.0, math.inf]):
            fit = choose_fit("warm", P50, some(features, slice(len(values))), values)
            assert fit.points == 0 and fit.intervals(features) is None
            assert fit(features).tolist() == features["warm"].tolist()

    @pytest.mark.parametrize(
        ("truth", "terms"),
        [
            (lambda f: f["warm"] + 0.4 * f["penalty"], ("penalty",)),
            (lambda f: 1.15 * f["warm"], ("warm",)),
            (lambda f: 0.9 * f["warm"], ("warm",)),
            (lambda f: 0.9 * f["warm"] + 0.8 * f["penalty"], ("warm", "penalty")),
            (lambda f: 1.02 * f["warm"] + 0.1 * f["weights"], ("warm", "weights")),
            (lambda f: 1.05 * f["warm"] - 0.3, ("warm", "one")),
        ],
    )
    def test_the_true_form_is_found(
        self, truth: Callable[[Features], Floats], terms: tuple[str, ...]
    ) -> None:
        features = subnets(np.random.default_rng(1), 8)
        fit = choose_fit("warm", P50, features, truth(features).tolist())
        assert fit.form.terms == terms
        assert fit(features) == pytest.approx(truth(features))
        assert fit.error == pytest.approx(0, abs=1e-9)

    def test_few_points_get_one_weight(self) -> None:
        rng = np.random.default_rng(2)
        features = subnets(rng, 3)
        values = 0.9 * features["warm"] + 0.8 * features["penalty"]
        assert len(choose_fit("warm", P50, features, values.tolist()).weights) == 1

    def test_a_form_must_be_clearly_better(self) -> None:
        rng = np.random.default_rng(3)
        more = 0
        for _ in range(100):
            features = subnets(rng, 8)
            values = (features["warm"] + 0.4 * features["penalty"]) * rng.normal(1, 0.01, 8)
            more += choose_fit("warm", P50, features, values.tolist()).form.terms != ("penalty",)
        assert more < 35

    def test_terms_that_cannot_be_told_apart_are_not_fitted(self) -> None:
        features = subnets(np.random.default_rng(4), 6)
        features["weights"] = 2 * features["warm"]
        features["penalty"] = 0 * features["warm"]
        fit = choose_fit("warm", P50, features, (1.1 * features["warm"]).tolist())
        assert fit.form.terms == ("warm",)

    def test_a_share_is_not_over_one_nor_under_zero(self) -> None:
        features = subnets(np.random.default_rng(5), 1)
        for factor in (0.7, 3.0):
            fit = choose_fit("warm", P50, features, (factor * features["warm"]).tolist())
            assert fit.form.terms == ("warm",) and fit.weights[0] == pytest.approx(factor)

    def test_a_form_must_be_sane_for_the_smallest_subnet_too(self) -> None:
        features = subnets(np.random.default_rng(6), 8)
        values = (features["warm"] - 1.0).tolist()
        assert choose_fit("warm", P50, features, values).form.terms == ("warm", "one")
        small = {name: column[:1] * 0.1 for name, column in features.items()} | {"one": np.ones(1)}
        fit = choose_fit("warm", P50, features, values, ends=small)
        assert fit.form.terms != ("warm", "one") and (fit(small) > 0).all()

    def test_a_session_for_each_block_is_taken_off_memory(self) -> None:
        features = subnets(np.random.default_rng(7), 6)
        values = features["memory"] - 0.4 * features["blocks"] + 0.0
        fit = choose_fit("memory", MEMORY, features, values.tolist())
        assert fit.form.terms == ("memory", "blocks")
        assert fit.weights == pytest.approx((1.0, -0.4))
        assert "- 0.4 MB x number of blocks" in describe("memory", fit, "MB")

    def test_leave_one_out_in_closed_form_is_leaving_one_out(self) -> None:
        rng = np.random.default_rng(8)
        features = subnets(rng, 7)
        values = features["warm"] * rng.normal(1.1, 0.03, 7)
        scale = [form for form in P50 if form.terms == ("warm",)]
        errors = []
        for i in range(7):
            others = np.arange(7) != i
            fit = choose_fit("warm", scale, some(features, others), values[others].tolist())
            predicted = fit(some(features, [i]))[0]
            errors.append(abs(1 - predicted / values[i]))
        whole = choose_fit("warm", scale, features, values.tolist())
        assert whole.error == pytest.approx(np.mean(errors))


class TestIntervals:
    @pytest.mark.parametrize("points", [6, 8, 10, 20])
    @pytest.mark.parametrize("error", [0.005, 0.012, 0.03])
    @pytest.mark.parametrize("kind", ["share", "weights", "scale"])
    def test_hold_what_they_claim(self, points: int, error: float, kind: str) -> None:
        rng = np.random.default_rng([points, round(error * 1e4), len(kind)])
        inside: list[float] = []
        for _ in range(300):
            features = subnets(rng, points + 20)
            if kind == "share":
                truth = features["warm"] + rng.uniform(0.2, 0.7) * features["penalty"]
            elif kind == "weights":
                truth = 1.02 * features["warm"] + rng.uniform(0.02, 0.1) * features["weights"]
            else:
                truth = rng.uniform(0.9, 1.2) * features["warm"]
            values = truth * np.exp(rng.normal(0, error, len(truth)))
            fit = choose_fit("warm", P50, some(features, slice(points)), values[:points].tolist())
            ends = fit.intervals(some(features, slice(points, None)))
            assert ends is not None
            inside += ((ends[0] <= values[points:]) & (values[points:] <= ends[1])).tolist()
        assert 0.85 <= np.mean(inside) <= 0.95

    @pytest.mark.parametrize("points", [1, 2, 3])
    def test_with_few_points_are_wide_rather_than_wrong(self, points: int) -> None:
        rng = np.random.default_rng(points)
        inside: list[float] = []
        for _ in range(300):
            features = subnets(rng, points + 10)
            truth = features["warm"] + 0.4 * features["penalty"]
            values = truth * np.exp(rng.normal(0, 0.02, len(truth)))
            fit = choose_fit("warm", P50, some(features, slice(points)), values[:points].tolist())
            ends = fit.intervals(some(features, slice(points, None)))
            assert ends is not None
            inside += ((ends[0] <= values[points:]) & (values[points:] <= ends[1])).tolist()
        assert np.mean(inside) >= 0.88

    def test_are_not_narrower_than_the_measurements_are_sure(self) -> None:
        features = subnets(np.random.default_rng(0), 8)
        values = (1.1 * features["warm"]).tolist()
        fit = choose_fit("warm", P50, features, values, noise=0.01)
        assert isinstance(fit, Fit)
        low, high = fit.intervals(features) or (np.zeros(8), np.zeros(8))
        assert (high / low > 1.03).all()
