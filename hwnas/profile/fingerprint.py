"""What a device is: recorded with every measurement, and compared before measurements are mixed."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hwnas.agent.fingerprint import INSTRUCTION_SETS
from hwnas.errors import ProfileError

__all__ = ["Fingerprint", "read_fingerprint"]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


# It comes from a device or a file, is shown on terminals and stored with every run.
_Text = Annotated[str, Field(max_length=256), AfterValidator(_printable)]
_Count = Annotated[int, Field(ge=1, le=65536)]
_Core = Annotated[int, Field(ge=0, le=65535)]


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

    machine: _Text
    cpu: _Text
    flags: Annotated[tuple[_Text, ...], Field(max_length=4096)]
    threads: _Count
    runtime: _Text
    runtime_version: _Text
    provider: _Text

    cores: _Count
    affinity: Annotated[tuple[_Core, ...], Field(max_length=65536)]
    governor: _Text
    system: _Text
    kernel: _Text
    hwnas: _Text

    @property
    def instruction_sets(self) -> frozenset[str]:
        """The flags that change which code a runtime picks."""
        return frozenset(flag for flag in self.flags if INSTRUCTION_SETS.match(flag))

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


def read_fingerprint(values: object) -> Fingerprint:
    """Check what an agent has sent.

    Raises:
        ProfileError: it is no fingerprint.
    """
    try:
        return Fingerprint.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(
            f"the device sent a fingerprint that is none: {where}: {first['msg']}",
            "install the same hwnas on the device",
        ) from error


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
