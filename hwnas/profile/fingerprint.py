"""What a device is: recorded with every measurement, and compared before measurements are mixed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt

from hwnas._version import __version__
from hwnas.profile.settings import Settings

__all__ = ["Fingerprint", "RuntimeInfo", "collect", "read_cpuinfo", "read_governor"]

_UNKNOWN = "unknown"
_CPUINFO = Path("/proc/cpuinfo")
_CPUFREQ = Path("/sys/devices/system/cpu")
_INSTRUCTION_SETS = re.compile(
    r"sse|ssse|avx|fma|f16c|bmi|amx|aes|sha|vaes|vpclmul|pclmul|gfni|popcnt|movbe|"
    r"asimd|neon|vfp|fp16|fphp|fp$|sve|sme|bf16|i8mm|pmull|dotprod|crc32|atomics|jscvt|fcma"
)
"""Flags that change which code a runtime picks; the rest tells of the kernel and hypervisor."""


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime that a profiler measures: its name, version and the provider in use."""

    name: str
    version: str
    provider: str


class Fingerprint(BaseModel):
    """One device under one set of settings.

    Measurements of two are comparable if nothing up to ``provider`` differs; what follows is only
    recorded.

    Attributes:
        machine: architecture as ``uname`` says it.
        cpu: model of the CPU.
        flags: CPU flags as the kernel lists them, sorted. Only instruction sets are compared.
        threads: threads per inference.
        runtime, runtime_version, provider: what ran the models.
        cores: cores that the system has.
        affinity: cores that the child ran on.
        governor: frequency governors of those cores; ``unknown`` where there is none to read.
        system: operating system.
        kernel: its release.
        hwnas: version that measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    cpu: str
    flags: tuple[str, ...]
    threads: PositiveInt
    runtime: str
    runtime_version: str
    provider: str

    cores: PositiveInt
    affinity: tuple[int, ...]
    governor: str
    system: str
    kernel: str
    hwnas: str

    @property
    def instruction_sets(self) -> frozenset[str]:
        """The flags that change which code a runtime picks."""
        return frozenset(flag for flag in self.flags if _INSTRUCTION_SETS.match(flag))

    @property
    def flags_hash(self) -> str:
        """Short hash of :attr:`instruction_sets`, to tell two devices apart at a glance."""
        text = " ".join(sorted(self.instruction_sets))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def differences(self, other: Fingerprint) -> list[str]:
        """Why measurements of ``other`` cannot be mixed with these; empty if they can."""
        found = [
            f"{label}: {getattr(self, name)} here, {getattr(other, name)} there"
            for name, label in _COMPARED.items()
            if getattr(self, name) != getattr(other, name)
        ]
        here, there = self.instruction_sets, other.instruction_sets
        if here != there:
            sides = [("here", here - there), ("there", there - here)]
            only = [f"only {side}: {', '.join(sorted(flags))}" for side, flags in sides if flags]
            found.append(f"CPU flags: {'; '.join(only)}")
        return found

    def changes(self, other: Fingerprint) -> list[str]:
        """What differs in the fields that are only recorded, such as the kernel."""
        return [
            f"{name}: {getattr(self, name)} here, {getattr(other, name)} there"
            for name in ("cores", "affinity", "governor", "system", "kernel", "hwnas")
            if getattr(self, name) != getattr(other, name)
        ]

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.cpu} ({self.machine}, {self.cores} cores, flags {self.flags_hash}), "
            f"{self.runtime} {self.runtime_version} {self.provider}, "
            f"{self.threads} thread{_s(self.threads)} on core{_s(len(self.affinity))} "
            f"{_ranges(self.affinity)}, governor {self.governor}, {self.system} {self.kernel}"
        )


_COMPARED = {
    "machine": "architecture",
    "cpu": "CPU",
    "threads": "threads",
    "runtime": "runtime",
    "runtime_version": "runtime version",
    "provider": "provider",
}


def collect(runtime: RuntimeInfo, settings: Settings) -> Fingerprint:
    """Read the fingerprint of this machine and process, which has pinned itself already."""
    affinity = tuple(sorted(os.sched_getaffinity(0)))
    cpu, flags = read_cpuinfo(_read(_CPUINFO))
    return Fingerprint(
        machine=platform.machine() or _UNKNOWN,
        cpu=cpu,
        flags=flags,
        threads=settings.threads,
        runtime=runtime.name,
        runtime_version=runtime.version,
        provider=runtime.provider,
        cores=os.cpu_count() or 1,
        affinity=affinity,
        governor=read_governor(affinity),
        system=platform.system(),
        kernel=platform.release(),
        hwnas=__version__,
    )


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
    return _UNKNOWN, flags


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key, value


def read_governor(cores: Iterable[int], root: Path = _CPUFREQ) -> str:
    """Frequency governors of ``cores``, sorted and joined; ``unknown`` where one has none."""
    found = {_read(root / f"cpu{core}" / "cpufreq" / "scaling_governor").strip() for core in cores}
    return _UNKNOWN if "" in found or not found else ",".join(sorted(found))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _ranges(cores: tuple[int, ...]) -> str:
    """Cores as people write them: ``0-3,8``."""
    groups: list[list[int]] = []
    for core in cores:
        if groups and core == groups[-1][-1] + 1:
            groups[-1].append(core)
        else:
            groups.append([core])
    return ",".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)
