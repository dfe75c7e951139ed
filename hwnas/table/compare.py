"""Two tables beside each other, and the devices within a merged one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwnas.profile.record import Scope
from hwnas.table.lut import Lut
from hwnas.table.records import Measurement

__all__ = ["Comparison", "Ratio", "Spread", "compare", "device_spread"]


_PLACEMENT = 0.02
"""What where weights lie in memory does to a median, run by run, beyond what its interval holds."""


@dataclass(frozen=True)
class Ratio:
    """One kind in two tables.

    Attributes:
        key, scope, label: what.
        first_ms, second_ms: medians in ms.
        ratio: the second over the first.
        interval: of ``ratio`` at 95%; ``None`` where one of them has none.
        joules: ratio of energy; ``None`` where one of them has none.
    """

    key: str
    scope: Scope
    label: str
    first_ms: float
    second_ms: float
    ratio: float
    interval: tuple[float, float] | None
    joules: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval does not hold 1."""
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]


@dataclass(frozen=True)
class Comparison:
    """Two tables.

    Attributes:
        ratios: of what both hold, in the first one's order.
        only_first, only_second: labels of what only one of them holds.
        differences: why the devices' measurements cannot be mixed; empty if they can.
        changes: what else differs of the devices, and what a forced merge has mixed.
    """

    ratios: tuple[Ratio, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differences: tuple[str, ...]
    changes: tuple[str, ...]


def compare(first: Lut, second: Lut) -> Comparison:
    """Compare what both tables have good measurements of."""
    ratios: list[Ratio] = []
    only: tuple[list[str], list[str]] = ([], [])
    scopes: tuple[Scope, Scope] = ("block", "subnet")
    for scope in scopes:
        keys = dict.fromkeys([*first.keys(scope), *second.keys(scope)])
        for key in keys:
            a, b = first.measurement(key, scope), second.measurement(key, scope)
            if a is not None and b is not None:
                # What is imported may be 0, where another entry holds its time too.
                if a.p50_ms and b.p50_ms:
                    ratios.append(_ratio(a, b))
            elif a is not None:
                only[0].append(a.label)
            elif b is not None:
                only[1].append(b.label)
    here, there = first.fingerprint, second.fingerprint
    return Comparison(
        ratios=tuple(ratios),
        only_first=tuple(only[0]),
        only_second=tuple(only[1]),
        differences=tuple(here.differences(there)),
        changes=(*here.changes(there), *first.notes(), *second.notes()),
    )


def _ratio(a: Measurement, b: Measurement) -> Ratio:
    ratio = b.p50_ms / a.p50_ms
    sides = [_relative(one) for one in (a, b)]
    interval = None
    if None not in sides:
        # Errors of two measurements add up in squares, in relative terms.
        width = math.hypot(*(side for side in sides if side is not None), _PLACEMENT)
        interval = (ratio / (1 + width), ratio * (1 + width))
    energy = None if a.joules is None or b.joules is None or not a.joules else b.joules / a.joules
    return Ratio(a.key, a.scope, a.label, a.p50_ms, b.p50_ms, ratio, interval, energy)


def _relative(one: Measurement) -> float | None:
    """Half the width of the interval over the median."""
    ends = one.statistics.p50_interval_ms
    return None if ends is None else (ends[1] - ends[0]) / 2 / one.p50_ms


@dataclass(frozen=True)
class Spread:
    """One kind over the devices of a merged table.

    Attributes:
        key, scope, label: what.
        devices: how many have measured it.
        least_ms, greatest_ms: the least and the greatest of their medians, in ms.
        spread: how far these are apart, over the least.
    """

    key: str
    scope: Scope
    label: str
    devices: int
    least_ms: float
    greatest_ms: float
    spread: float


def device_spread(lut: Lut) -> list[Spread]:
    """How far the devices of a merged table are apart, per kind and whole subnet."""
    found = []
    scopes: tuple[Scope, Scope] = ("block", "subnet")
    for scope in scopes:
        for key in lut.keys(scope):
            each = lut.each(key, scope)
            medians = [one.p50_ms for one in each]
            least, greatest = min(medians), max(medians)
            label = each[-1].label
            spread = greatest / least - 1 if least else 0.0
            found.append(Spread(key, scope, label, len(each), least, greatest, spread))
    return found
