"""What a device is: read there, and recorded with every measurement."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwnas._version import __version__
from hwnas.agent.protocol import RuntimeInfo
from hwnas.agent.settings import Settings
from hwnas.errors import ProfileError

__all__ = ["INSTRUCTION_SETS", "UNKNOWN", "collect", "pin", "read_cpuinfo", "read_governor"]

UNKNOWN = "unknown"
_CPUINFO = Path("/proc/cpuinfo")
_CPUFREQ = Path("/sys/devices/system/cpu")
INSTRUCTION_SETS = re.compile(
    r"sse|ssse|avx|fma|f16c|bmi|amx|aes|sha|vaes|vpclmul|pclmul|gfni|popcnt|movbe|"
    r"asimd|neon|vfp|fp16|fphp|fp$|sve|sme|bf16|i8mm|pmull|dotprod|crc32|atomics|jscvt|fcma"
)
"""Flags that change which code a runtime picks; the rest tells of the kernel and hypervisor."""


@contextmanager
def pin(settings: Settings) -> Iterator[None]:
    """Keep this process on ``settings.affinity`` within the block.

    Raises:
        ProfileError: a core is not there, or there are fewer than threads.
    """
    available = os.sched_getaffinity(0)
    wanted = set(settings.affinity or available)
    names = ", ".join(map(str, sorted(available)))
    if wanted - available:
        missing = ", ".join(map(str, sorted(wanted - available)))
        raise ProfileError(
            f"core {missing} is not available on this device", f"choose among the cores {names}"
        )
    if settings.threads > len(wanted):
        raise ProfileError(
            f"{settings.threads} threads cannot run at once on {len(wanted)} of the cores {names}",
            "ask for fewer threads, or more cores in the affinity",
        )
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, available)


def collect(runtime: RuntimeInfo, settings: Settings) -> dict[str, Any]:
    """The fingerprint of this machine and process, which has pinned itself already.

    Its fields are those of ``hwnas.profile.fingerprint.Fingerprint``.
    """
    affinity = tuple(sorted(os.sched_getaffinity(0)))
    cpu, flags = read_cpuinfo(_read(_CPUINFO))
    return {
        "machine": platform.machine() or UNKNOWN,
        "cpu": cpu,
        "flags": flags,
        "threads": settings.threads,
        "runtime": runtime.name,
        "runtime_version": runtime.version,
        "provider": runtime.provider,
        "cores": os.cpu_count() or 1,
        "affinity": affinity,
        "governor": read_governor(affinity),
        "system": platform.system(),
        "kernel": platform.release(),
        "hwnas": __version__,
    }


def read_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """CPU model and sorted flags from the text of ``/proc/cpuinfo`` (x86 or Arm).

    x86 models come with family, model and stepping, since a hypervisor may shorten the name. Arm
    lists implementer and part of each kind of core, as in ``Arm 0x41/0xd03``.
    """
    entries = [(key.strip(), value.strip()) for key, value in _pairs(text)]
    first = dict(reversed(entries))
    flags = tuple(sorted((first.get("flags") or first.get("Features") or "").split()))
    if "model name" in first:
        numbers = [first.get(key, "?") for key in ("cpu family", "model", "stepping")]
        model = first["model name"]
        return (f"{model} {'/'.join(numbers)}" if numbers != ["?"] * 3 else model), flags
    if "CPU part" in first:
        makers = [value for key, value in entries if key == "CPU implementer"]
        parts = [value for key, value in entries if key == "CPU part"]
        kinds = sorted({f"{maker}/{part}" for maker, part in zip(makers, parts, strict=False)})
        board = first.get("Model") or first.get("Hardware")
        return " ".join(["Arm", *kinds, *([f"({board})"] if board else [])]), flags
    return UNKNOWN, flags


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key, value


def read_governor(cores: Iterable[int], root: Path = _CPUFREQ) -> str:
    """Frequency governors of ``cores``, sorted and joined; ``unknown`` where one has none."""
    found = {_read(root / f"cpu{core}" / "cpufreq" / "scaling_governor").strip() for core in cores}
    return UNKNOWN if "" in found or not found else ",".join(sorted(found))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
