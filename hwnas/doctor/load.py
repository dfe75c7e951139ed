"""Findings about what there is to run on: cores, quotas, other programs, memory, disk."""

from __future__ import annotations

from collections.abc import Iterator

from hwnas.doctor.facts import Facts
from hwnas.doctor.finding import Finding, Level
from hwnas.errors import shorten
from hwnas.profile.descriptor import Descriptor

__all__ = ["core_findings", "energy_findings", "load_findings", "sensor_findings", "space_findings"]

_NOT_HERE = {
    "cpufreq": "the kernel shows no clocks",
    "thermal": "no thermal zone can be read",
    "rpi": "no firmware of a Raspberry Pi answers",
    "rapl": "the kernel shows no energy counter of the processor",
    "ina3221": "no hwmon device is an INA3221",
    "dumpsys": "this is not Android",
}
"""Why a sensor is missing, by its name."""

_BUSY_CORES = 0.1
_STOLEN_CORES = 0.02
_SETTLED_S = 120.0
_MB = 10**6
_LITTLE_MEMORY, _LEAST_MEMORY = 500 * _MB, 100 * _MB
_LITTLE_DISK, _LEAST_DISK = 1000 * _MB, 100 * _MB


def core_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Cores against threads and affinity, and CPU quotas."""
    threads, affinity = descriptor.measure.threads, descriptor.measure.affinity
    cores = facts.allowed or facts.online
    if not cores:
        yield Finding(
            "unknown",
            "the system does not say which cores there are",
            "threads may share one",
            "write affinity under [measure]",
        )
        return
    gone = [str(core) for core in affinity or () if core not in cores]
    usable = len(affinity) if affinity and not gone else len(cores)
    if gone:
        yield Finding(
            "bad",
            f"affinity names core {shorten(gone)}, there are {shorten(map(str, cores))}",
            "nothing can be measured on a core that is not there",
            "correct affinity under [measure]",
        )
    elif usable < threads:
        yield Finding(
            "bad",
            f"{threads} threads on {usable} core{'' if usable == 1 else 's'}",
            "threads wait for each other, and a run takes as long as the scheduler likes",
            f"write threads = {usable} under [measure]",
        )
    elif threads == len(cores) > 1:
        yield Finding(
            "warn",
            f"{threads} threads on all {len(cores)} cores",
            "whatever else runs takes its time from the measurement",
            f"write threads = {threads - 1} under [measure], if you ship with that",
        )
    else:
        what = f"{threads} thread{'' if threads == 1 else 's'}, {len(cores)} cores"
        isolated = f", isolated: {shorten(map(str, facts.isolated))}" if facts.isolated else ""
        yield Finding("ok", what + isolated)
    yield from _quota(facts, threads)


def _quota(facts: Facts, threads: int) -> Iterator[Finding]:
    why = "the scheduler stops the process in mid-run whenever its share is used up"
    fix = "give it no quota (docker run without --cpus, systemd without CPUQuota=)"
    if facts.quota_cores is not None:
        level: Level = "bad" if facts.quota_cores < threads else "warn"
        yield Finding(level, f"a CPU quota of {facts.quota_cores:.3g} cores", why, fix)
    if facts.quota_stops:
        yield Finding("warn", f"stopped by a CPU quota {facts.quota_stops} times so far", why, fix)


def load_findings(facts: Facts) -> Iterator[Finding]:
    """Other programs, and hypervisors."""
    if facts.busy_cores is None:
        yield Finding(
            "unknown",
            "the load by other programs cannot be read",
            "they would take cores, caches and memory from the measurement",
            "stop what you can",
        )
    elif facts.busy_cores > _BUSY_CORES:
        who = [f"{name} {cores:.2f}" for name, cores in facts.busiest]
        yield Finding(
            "warn",
            f"other programs keep {facts.busy_cores:.2f} cores busy"
            + (f" ({', '.join(who)})" if who else ""),
            "they take cores, caches and memory from the measurement",
            "stop them, or wait until they are done",
        )
    else:
        yield Finding("ok", f"idle: {facts.busy_cores:.2f} cores busy")
    if facts.stolen_cores is not None and facts.stolen_cores > _STOLEN_CORES:
        yield Finding(
            "warn",
            f"the hypervisor takes {facts.stolen_cores:.2f} cores away",
            "runs are stopped in the middle, and the system does not see by whom",
            "measure on a machine of your own, or at another time",
        )
    if facts.uptime_s is not None and facts.uptime_s < _SETTLED_S:
        yield Finding(
            "warn",
            f"started {facts.uptime_s:.0f} s ago",
            "a system that has just started is still busy with itself",
            "wait two minutes",
        )


def space_findings(facts: Facts) -> Iterator[Finding]:
    """Memory and disk."""
    free = facts.memory.get("MemAvailable")
    if free is None:
        yield Finding(
            "unknown",
            "free memory cannot be read",
            "large blocks may fail to load",
            "look there with: free -m",
        )
    elif free < _LITTLE_MEMORY:
        level: Level = "bad" if free < _LEAST_MEMORY else "warn"
        yield Finding(
            level,
            f"{free // _MB} MB of memory are free",
            "large blocks fail to load, or push each other out",
            "stop other programs; a desktop takes most of it",
        )
    else:
        yield Finding("ok", f"{free / 1e9:.1f} GB of memory are free")
    swapped = facts.memory.get("SwapTotal", 0) - facts.memory.get("SwapFree", 0)
    if swapped > 50 * _MB:
        yield Finding(
            "warn",
            f"{swapped // _MB} MB are swapped out",
            "memory that is fetched back in mid-run is measured as latency",
            "stop other programs; or: sudo swapoff -a",
        )
    if facts.work_free is None:
        yield Finding(
            "unknown",
            "free disk space cannot be read",
            "uploads may fail",
            "look there with: df -h",
        )
    elif facts.work_free < _LITTLE_DISK:
        level = "bad" if facts.work_free < _LEAST_DISK else "warn"
        yield Finding(
            level,
            f"{facts.work_free // _MB} MB are free at {facts.work}",
            "models, agent and runtime are stored there",
            "make room, or name another folder as work under [transport]",
        )


def energy_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Energy counters, if energy is to be measured; a phone's battery."""
    battery = facts.battery
    if battery is not None and battery.level is not None and battery.level < 20:
        yield Finding(
            "warn",
            f"the battery is at {battery.level}%",
            "phones save power when it is low, and slow down",
            "charge it, and let it cool down after that",
        )
    if not descriptor.measure.energy:
        return
    if any(facts.energy.values()):
        readable = [name for name, can in facts.energy.items() if can]
        yield Finding("ok", f"energy can be read: {', '.join(readable)}")
        return
    what, why = "energy is to be measured, and there is no counter of it", "energy stays unknown"
    fix = "write energy = false under [measure], or measure at the plug"
    if "rapl" in facts.energy:
        what = "RAPL may not be read by this user"
        fix = "there, until the next boot: sudo chmod a+r /sys/class/powercap/*/energy_uj"
    elif facts.energy:
        what = "the power monitor has no rail of the whole module that can be read"
        why += "; the rails that there are stand among the readings"
    yield Finding("warn", what, why, fix)


def sensor_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Which sensors there are; one that the descriptor names and that is missing is told alone."""
    there = {
        "cpufreq": bool(facts.clocks),
        "thermal": bool(facts.zones),
        "rpi": facts.throttled is not None,
        "rapl": "rapl" in facts.energy,
        "ina3221": "ina3221" in facts.energy,
        "dumpsys": facts.thermal_service is not None or facts.battery is not None,
    }
    named = descriptor.sensors.names
    missing = [name for name in _NOT_HERE if not there[name] and name in (named or _NOT_HERE)]
    found = [name for name in _NOT_HERE if there[name] and name in (named or _NOT_HERE)]
    if named is not None:
        for name in missing:
            if name != "rpi":  # told with the findings about heat, with what to do
                yield Finding(
                    "unknown",
                    f"sensor {name}: not available here: {_NOT_HERE[name]}",
                    "what it would tell stays unknown",
                    f"leave {name} out of names under [sensors]",
                )
        missing = []
    lacks = [f"{name} ({_NOT_HERE[name]})" for name in missing]
    what = f"sensors: {', '.join(found) or 'none'}"
    if found or lacks:
        yield Finding("ok", what + (f"; not available here: {', '.join(lacks)}" if lacks else ""))
