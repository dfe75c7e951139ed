"""Memory of a whole switchable bundle against its largest subnet alone, each in a fresh process.

What counts is the proportional set size (PSS) above the process with everything imported and
nothing opened: weights as the runtime holds them, mapped file pages, and buffers.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasError

__all__ = ["Memory", "memory_ratio"]


@dataclass(frozen=True)
class Memory:
    """PSS in bytes after every subnet has run, and of the largest alone; None if unknown here."""

    all_bytes: int | None
    largest_bytes: int | None

    @property
    def ratio(self) -> float | None:
        """All over largest."""
        if not self.all_bytes or not self.largest_bytes:
            return None
        return self.all_bytes / self.largest_bytes


def memory_ratio(path: Path, largest: str, onnx: Path | None = None, threads: int = 1) -> Memory:
    """Measure the bundle at ``path`` against its subnet ``largest`` alone.

    Args:
        path: of the bundle.
        largest: name of its largest subnet.
        onnx: folder with that subnet's own export; without it, it is linked from the bundle.
        threads: of every run.

    Raises:
        HwnasError: a measuring process failed.
    """
    alone = [largest, str(onnx) if onnx else ""]
    return Memory(_measure(path, threads, []), _measure(path, threads, alone))


def _measure(path: Path, threads: int, alone: list[str]) -> int | None:
    worker = [sys.executable, "-P", "-m", "hwnas.bench.memory_worker"]
    command = [*worker, str(path), str(threads), *alone]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise HwnasError(f"measuring memory failed: {last[0]}", "is there enough free memory?")
    found = done.stdout.split()[-1]
    return None if found == "unknown" else int(found)
