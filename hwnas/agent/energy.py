"""Energy over a while, from whatever a device has: a counter, or a power reading over time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hwnas.agent.sensors import EnergyCounter, PowerMeter, Sensor

__all__ = ["Meter", "find_meter"]

_EVERY_S = 0.01
"""Power is read this often: INA3221 averages over about as long, and reading takes time too."""


class Meter:
    """Joules between :meth:`begin` and :meth:`end`. Used by one thread."""

    def __init__(self, sensor: EnergyCounter | PowerMeter) -> None:
        self._sensor = sensor
        # Asking what it is takes longer than short runs do, so that is done once.
        self._counter = sensor if isinstance(sensor, EnergyCounter) else None
        self._power = sensor if self._counter is None and isinstance(sensor, PowerMeter) else None
        self._joules: float | None = 0.0
        self._since = self._watts = 0.0

    @property
    def source(self) -> str:
        """What is metered, as in ``rapl:package-0``."""
        return self._sensor.source

    def begin(self) -> None:
        """Start counting."""
        self._joules, self._since = 0.0, time.monotonic()
        try:
            if self._counter is not None:
                self._joules = -self._counter.joules()
            elif self._power is not None:
                self._watts = self._power.watts()
        except (OSError, ValueError):
            self._joules = None

    def tick(self) -> None:
        """To be called again and again: power has to be read meanwhile."""
        if self._power is not None and time.monotonic() - self._since >= _EVERY_S:
            self._integrate(self._power)

    def end(self) -> float | None:
        """Joules since :meth:`begin`; ``None`` if they could not be read throughout."""
        if self._power is not None:
            self._integrate(self._power)
        if self._counter is None or self._joules is None:
            return self._joules
        try:
            return self._joules + self._counter.joules()
        except (OSError, ValueError):
            return None

    def _integrate(self, sensor: PowerMeter) -> None:
        now = time.monotonic()
        try:
            watts = sensor.watts()
        except (OSError, ValueError):
            self._joules = None
            return
        if self._joules is not None:
            self._joules += (watts + self._watts) / 2 * (now - self._since)
        self._since, self._watts = now, watts


def find_meter(sensors: Sequence[Sensor]) -> Meter | None:
    """A meter over the first of ``sensors`` that tells energy or power; counters before power."""
    for kind in (EnergyCounter, PowerMeter):
        for sensor in sensors:
            if isinstance(sensor, kind):
                return Meter(sensor)
    return None
