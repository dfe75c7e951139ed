"""Processes on this machine, as tests of whatever measures look at them. Linux; needs no pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["descendants", "running", "wait_until"]


def running(pid: int) -> bool:
    """Whether there is such a process and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int | str = "self") -> list[int]:
    """Children of a process, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found + [below for child in found for below in descendants(child)]


def wait_until(true: Callable[[], object], seconds: float = 60.0, what: str = "") -> None:
    """Look again and again until ``true()``.

    Raises:
        AssertionError: it was not, ``seconds`` long; with ``what`` was waited for.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            raise AssertionError(f"waited in vain{what and f' for {what}'}")
        time.sleep(0.02)
