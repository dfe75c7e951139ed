"""What counts as the same outputs: another order of sums does, fewer bits do not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.agent.expected import MOST_SAMPLES, TOLERANCE, Expected, compare, expect


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to the nearest of 8 bits, as hardware does it."""
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & 0xFFFF0000).astype(np.uint32).view(np.float32)


def one(value: Any, **changes: Any) -> list[Expected]:
    return [replace(found, **changes) for found in expect({"y": np.asarray(value)})]


@pytest.fixture
def product() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((64, 512)).astype(np.float32),
        rng.standard_normal((512, 128)).astype(np.float32),
    )


class TestPrecision:
    def test_another_order_of_sums_passes(
        self, product: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        x, w = product
        order = np.random.default_rng(1).permutation(512)
        error, good = compare(one(x @ w), {"y": x[:, order] @ w[order]})
        assert good and 0 < error < TOLERANCE / 100

    def test_bfloat16_is_caught(
        self, product: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        x, w = product
        error, good = compare(one(x @ w), {"y": bfloat16(x) @ bfloat16(w)})
        assert not good and error > 2 * TOLERANCE

    def test_float16_sums_are_caught(
        self, product: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        x, w = product
        total = np.zeros((64, 128), np.float16)
        for k in range(512):
            total += np.outer(x[:, k], w[k]).astype(np.float16)
        error, good = compare(one(x @ w), {"y": total.astype(np.float32)})
        assert not good and error > TOLERANCE

    def test_eight_bit_weights_are_caught(
        self, product: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        x, w = product
        scale = np.abs(w).max() / 127
        _, good = compare(one(x @ w), {"y": x @ (np.round(w / scale) * scale)})
        assert not good


class TestSamples:
    def test_all_of_a_small_output_are_kept(self) -> None:
        value = np.arange(6, dtype=np.float32).reshape(2, 3)
        [found] = one(value)
        assert (found.step, found.shape, found.dtype) == (1, (2, 3), "float32")
        np.testing.assert_array_equal(found.samples(), value.reshape(-1))
        assert found.mean == 2.5 and found.rms == pytest.approx(math.sqrt(55 / 6))

    @pytest.mark.parametrize("size", [1024, 1025, 5000, 100_000])
    def test_of_a_large_one_at_most_so_many(self, size: int) -> None:
        value = np.arange(size, dtype=np.float32)
        [found] = one(value)
        assert len(found.samples()) <= MOST_SAMPLES
        np.testing.assert_array_equal(found.samples(), value[:: found.step])

    def test_one_wrong_element_is_seen_where_it_is_sampled(self) -> None:
        value = np.ones(5000, np.float32)
        [found] = one(value)
        wrong = value.copy()
        wrong[found.step] = 1.1
        assert not compare([found], {"y": wrong})[1]

    def test_what_is_not_sampled_shows_in_the_moments(self) -> None:
        value = np.ones(5000, np.float32)
        [found] = one(value)
        wrong = value.copy()
        wrong[1 :: found.step] = 2.0
        assert not compare([found], {"y": wrong})[1]

    def test_samples_that_do_not_fit_are_refused(self) -> None:
        [found] = one(np.ones(8, np.float32))
        with pytest.raises(ValueError, match="8 samples"):
            replace(found, shape=(9,)).samples()
        with pytest.raises(ValueError):
            replace(found, values="no base64!").samples()


class TestWhatDiffers:
    @pytest.mark.parametrize(
        "got",
        [
            {},
            {"z": np.ones(4, np.float32)},
            {"y": np.ones((2, 2), np.float32)},
            {"y": np.ones(4, np.float64)},
            {"y": np.array([1, 1, np.nan, 1], np.float32)},
            {"y": np.array([1, 1, np.inf, 1], np.float32)},
        ],
        ids=["nothing", "name", "shape", "dtype", "nan", "inf"],
    )
    def test_is_an_infinite_error(self, got: dict[str, NDArray[Any]]) -> None:
        assert compare(one(np.ones(4, np.float32)), got) == (math.inf, False)

    def test_a_value_between_samples_that_is_not_finite(self) -> None:
        value = np.ones(5000, np.float32)
        found = one(value)
        value[1] = np.nan
        assert compare(found, {"y": value}) == (math.inf, False)

    def test_all_outputs_count(self) -> None:
        outputs = {"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)}
        expected = expect(outputs)
        assert compare(expected, outputs) == (0.0, True)
        assert not compare(expected, {**outputs, "a": outputs["a"] * 2})[1]

    def test_outputs_that_nobody_asked_for_do_not_count(self) -> None:
        value = np.ones(4, np.float32)
        assert compare(one(value), {"y": value, "z": value})[1]
        assert compare([], {"z": value}) == (0.0, True)


class TestOddOutputs:
    @pytest.mark.parametrize(
        "value",
        [
            np.zeros(7, np.float32),
            np.zeros((0, 3), np.float32),
            np.float32(3.5),
            np.arange(5, dtype=np.int64),
            np.array([True, False]),
            np.ones(3, np.float16),
        ],
        ids=["zeros", "empty", "scalar", "int64", "bool", "float16"],
    )
    def test_equals_itself(self, value: NDArray[Any]) -> None:
        assert compare(one(value), {"y": np.asarray(value)}) == (0.0, True)

    def test_an_output_that_is_not_finite_cannot_be_expected(self) -> None:
        assert expect({"y": np.array([1, np.nan], np.float32)}) == []

    def test_what_should_be_zero_and_is_not(self) -> None:
        assert not compare(one(np.zeros(7, np.float32)), {"y": np.full(7, 1e-6, np.float32)})[1]

    def test_a_tolerance_of_its_own(self) -> None:
        value = np.ones(4, np.float32)
        assert compare(one(value, tolerance=0.5), {"y": value * 1.25}) == (0.25, True)
