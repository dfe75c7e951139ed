"""The switcher's two backends, for tests that hold for both."""

from __future__ import annotations

import os

import pytest

from hwnas.runtime.native import native_missing

__all__ = ["BACKENDS", "need"]

BACKENDS = ("native", "python")


def need(backend: str) -> str:
    """Give ``backend`` back if it is here; otherwise skip the test and print why.

    With ``HWNAS_REQUIRE_NATIVE=1`` in the environment it fails instead.
    """
    reason = native_missing() if backend == "native" else None
    if reason is None:
        return backend
    if os.environ.get("HWNAS_REQUIRE_NATIVE") == "1":
        pytest.fail(f"HWNAS_REQUIRE_NATIVE is 1, but {reason}")
    pytest.skip(reason)
