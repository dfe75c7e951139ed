"""Random inputs for comparing and timing: seeded, so that both sides get the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.program import TensorSpec

__all__ = ["random_inputs"]


def random_inputs(specs: Iterable[TensorSpec], seed: int) -> dict[str, NDArray[Any]]:
    """One array per spec: standard normal for floats, 0 or 1 for everything else."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if "float" in spec.dtype
        else generator.integers(0, 2, spec.shape).astype(spec.dtype)
        for spec in specs
    }
