"""Energy of x86 processors, counted by themselves (RAPL) and shown by the powercap driver."""

from __future__ import annotations

import re
from pathlib import Path

from hwnas.agent.sensors.files import read_number, read_word
from hwnas.agent.sensors.protocol import not_here

__all__ = ["Rapl"]


class Rapl:
    """``energy_j``: what all packages took since the first reading.

    Packages only: their parts (cores, graphics) are in them already, and the zone of the whole
    platform would count them twice. A counter starts anew at ``max_energy_range_uj``, which takes
    minutes at the least; read it more often than that.
    """

    name = "rapl"

    def __init__(self, root: Path = Path("/")) -> None:
        self._zones: dict[Path, int] = {}
        """Folders of packages that can be read, and where their counters start anew, in uJ."""
        self._names: list[str] = []
        self._why = "this machine has no powercap zones of RAPL"
        self._last: dict[Path, int] = {}
        self._microjoules = 0
        for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
            kind = read_word(zone / "name") or ""
            if not re.fullmatch(r"intel-rapl:[0-9]+", zone.name) or kind.startswith("psys"):
                continue
            limit = read_number(zone / "max_energy_range_uj")
            try:
                (zone / "energy_uj").read_bytes()
            except PermissionError:
                self._why = f"{zone / 'energy_uj'} can be read by root only; run as root"
                continue
            except OSError as error:
                self._why = f"{zone / 'energy_uj'}: {error.strerror}"
                continue
            if not limit or limit < 0:
                self._why = f"{zone / 'max_energy_range_uj'} is not shown"
                continue
            self._zones[zone] = limit
            self._names.append(kind or zone.name)

    @property
    def source(self) -> str:
        """As in ``rapl:package-0``, several with ``+``."""
        return f"{self.name}:{'+'.join(self._names)}"

    def missing(self) -> str:
        """Empty if a package can be read; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        return "" if self._zones else not_here(self._why)

    def read(self) -> dict[str, float]:
        """Energy since the first reading, in J."""
        return {"energy_j": self.joules()}

    def joules(self) -> float:
        """Energy since the first reading, in J, of all packages together.

        Raises:
            OSError: a counter cannot be read, or is beyond its range.
        """
        now: dict[Path, int] = {}
        for zone, limit in self._zones.items():
            count = read_number(zone / "energy_uj")
            if count is None or not 0 <= count <= limit:
                raise OSError(f"{zone / 'energy_uj'} cannot be read")
            now[zone] = count
        if not now:
            raise OSError(self.missing())
        for zone, count in now.items():
            gone = count - self._last.get(zone, count)
            self._microjoules += gone if gone >= 0 else gone + self._zones[zone]
        self._last = now
        return self._microjoules / 1e6
