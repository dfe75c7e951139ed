"""A fixed piece of arithmetic that tells a lowered clock from lost scheduling.

It is a chain of multiplications in which every one needs the one before, so it takes a fixed number
of cycles whatever else the machine does: it waits for its own results and leaves the core's units
to whoever shares them. Where the canary takes longer, the clock is lower; where runs take longer
and the canary does not, it is memory, other load or the scheduler.
"""

from __future__ import annotations

import time

import numpy as np

__all__ = ["canary_ns"]

_LENGTH = 16_000
"""Steps of a chain, some 50 us in all."""

_TRIES = 3
_FACTORS = np.broadcast_to(np.float64(1.0000001), (_LENGTH,))
_PRODUCTS = np.empty(_LENGTH)


def canary_ns() -> float:
    """Best of three chains: ns of CPU time per step, greater than 0.

    CPU time, so that a core that was taken away meanwhile does not look like a slow one.
    """
    return min(_time() for _ in range(_TRIES)) / _LENGTH


def _time() -> int:
    start = time.thread_time_ns()
    np.multiply.accumulate(_FACTORS, out=_PRODUCTS)
    return max(1, time.thread_time_ns() - start)
