"""Which process is writing a lookup table: a mark that outlives nothing but the truth.

A mark names the boot, the PID namespace, the process and when it started, so that a mark left
behind by a killed process is known to be stale even if its number has been given away again.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["alive", "here", "process_id"]

_START_FIELD = 19
"""``starttime`` in ``/proc/PID/stat``, counted after the command's closing bracket."""


def here() -> str:
    """The mark of this process."""
    return _mark(os.getpid())


def alive(mark: str) -> bool:
    """Whether the process that left ``mark`` is running, as far as can be seen from here."""
    pid = process_id(mark)
    return pid > 0 and _mark(pid) == mark


def process_id(mark: str) -> int:
    """The process number in ``mark``; 0 if there is none."""
    last = mark.split(":")[-1]
    return int(last) if last.isdecimal() else 0


def _mark(pid: int) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
        stat = Path(f"/proc/{pid}/stat").read_text()
        started = stat.rpartition(")")[2].split()[_START_FIELD]
    except (OSError, IndexError):
        return ""
    return f"{boot}:{namespace.strip('pid:[]')}:{started}:{pid}"
