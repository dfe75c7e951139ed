"""What tests that really measure share: quick settings, named jobs, waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwnas.profile import Job
from hwnas.testing.conformance import example_job, quick_settings

__all__ = ["CUT", "QUICK", "named", "running", "wait_until"]

QUICK = quick_settings()
CUT = replace(QUICK, min_runs=400, max_runs=400, sample_time_s=60.0)


def named(folder: Path, *labels: str) -> list[Job]:
    """Jobs for the profiler ``faulty``, each told by its label what to do."""
    base = example_job(folder)
    return [replace(base, key=f"key of {label}", label=label) for label in labels]


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
