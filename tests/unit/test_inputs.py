"""Inputs are the same everywhere: known bytes, which another agent's are held against."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwnas.agent.inputs import make_input, make_inputs
from hwnas.agent.protocol import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """As published, one number at a time."""
    z = (state + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def test_the_generator_is_the_published_one() -> None:
    # The first numbers for the seed 1234567, as listed with its reference implementation.
    state, found = 1234567, []
    for _ in range(3):
        found.append(splitmix64(state))
        state = (state + _GOLDEN) & _MASK
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    ("dtype", "index", "seed", "first"),
    [
        ("float32", 0, 0, "00e372be31f6593fccf25c3f4d9f313f"),
        ("float32", 1, 0, "4dfbd1bf4fd8d03f23a0a93ec45fc83e"),
        ("float32", 0, 12345, "c4e282bffd9fbcbfecc7f7be12ed41bf"),
        ("float64", 0, 0, "00000000605ccebf00000020c63eeb3f"),
        ("float16", 0, 0, "97b3d03ae83a8d39"),
        ("int64", 0, 0, "00000000000000000100000000000000"),
        ("uint8", 3, 1, "01010001"),
        ("bool", 0, 0, "00010001"),
    ],
)
def test_known_bytes(dtype: str, index: int, seed: int, first: str) -> None:
    found = make_input(Tensor("x", dtype, (2, 4)), index, seed)
    assert found.dtype == dtype and found.shape == (2, 4)
    little = found.astype(found.dtype.newbyteorder("<"))
    assert little.tobytes().hex().startswith(first)


@pytest.mark.parametrize("seed", [0, 1, (1 << 62) - 1])
def test_each_element_follows_from_its_place_alone(seed: int) -> None:
    floats = make_input(Tensor("x", "float32", (300,)), 1, seed)
    flags = make_input(Tensor("x", "int32", (300,)), 1, seed)
    for i in (0, 1, 7, 299):
        z = splitmix64(seed + 2 * _GOLDEN + i)
        assert floats[i] == np.float32(((z >> 40) - (1 << 23)) * (1.7320508 / (1 << 23)))
        assert flags[i] == z & 1


def test_floats_have_mean_0_and_standard_deviation_1() -> None:
    found = make_input(Tensor("x", "float32", (100, 1000)), 0, 0)
    assert abs(found.mean()) < 0.01 and abs(found.std() - 1) < 0.01
    assert np.abs(found).max() < math.sqrt(3)


def test_inputs_differ_from_each_other_and_by_seed() -> None:
    tensors = [Tensor("a", "float32", (64,)), Tensor("b", "float32", (64,))]
    one, two = make_inputs(tensors, 0), make_inputs(tensors, 1)
    assert list(one) == ["a", "b"]
    assert len(np.intersect1d(one["a"], one["b"])) < 5
    assert len(np.intersect1d(one["a"], two["a"][:1])) == 1, "the next seed is a step further"
    assert not np.array_equal(one["a"], two["a"])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
def test_odd_shapes(shape: tuple[int, ...]) -> None:
    for dtype in ("float16", "int8", "bool"):
        assert make_input(Tensor("x", dtype, shape), 0, 0).shape == shape
