"""Asking a target about itself, and judging what it says."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

from hwnas.doctor.clocks import clock_findings, heat_findings
from hwnas.doctor.facts import Facts, parse_facts
from hwnas.doctor.finding import LEVELS, Finding, Level
from hwnas.doctor.load import (
    core_findings,
    energy_findings,
    load_findings,
    sensor_findings,
    space_findings,
)
from hwnas.doctor.software import (
    agent_findings,
    library_findings,
    system_findings,
    work_findings,
)
from hwnas.errors import RemoteError
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.transport import Transport

__all__ = ["Examination", "examine", "judge", "probe"]

_TIMEOUT_S: Final = 120.0
"""An emulated board takes tens of seconds to import a runtime."""

_SKEW_S: Final = 5.0


@dataclass(frozen=True)
class Examination:
    """What was found out about a target, the worst first."""

    target: str
    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Level:
        """The worst level among the findings."""
        return self.findings[0].level if self.findings else "unknown"


def examine(transport: Transport, descriptor: Descriptor) -> Examination:
    """Probe ``descriptor``'s target through ``transport``, which takes a few seconds.

    Nothing is changed there.

    Raises:
        RemoteError: the probe did not run to its end.
        UnreachableDevice: the target does not answer.
    """
    before = time.time()
    facts = probe(transport, descriptor)
    findings = [*judge(facts, descriptor), *_skew(facts, before, time.time())]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Examination(descriptor.name, facts, tuple(findings))


def probe(transport: Transport, descriptor: Descriptor, root: str = "") -> Facts:
    """Run the probe; ``root`` is where the target's ``/sys`` and ``/proc`` are, for tests.

    Raises:
        RemoteError: it did not run to its end.
        UnreachableDevice: the target does not answer.
    """
    script = resources.files("hwnas.doctor").joinpath("probe.sh").read_text(encoding="utf-8")
    # On this machine the agent runs with the Python that runs this.
    python = sys.executable if descriptor.kind == "local" else descriptor.runtime.python
    if descriptor.runtime.agent == "native":
        python = ""
    mark = secrets.token_hex(16)
    answer = transport.run(
        script, mark, descriptor.transport.work, python, root, timeout_s=_TIMEOUT_S
    )
    try:
        return parse_facts(answer.stdout, mark)
    except ValueError as error:
        raise RemoteError(
            f"the probe on {descriptor.name} failed: {error} (exit code {answer.code})",
            f"see whether `sh` works there: {answer.stderr[-200:].decode('ascii', 'replace')!r}",
        ) from None


def judge(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """What ``facts`` mean for measuring as ``descriptor`` says."""
    yield from system_findings(facts, descriptor)
    yield from clock_findings(facts, descriptor)
    yield from heat_findings(facts, descriptor)
    yield from core_findings(facts, descriptor)
    yield from load_findings(facts)
    yield from space_findings(facts)
    yield from energy_findings(facts, descriptor)
    yield from sensor_findings(facts, descriptor)
    yield from library_findings(facts, descriptor)
    yield from agent_findings(facts, descriptor)
    yield from work_findings(facts, descriptor)


def _skew(facts: Facts, before: float, after: float) -> Iterator[Finding]:
    """The device's clock against this machine's, which it was read between two times of."""
    if facts.clock_s is None:
        return
    ahead = max(before - facts.clock_s - 1, facts.clock_s - after, 0.0)
    if ahead > _SKEW_S:
        side = "ahead of" if facts.clock_s > after else "behind"
        yield Finding(
            "warn",
            f"its clock is {ahead:.0f} s {side} this machine's",
            "records carry the device's time; latencies do not depend on it",
            "there: sudo timedatectl set-ntp true",
        )
