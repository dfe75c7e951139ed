"""Clocks of the cores that this process may run on, from cpufreq."""

from __future__ import annotations

import os
from pathlib import Path

from hwnas.agent.sensors.files import read_number
from hwnas.agent.sensors.protocol import not_here

__all__ = ["Cpufreq"]


class Cpufreq:
    """``frequency_khz``: the lowest current clock of these cores."""

    name = "cpufreq"

    def __init__(self, root: Path = Path("/"), cores: tuple[int, ...] | None = None) -> None:
        self._folder = root / "sys/devices/system/cpu"
        self._cores = cores

    def _clocks(self) -> list[int]:
        # Asked anew each time: the process may have pinned itself since.
        cores = sorted(os.sched_getaffinity(0)) if self._cores is None else self._cores
        paths = [self._folder / f"cpu{core}/cpufreq/scaling_cur_freq" for core in cores]
        found = [read_number(path) for path in paths]
        return [clock for clock in found if clock is not None and clock > 0]

    def missing(self) -> str:
        """Empty if a clock can be read; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        if self._clocks():
            return ""
        return not_here("the kernel shows no scaling_cur_freq for these cores")

    def read(self) -> dict[str, float]:
        """The lowest clock, in kHz."""
        clocks = self._clocks()
        return {"frequency_khz": float(min(clocks))} if clocks else {}
