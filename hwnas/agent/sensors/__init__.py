"""Readers of temperature, clocks, throttling and energy: one small file each.

A reader looks below ``root``, so that a copy of a board's files can stand in for the board. What
cannot be read is said to be missing, with the reason; it is never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.agent.sensors.cpufreq import Cpufreq
from hwnas.agent.sensors.dumpsys import Dumpsys
from hwnas.agent.sensors.ina3221 import Ina3221
from hwnas.agent.sensors.protocol import EnergyCounter, PowerMeter, Sensor
from hwnas.agent.sensors.rapl import Rapl
from hwnas.agent.sensors.rpi import RaspberryPi
from hwnas.agent.sensors.thermal import Thermal

__all__ = ["NAMES", "EnergyCounter", "PowerMeter", "Sensor", "find", "read_all"]

_KINDS = {
    "cpufreq": Cpufreq,
    "thermal": Thermal,
    "rapl": Rapl,
    "ina3221": Ina3221,
    "rpi": RaspberryPi,
    "dumpsys": Dumpsys,
}
NAMES = tuple(_KINDS)
"""What :func:`find` knows, in the order in which it looks."""


def find(
    names: Sequence[str] | None = None, root: Path = Path("/")
) -> tuple[list[Sensor], dict[str, str]]:
    """The sensors that can be read here, and why others cannot.

    Args:
        names: which to look for; ``None`` for all.
        root: where ``sys`` and ``proc`` are.

    Returns:
        Readers, and reasons by the names of those that are missing.
    """
    readers: list[Sensor] = []
    missing: dict[str, str] = {}
    for name in dict.fromkeys(NAMES if names is None else names):
        kind = _KINDS.get(name)
        if kind is None:
            missing[name] = f"no such sensor; known: {', '.join(NAMES)}"
            continue
        sensor: Sensor = kind(root)
        if reason := sensor.missing():
            missing[name] = reason
        else:
            readers.append(sensor)
    return readers, missing


def read_all(readers: Sequence[Sensor]) -> dict[str, float]:
    """What all ``readers`` tell now; one that fails leaves its readings out."""
    found: dict[str, float] = {}
    for sensor in readers:
        try:
            found.update(sensor.read())
        except (OSError, ValueError):
            continue
    return found
