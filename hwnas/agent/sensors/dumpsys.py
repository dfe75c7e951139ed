"""What Android's ``dumpsys`` prints of heat and battery.

The text comes through the transport and is read on the host: the command answers to adb's user,
not to every program on the phone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from hwnas.agent.sensors.protocol import not_here
from hwnas.agent.sensors.thermal import plausible

__all__ = ["Battery", "Dumpsys", "ThermalService", "parse_battery", "parse_thermalservice"]

_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's ``ThrottlingSeverity``, from 0."""

_TEMPERATURE = re.compile(
    r"Temperature\{mValue=(-?[0-9]{1,4}(?:\.[0-9]{1,10})?), mType=(-?[0-9]{1,3}), "
    r"mName=([^,{}]{1,64}), mStatus=([0-9])\}"
)
_MOST_SENSORS = 200


@dataclass(frozen=True)
class ThermalService:
    """``dumpsys thermalservice``.

    Attributes:
        status: how hard the phone throttles, a word of Android's; ``None`` if it does not say.
        temperatures: degrees Celsius by sensor, from the last list that is printed, which is
            what the hardware says now; sensors that show nothing are left out.
    """

    status: str | None
    temperatures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Battery:
    """``dumpsys battery``; ``None`` for what it does not say."""

    level: int | None
    temperature_c: float | None
    powered: bool | None


def parse_thermalservice(text: str) -> ThermalService:
    """Read what ``dumpsys thermalservice`` prints; what is unknown is left out."""
    number = re.search(r"^\s*Thermal Status: ([0-9])\s*$", text, re.MULTILINE)
    level = int(number[1]) if number else len(_STATUS)
    _, _, now = text.rpartition("Current temperatures from HAL:")
    temperatures: dict[str, float] = {}
    for match in _TEMPERATURE.finditer(now):
        celsius = float(match[1])
        if plausible(celsius) and len(temperatures) < _MOST_SENSORS:
            temperatures[match[3]] = celsius
    return ThermalService(_STATUS[level] if level < len(_STATUS) else None, temperatures)


def parse_battery(text: str) -> Battery:
    """Read what ``dumpsys battery`` prints; what is unknown is ``None``."""
    pairs = dict(re.findall(r"^\s*([A-Za-z ]{1,40}): (\S{1,40})\s*$", text, re.MULTILINE))
    level, tenths = (
        int(word) if re.fullmatch(r"-?[0-9]{1,5}", word := pairs.get(key, "")) else None
        for key in ("level", "temperature")
    )
    powers = [word for key, word in pairs.items() if key.endswith(" powered")]
    celsius = None if tenths is None else tenths / 10
    return Battery(
        level if level is not None and 0 <= level <= 100 else None,
        celsius if celsius is not None and plausible(celsius) else None,
        "true" in powers if powers else None,
    )


class Dumpsys:
    """Stands for what the host reads; on the device there is nothing to read."""

    name = "dumpsys"

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def missing(self) -> str:
        """Always a reason; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        return not_here("dumpsys is read over adb, by `hwnas doctor`")

    def read(self) -> dict[str, float]:
        """Nothing."""
        return {}
