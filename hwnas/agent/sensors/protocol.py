"""What a sensor is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["EnergyCounter", "PowerMeter", "Sensor", "not_here"]


class Sensor(Protocol):
    """One kind of sensor, used by one thread.

    Its constructor takes ``root`` and reads nothing that takes long.
    """

    @property
    def name(self) -> str:
        """What descriptors call it."""

    def missing(self) -> str:
        """Empty if it can be read, else why not, beginning with ``not available here``."""

    def read(self) -> dict[str, float]:
        """What it shows now, by name; names end in their unit.

        What cannot be read at this moment is left out.

        Raises:
            OSError: nothing can be read any more.
        """


@runtime_checkable
class EnergyCounter(Protocol):
    """A sensor that counts energy by itself."""

    @property
    def source(self) -> str:
        """What is counted, as in ``rapl:package-0``."""

    def joules(self) -> float:
        """Energy in J since this reader was first asked; must be asked more often than it wraps.

        Raises:
            OSError: it cannot be read any more.
        """


@runtime_checkable
class PowerMeter(Protocol):
    """A sensor that shows power; whoever wants energy integrates it over time."""

    @property
    def source(self) -> str:
        """What is metered, as in ``ina3221:VDD_IN``."""

    def watts(self) -> float:
        """Power in W drawn now.

        Raises:
            OSError: it cannot be read.
        """


def not_here(reason: str) -> str:
    """``reason`` as :meth:`Sensor.missing` says it."""
    return f"not available here: {reason}"
