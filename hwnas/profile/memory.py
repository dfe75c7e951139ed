"""Memory of this process."""

from __future__ import annotations

from pathlib import Path

__all__ = ["pss_bytes"]

_ROLLUP = Path("/proc/self/smaps_rollup")


def pss_bytes(rollup: Path = _ROLLUP) -> int | None:
    """Proportional set size of this process in bytes; ``None`` where the kernel does not tell.

    PSS counts a page that n processes share as 1/n, so a weights file that is mapped counts, and
    libraries that others use too count less.
    """
    try:
        for line in rollup.read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
