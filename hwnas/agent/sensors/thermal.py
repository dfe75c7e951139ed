"""Temperatures of the kernel's thermal zones."""

from __future__ import annotations

from pathlib import Path

from hwnas.agent.sensors.files import read_number, read_word
from hwnas.agent.sensors.protocol import not_here

__all__ = ["Thermal", "plausible"]


def plausible(celsius: float) -> bool:
    """Whether a working computer's sensor can show this; drivers show others for "unknown"."""
    return -40 < celsius < 150 and celsius != 0


class Thermal:
    """``temperature_c``: the hottest zone."""

    name = "thermal"

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "sys/class/thermal"

    def zones(self) -> dict[str, float]:
        """Degrees Celsius by the zones' types; of several of one type the hottest."""
        found: dict[str, float] = {}
        for zone in sorted(self._folder.glob("thermal_zone*")):
            millidegrees = read_number(zone / "temp")
            if millidegrees is None or not plausible(millidegrees / 1000):
                continue
            kind = read_word(zone / "type") or zone.name
            found[kind] = max(found.get(kind, -273.0), millidegrees / 1000)
        return found

    def missing(self) -> str:
        """Empty if a zone can be read; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        return "" if self.zones() else not_here("no thermal zone shows a temperature")

    def read(self) -> dict[str, float]:
        """The hottest zone, in degrees Celsius."""
        zones = self.zones()
        return {"temperature_c": max(zones.values())} if zones else {}
