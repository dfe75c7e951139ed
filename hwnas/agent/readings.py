"""What the system tells of a process and of how it lets it run. Unknown is ``None``, never 0."""

from __future__ import annotations

import ctypes
import math
import resource
from pathlib import Path

__all__ = ["PSS", "free_bytes", "involuntary_switches", "pss_bytes", "throttled", "trim"]

PSS = Path("/proc/self/smaps_rollup")
_CGROUP = Path("/proc/self/cgroup")
_MOUNTS = Path("/sys/fs/cgroup")


def pss_bytes(rollup: Path = PSS) -> int | None:
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


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory to be had without swapping, in bytes; infinite where the kernel does not tell."""
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return math.inf


def trim() -> None:
    """Give freed memory back to the system, so that it does not hide what is taken next."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:  # glibc's
        release(0)


def involuntary_switches() -> int | None:
    """How often the scheduler took the core from this thread."""
    who = getattr(resource, "RUSAGE_THREAD", None)
    return None if who is None else resource.getrusage(who).ru_nivcsw


def throttled(groups: Path = _CGROUP, mounts: Path = _MOUNTS) -> int | None:
    """How often this process's group was stopped for having used up its CPU quota.

    The sum over the group and those above it, of cgroup version 2 or 1; ``None`` where neither
    tells.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    found: list[int] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        roots = [mounts / controllers, mounts / "cpu", mounts / "cpu,cpuacct"]
        for root in roots if controllers else [mounts, mounts / "unified"]:
            found += _counts(root, path)
            if found:
                break
    return sum(found) if found else None


def _counts(root: Path, path: str) -> list[int]:
    """``nr_throttled`` of the group ``path`` below ``root`` and of those above it."""
    found = []
    parts = [part for part in path.split("/") if part not in ("", "..")]
    # In a container the path may be the host's, which is not there: the mount's top is the group.
    for length in range(len(parts), -1, -1):
        try:
            text = root.joinpath(*parts[:length], "cpu.stat").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.strip().isdecimal():
                found.append(int(value))
    return found
