"""Inputs that come out the same on every machine, from any program: a counter, hashed.

Element i of input j is made of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014, figure 3) at ``seed + (j + 1) * golden + i``. So nothing has to be sent,
and the agent in C makes the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.protocol import Tensor

__all__ = ["make_input", "make_inputs"]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_SCALE = 1.7320508 / 8388608
"""To values from -sqrt(3) to sqrt(3), whose standard deviation is 1."""


def make_inputs(tensors: Iterable[Tensor], seed: int) -> dict[str, NDArray[Any]]:
    """One array per tensor, by name.

    Floats are spread evenly with mean 0 and standard deviation 1; integers and booleans are 0 or
    1, valid as indices and as masks.
    """
    return {tensor.name: make_input(tensor, j, seed) for j, tensor in enumerate(tensors)}


def make_input(tensor: Tensor, index: int, seed: int) -> NDArray[Any]:
    """The array for input number ``index``."""
    z = _splitmix64((seed + (index + 1) * _GOLDEN) & _MASK, math.prod(tensor.shape))
    dtype = np.dtype(tensor.dtype)
    if dtype.kind != "f":
        return (z & np.uint64(1)).astype(dtype).reshape(tensor.shape)
    centred = (z >> np.uint64(40)).astype(np.int64) - 8388608
    return (centred * _SCALE).astype(np.float32).astype(dtype).reshape(tensor.shape)


def _splitmix64(start: int, count: int) -> NDArray[np.uint64]:
    z = np.arange(count, dtype=np.uint64)
    # Wrapping around is what is meant; on arrays NumPy does it in silence.
    z += np.uint64((start + _GOLDEN) & _MASK)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z
