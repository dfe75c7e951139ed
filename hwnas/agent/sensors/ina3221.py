"""Power of a board's rails, from INA3221 monitors by hwmon, as on NVIDIA's Jetsons."""

from __future__ import annotations

import re
from pathlib import Path

from hwnas.agent.sensors.files import read_number, read_word
from hwnas.agent.sensors.protocol import not_here

__all__ = ["Ina3221"]

_TOTALS = ("VDD_IN", "POM_5V_IN")
"""Rails that feed the whole module, by what boards call them."""

_LONGEST_LABEL = 64


class Ina3221:
    """``power_w``: the rail that feeds the module; ``power_w.RAIL`` for each rail.

    A board that has no such rail, as a Jetson AGX Orin, shows its rails only: their sum would
    leave out what is not monitored.
    """

    name = "ina3221"

    def __init__(self, root: Path = Path("/")) -> None:
        self._channels: dict[str, tuple[Path, int]] = {}
        for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
            if read_word(chip / "name") != "ina3221":
                continue
            for number in (1, 2, 3):
                # A channel that is switched off shows its last value, or an error.
                if read_number(chip / f"in{number}_enable") == 0:
                    continue
                label = read_word(chip / f"in{number}_label") or f"{chip.name}.{number}"
                # Some boards' labels are words, as in "CPU GPU CV": a reading's name is one.
                label = re.sub(r"[^A-Za-z0-9_.+-]", "_", label)[:_LONGEST_LABEL]
                if _watts(chip, number) is not None:
                    self._channels[label] = (chip, number)

    def rails(self) -> dict[str, float]:
        """Power in W by rail, of those that can be read now."""
        found = {label: _watts(*channel) for label, channel in self._channels.items()}
        return {label: watts for label, watts in found.items() if watts is not None}

    def _total(self) -> str | None:
        return next((rail for rail in _TOTALS if rail in self._channels), None)

    @property
    def source(self) -> str:
        """As in ``ina3221:VDD_IN``."""
        return f"{self.name}:{self._total() or 'no rail of the whole module'}"

    def missing(self) -> str:
        """Empty if a rail can be read; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        return "" if self._channels else not_here("no hwmon device is an INA3221")

    def read(self) -> dict[str, float]:
        """Power in W, by rail and of the module."""
        rails = self.rails()
        found = {f"power_w.{label}": watts for label, watts in rails.items()}
        total = self._total()
        if total in rails:
            found["power_w"] = rails[total]
        return found

    def watts(self) -> float:
        """Power of the whole module in W.

        Raises:
            OSError: no rail feeds the whole module, or it cannot be read.
        """
        total = self._total()
        found = None if total is None else _watts(*self._channels[total])
        if found is None:
            raise OSError(not_here(f"no rail of {', '.join(_TOTALS)} can be read"))
        return found


def _watts(chip: Path, number: int) -> float | None:
    microwatts = read_number(chip / f"power{number}_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts = read_number(chip / f"in{number}_input")
    milliamperes = read_number(chip / f"curr{number}_input")
    if millivolts is None or milliamperes is None:
        return None
    return millivolts * milliamperes / 1e6
