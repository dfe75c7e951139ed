"""Findings about clocks and heat: governors, limits, throttling, temperatures."""

from __future__ import annotations

from collections.abc import Iterator

from hwnas.agent.sensors.rpi import reasons
from hwnas.doctor.facts import Clock, Facts
from hwnas.doctor.finding import Finding
from hwnas.doctor.governor import COMMAND
from hwnas.errors import shorten
from hwnas.profile.descriptor import Descriptor

__all__ = ["clock_findings", "heat_findings"]

_WARM_C = 75.0
"""Boards begin to throttle between 80 and 85 degrees; phones earlier, and say so themselves."""

_MOVES = "the clock moves with load, so that short runs and long ones see different clocks"
_SLOWED = "the clock is held down, so that figures are those of a fault and not of the device"


def clock_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Governors and frequency limits of the cores that are used."""
    wanted = descriptor.measure.affinity
    clocks = [clock for clock in facts.clocks if wanted is None or clock.core in wanted]
    if not clocks and descriptor.policy.governor != "record":
        yield Finding(
            "bad",
            f"the kernel shows no frequency governors, and the policy is to "
            f"{descriptor.policy.governor} {descriptor.policy.governor_name}",
            "measuring is refused there",
            'write governor = "record" under [policy]',
        )
        return
    if not clocks:
        yield Finding(
            "unknown",
            "the kernel shows no frequency governors",
            "clocks may move unseen, as in a virtual machine; only the canary tells then",
            "keep other load away, and look at the flags of the measurements",
        )
        return
    yield _governors(clocks, descriptor)
    capped = [clock for clock in clocks if clock.limit and clock.top and clock.limit < clock.top]
    if capped:
        what = [f"core {c.core}: {_mhz(c.limit)} of {_mhz(c.top)}" for c in capped]
        yield Finding(
            "warn",
            f"clocks are capped ({shorten(what, 3)})",
            "the device can run faster than it is allowed to now",
            "raise scaling_max_freq, or choose the power mode that you ship with",
        )
    kinds = sorted({clock.top for clock in facts.clocks if clock.top})
    if len(kinds) > 1 and wanted is None:
        yield Finding(
            "warn",
            f"cores differ: they run at up to {', '.join(_mhz(kind) for kind in kinds)}",
            "a run lands on a fast core or a slow one by chance",
            f"write affinity = {_fast_cores(facts, descriptor)} under [measure]",
        )


def _governors(clocks: list[Clock], descriptor: Descriptor) -> Finding:
    policy = descriptor.policy
    others = [clock for clock in clocks if clock.governor != policy.governor_name]
    if not others:
        return Finding("ok", f"governor {policy.governor_name} on the cores in use")
    found = f"governor is {', '.join(sorted({clock.governor for clock in others}))}"
    command = COMMAND.format(name=policy.governor_name)
    fixed = all(clock.limit and clock.limit == clock.now for clock in others)
    if policy.governor == "require":
        return Finding(
            "bad", f"{found}, the policy requires {policy.governor_name}", _MOVES, command
        )
    if policy.governor == "set":
        if all(clock.writable for clock in others):
            return Finding("ok", f"{found}; {policy.governor_name} is set while measuring")
        return Finding(
            "bad",
            f"{found}, the policy is to set {policy.governor_name}, and this user may not",
            _MOVES,
            f'{command}; then write governor = "require"',
        )
    if policy.governor_name == "performance" and fixed:
        return Finding("ok", f"{found}, at the highest clock that is allowed")
    return Finding("warn", found, _MOVES, command)


def _fast_cores(facts: Facts, descriptor: Descriptor) -> list[int]:
    fastest = max(clock.top or 0 for clock in facts.clocks)
    cores = sorted(clock.core for clock in facts.clocks if clock.top == fastest)
    return cores[-descriptor.measure.threads :]


def _mhz(kilohertz: int | None) -> str:
    return f"{(kilohertz or 0) / 1000:.0f} MHz"


def heat_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Throttling now and since boot, and temperatures."""
    yield from _raspberry(facts, descriptor)
    phone = facts.thermal_service
    if phone is not None and phone.status not in (None, "none"):
        yield Finding(
            "bad", f"Android throttles: {phone.status}", _SLOWED, "let the phone cool down"
        )
    zones = {**facts.zones, **(phone.temperatures if phone else {})}
    if not zones:
        yield Finding(
            "unknown",
            "no temperature can be read",
            "heat would slow the device unseen",
            "set cooldown_s under [measure] if it has no fan",
        )
        return
    hottest = max(zones, key=lambda zone: zones[zone])
    limit = descriptor.limits.max_temperature_c
    seen = f"{zones[hottest]:.0f} C at {hottest}"
    if limit is not None and zones[hottest] > limit:
        yield Finding(
            "bad", f"{seen}, the limit is {limit:.0f} C", _SLOWED, "let it cool down, or cool it"
        )
    elif zones[hottest] >= _WARM_C:
        yield Finding(
            "warn",
            seen,
            "it may throttle while it is measured",
            "cool it, or set cooldown_s under [measure]",
        )
    else:
        yield Finding("ok", seen)


def _raspberry(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    if facts.throttled is None:
        if "rpi" in (descriptor.sensors.names or ()):
            yield Finding(
                "unknown",
                "sensor rpi: not available here: the firmware does not say whether it throttles",
                "the clock may be held down unseen",
                "there: sudo usermod -aG video $USER, then log in again",
            )
        return
    now, before = reasons(facts.throttled), reasons(facts.throttled, since_boot=True)
    cure = "use the board's own power supply and a heat sink"
    if now:
        yield Finding("bad", f"throttled now: {', '.join(now)}", _SLOWED, f"{cure}, then reboot")
    elif before:
        yield Finding(
            "warn",
            f"throttled since boot: {', '.join(before)}",
            "it may happen again under load",
            f"{cure}, then reboot to clear the record",
        )
    else:
        yield Finding("ok", "not throttled since boot")
