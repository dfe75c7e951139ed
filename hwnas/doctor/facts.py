"""Reading what ``probe.sh`` prints. It comes from a device: everything in it may be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hwnas.agent.sensors.dumpsys import (
    Battery,
    ThermalService,
    parse_battery,
    parse_thermalservice,
)
from hwnas.agent.sensors.rpi import parse_throttled
from hwnas.agent.sensors.thermal import plausible

__all__ = ["Clock", "Facts", "parse_facts", "split_sections"]

_MOST_BYTES = 4 << 20
_MOST_CORES = 4096
_TICKS = 100
"""Per second, in which Linux shows times to programs, on every architecture."""


@dataclass(frozen=True)
class Clock:
    """Clock of one core in kHz; ``None`` for what the kernel does not show.

    Attributes:
        limit: highest that the governor may choose now.
        top: highest that the core can run at.
        writable: whether this user may change the governor.
    """

    core: int
    governor: str
    now: int | None
    limit: int | None
    top: int | None
    writable: bool


@dataclass(frozen=True)
class Facts:
    """What a device says of itself; ``None`` and empty for what it does not say.

    Attributes:
        system, kernel, architecture: as ``uname`` says them.
        allowed: cores that a process may run on.
        memory: bytes by the kernel's names, such as ``MemAvailable``.
        energy: whether this user can read them, by names of sensors that are there.
        throttled: the word of a Raspberry Pi's firmware.
        quota_cores: CPU quota of this process's group, in cores.
        quota_stops: how often the group was stopped for having used it up.
        libc: name and version, as ``("glibc", (2, 36))``.
        work: nearest folder to the work folder that exists.
        python: versions by module, ``sys`` for Python itself.
        python_errors: what was said instead, by module.
        busy_cores: cores that something else kept busy while the probe rested.
        stolen_cores: cores that a hypervisor took away meanwhile.
        busiest: programs and the cores each kept busy, most first.
        clock_s: seconds since 1970 by the device's clock.
    """

    system: str = ""
    kernel: str = ""
    architecture: str = ""
    cpu: tuple[str, ...] = ()
    online: tuple[int, ...] = ()
    isolated: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    uptime_s: float | None = None
    clocks: tuple[Clock, ...] = ()
    zones: Mapping[str, float] = field(default_factory=dict)
    energy: Mapping[str, bool] = field(default_factory=dict)
    throttled: int | None = None
    quota_cores: float | None = None
    quota_stops: int | None = None
    libc: tuple[str, tuple[int, ...]] | None = None
    work: str = ""
    work_writable: bool | None = None
    work_free: int | None = None
    work_noexec: bool | None = None
    tools: frozenset[str] = frozenset()
    telemetry_off: bool = False
    python: Mapping[str, str] = field(default_factory=dict)
    python_errors: Mapping[str, str] = field(default_factory=dict)
    thermal_service: ThermalService | None = None
    battery: Battery | None = None
    busy_cores: float | None = None
    stolen_cores: float | None = None
    busiest: tuple[tuple[str, float], ...] = ()
    clock_s: int | None = None


def split_sections(output: bytes, mark: str) -> dict[str, list[str]]:
    """Lines of each section; control characters become spaces.

    Raises:
        ValueError: it is too long, or its end is not there: the script did not run whole.
    """
    if len(output) > _MOST_BYTES:
        raise ValueError("the device printed more than a probe does")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for raw in output.decode("utf-8", "replace").split("\n"):
        line = "".join(c if c.isprintable() else " " for c in raw.replace("\t", " "))
        before, _, name = line.partition(" ")
        if before == mark and name:
            lines = sections.setdefault(name, [])
        else:
            lines.append(line.strip())
    if "end" not in sections:
        raise ValueError("what the device printed has no end")
    return {name: [line for line in found if line] for name, found in sections.items()}


def parse_facts(output: bytes, mark: str) -> Facts:
    """Read what ``probe.sh`` printed; what is not understood is left out.

    Raises:
        ValueError: the script did not run whole.
    """
    sections = split_sections(output, mark)

    def lines(name: str) -> list[str]:
        return sections.get(name, [])

    system, kernel, architecture = [*(s[:100] for s in lines("system")), "", "", ""][:3]
    cores = dict(_pairs(lines("cores")))
    tools = frozenset(lines("tools"))
    versions, errors = _python(lines("python"))
    quota, stops = _quota(lines("quota"))
    work, writable, free, noexec = _work(lines("work"), lines("mounts"))
    busy, stolen, busiest = _busy(lines("busy1"), lines("busy2"))
    android = "\n".join(lines("android"))
    return Facts(
        system=system,
        kernel=kernel,
        architecture=architecture,
        cpu=tuple(" ".join(line.partition(":")[2].split())[:80] for line in lines("cpu")[:8]),
        online=_core_list(cores.get("online", "")),
        isolated=_core_list(cores.get("isolated", "")),
        allowed=_core_list(cores.get("allowed", "")),
        memory={
            name: int(kilobytes) * 1024
            for line in lines("memory")[:8]
            for name, kilobytes in re.findall(r"^(\w{1,20}): +([0-9]{1,15}) kB$", line)
        },
        uptime_s=_seconds(lines("uptime")),
        clocks=tuple(_clocks(lines("clocks"))),
        zones=_zones(lines("thermal")),
        energy=_energy(lines("energy")),
        throttled=next(
            (word for line in lines("rpi") if (word := parse_throttled(line)) is not None), None
        ),
        quota_cores=quota,
        quota_stops=stops,
        libc=_libc(lines("libc")),
        work=work,
        work_writable=writable,
        work_free=free,
        work_noexec=noexec,
        tools=tools,
        telemetry_off=dict(_pairs(lines("environment"))).get("telemetry") == "1",
        python=versions,
        python_errors=errors,
        thermal_service=parse_thermalservice(android) if android else None,
        battery=parse_battery(android) if android else None,
        busy_cores=busy,
        stolen_cores=stolen,
        busiest=busiest,
        clock_s=next((number for line in lines("clock") if (number := _number(line))), None),
    )


def _pairs(lines: Iterable[str]) -> list[tuple[str, str]]:
    return [
        (key.strip(), value.strip())
        for key, bar, value in (line.partition("|") for line in lines)
        if bar
    ]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text.strip()) else None


def _seconds(lines: list[str]) -> float | None:
    found = re.match(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(?: |$)", lines[0]) if lines else None
    return float(found[1]) if found else None


def _core_list(text: str) -> tuple[int, ...]:
    """Cores from ``0-3,8``; none if it is anything else."""
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip())
        if ends is None:
            return ()
        first, last = int(ends[1]), int(ends[2] or ends[1])
        found.update(range(first, min(last, _MOST_CORES - 1) + 1))
    return tuple(sorted(found))


def _clocks(lines: list[str]) -> Iterable[Clock]:
    for line in lines[:_MOST_CORES]:
        parts = [part.strip() for part in line.split("|")]
        core = _number(parts[0])
        if len(parts) != 6 or core is None or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", parts[1]):
            continue
        now, limit, top = (_number(part) or None for part in parts[2:5])
        yield Clock(core, parts[1], now, limit, top, parts[5] == "yes")


def _zones(lines: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for kind, value in _pairs(lines[:256]):
        if re.fullmatch(r"-?[0-9]{1,7}", value) and plausible(int(value) / 1000):
            found[kind[:40]] = max(found.get(kind[:40], -273.0), int(value) / 1000)
    return found


def _energy(lines: list[str]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name, readable in _pairs(lines[:256]):
        if name in ("rapl", "ina3221"):
            found[name] = found.get(name, False) or readable == "yes"
    return found


def _quota(lines: list[str]) -> tuple[float | None, int | None]:
    """The narrowest quota in cores, and the stops of all groups together."""
    cores: list[float] = []
    stops: list[int] = []
    for line in lines[:256]:
        if found := re.fullmatch(r"max\|([0-9]{1,15}) +([0-9]{1,15})", line):
            if int(found[2]):
                cores.append(int(found[1]) / int(found[2]))
        elif found := re.fullmatch(r"nr_throttled ([0-9]{1,15})", line):
            stops.append(int(found[1]))
    # One group may be seen through several mounts.
    return min(cores, default=None), max(stops, default=None)


def _libc(lines: list[str]) -> tuple[str, tuple[int, ...]] | None:
    text = " ".join(lines)[:400]
    for name, pattern in (
        ("glibc", r"(?:^glibc|GLIBC|GNU libc).*?([0-9]{1,3}(?:\.[0-9]{1,4}){1,2})"),
        ("musl", r"musl.*?([0-9]{1,3}(?:\.[0-9]{1,4}){1,2})"),
        ("bionic", r"^bionic ([0-9]{1,3}(?:\.[0-9]{1,4}){0,2})"),
    ):
        if found := re.search(pattern, text):
            return name, tuple(map(int, found[1].split(".")))
    return None


def _work(lines: list[str], mounts: list[str]) -> tuple[str, bool | None, int | None, bool | None]:
    if not lines or "|" not in lines[0]:
        return "", None, None, None
    answer, _, folder = lines[0].partition("|")
    disk = re.search(r" ([0-9]{1,15}) +[0-9]{1,3}% +(/.*)$", lines[1]) if len(lines) > 1 else None
    free, noexec = None, None
    if disk:
        free = int(disk[1]) * 1024
        # The last line counts: what is mounted later lies above what was there.
        options = [line.rpartition(" ")[2] for line in mounts if line.rpartition(" ")[0] == disk[2]]
        noexec = "noexec" in options[-1].split(",") if options else None
    return folder[:400], answer == "yes", free, noexec


def _python(lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    versions: dict[str, str] = {}
    errors: dict[str, str] = {}
    for module, answer in _pairs(lines[:8]):
        if found := re.fullmatch(r"version ([0-9][0-9A-Za-z.+!-]{0,31})", answer):
            versions[module] = found[1]
        else:
            errors[module] = answer[:200] or "it ended without a word, as after a crash"
    return versions, errors


def _busy(
    before: list[str], after: list[str]
) -> tuple[float | None, float | None, tuple[tuple[str, float], ...]]:
    first, last = _sample(before), _sample(after)
    if first is None or last is None or last[0] - first[0] < 0.2:
        return None, None, ()
    seconds = last[0] - first[0]
    busy, stolen = ((last[1][i] - first[1][i]) / _TICKS / seconds for i in (0, 1))
    used = [
        (name, (ticks - first[2][process][1]) / _TICKS / seconds)
        for process, (name, ticks) in last[2].items()
        if process in first[2]
    ]
    most = sorted((item for item in used if item[1] >= 0.02), key=lambda item: -item[1])[:5]
    return max(0.0, busy), max(0.0, stolen), tuple(most)


def _sample(
    lines: list[str],
) -> tuple[float, tuple[int, int], dict[int, tuple[str, int]]] | None:
    """Uptime, ticks (busy, stolen) of all cores, and ticks by process."""
    uptime = _seconds(lines)
    total = re.match(r"cpu +((?:[0-9]{1,18} ){7}[0-9]{1,18})", lines[1]) if lines[1:] else None
    if uptime is None or total is None:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, total[1].split())
    processes: dict[int, tuple[str, int]] = {}
    for line in lines[2:]:
        stat = re.match(r"([0-9]{1,9}) \((.{0,64})\) \S((?: -?[0-9]{1,20}){12})", line)
        if stat:
            ticks = stat[3].split()[10:12]
            processes[int(stat[1])] = (stat[2][:32], int(ticks[0]) + int(ticks[1]))
    return uptime, (user + nice + system + irq + softirq, steal), processes
