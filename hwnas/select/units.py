"""Quantities with units, as people write them: ``8ms``, ``1.5GiB``, ``30mJ``, ``300M``, ``50%``.

Times are in ms, sizes in bytes and energies in J everywhere inside. ``kB``, ``MB``, ``GB`` are
powers of 1000, ``KiB``, ``MiB``, ``GiB`` powers of 1024.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from hwnas.errors import UsageError

__all__ = [
    "COUNTS",
    "ENERGIES",
    "SIZES",
    "TIMES",
    "example",
    "parse_quantity",
    "show",
    "spell_up",
    "units_of",
]

TIMES: Mapping[str, float] = {"us": 1e-3, "ms": 1.0, "s": 1e3, "µs": 1e-3, "\u03bcs": 1e-3}
"""Units of time, in ms. The micro sign has two code points; keyboards give either."""

SIZES: Mapping[str, float] = {
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
}
"""Units of memory, in bytes."""

ENERGIES: Mapping[str, float] = {"uJ": 1e-6, "mJ": 1e-3, "J": 1.0, "µJ": 1e-6, "\u03bcJ": 1e-6}
"""Units of energy, in J."""

COUNTS: Mapping[str, float] = {"k": 1e3, "M": 1e6, "G": 1e9}
"""Thousands, millions and billions of multiply-accumulates."""

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Kind:
    """What some metrics are given in: the units, those to show values in, and an example."""

    name: str
    units: Mapping[str, float]
    shown: tuple[str, ...]
    example: str

    @property
    def listed(self) -> str:
        """The units that can be typed anywhere."""
        return ", ".join(unit for unit in self.units if unit.isascii() and unit != "KB")


_TIME = _Kind("time", TIMES, ("us", "ms", "s"), "8ms")
_SIZE = _Kind("size", SIZES, ("B", "kB", "MB", "GB"), "200MB")
_ENERGY = _Kind("energy", ENERGIES, ("uJ", "mJ", "J"), "30mJ")
_COUNT = _Kind("count", COUNTS, ("k", "M", "G"), "300M")

_KINDS = {
    "p50": _TIME,
    "p95": _TIME,
    "memory": _SIZE,
    "bytes": _SIZE,
    "energy": _ENERGY,
    "macs": _COUNT,
}


def units_of(metric: str) -> Mapping[str, float]:
    """The units that ``metric`` is given in, one of :data:`hwnas.table.METRICS`."""
    return _KINDS[metric].units


def example(metric: str) -> str:
    """How a budget on ``metric`` is written, for messages."""
    return f"{metric}={_KINDS[metric].example}"


def parse_quantity(metric: str, text: str) -> tuple[float, bool]:
    """Read the value of a budget on ``metric``.

    Returns:
        The value in the metric's unit and False, or a share (0.5 for ``50%``) and True.

    Raises:
        UsageError: no number, no unit, a unit of something else, or not above zero.
    """
    written = f"{metric}={text}"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{written}: {text!r} is not a number with a unit", _how(metric))
    number, unit = float(match[1]), match[2]
    units = units_of(metric)
    if unit != "%" and unit not in units:
        raise UsageError(f"{written}: {_unit_trouble(metric, unit)}", _how(metric))
    share = unit == "%"
    value = number / 100 if share else number * units[unit]
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{written}: a budget must be above zero and finite", _how(metric))
    return value, share


def _unit_trouble(metric: str, unit: str) -> str:
    if not unit:
        return "the unit is missing"
    for kind in (_TIME, _SIZE, _ENERGY, _COUNT):
        if unit in kind.units:
            return f"{unit!r} is a unit of {kind.name}, which {metric} is not"
    close = [known for known in units_of(metric) if known.lower() == unit.lower()]
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown unit {unit!r}{hint}"


def _how(metric: str) -> str:
    listed = _KINDS[metric].listed
    return f"write {example(metric)} (units: {listed}) or {metric}=50% of the largest subnet"


def _scaled(metric: str, value: float) -> tuple[str, float]:
    """The unit in which ``value`` reads best, and its size."""
    kind = _KINDS[metric]
    fitting = [unit for unit in kind.shown if value >= kind.units[unit]] or [kind.shown[0]]
    return fitting[-1], kind.units[fitting[-1]]


def show(metric: str, value: float) -> str:
    """``value`` in the metric's unit for people, four digits: ``8.034 ms``, ``201.3 MB``."""
    unit, size = _scaled(metric, value)
    return f"{value / size:.4g} {unit}"


def spell_up(metric: str, value: float) -> str:
    """The least budget of four digits that admits ``value``: it reads back as at least that."""
    unit, size = _scaled(metric, value)
    number = Decimal(value) / Decimal(size)
    step = Decimal(1).scaleb(number.adjusted() - 3)
    if unit == "B":
        step = max(step, Decimal(1))
    rounded = (number / step).to_integral_value(ROUND_CEILING) * step
    text = f"{metric}={rounded.normalize():f}{unit}"
    # The product of two rounded floats may fall one place short.
    while parse_quantity(metric, text.partition("=")[2])[0] < value:
        rounded += step
        text = f"{metric}={rounded.normalize():f}{unit}"
    return text
