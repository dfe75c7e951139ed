"""Joules from counters and from power, and what does not count."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hwnas.agent import energy
from hwnas.agent.energy import Meter, find_meter
from hwnas.agent.sensors import EnergyCounter, PowerMeter


class Source:
    """Says what it is given; ``None`` cannot be read."""

    def __init__(self, *says: float | None) -> None:
        self._says = iter(says)

    def missing(self) -> str:
        return ""

    def read(self) -> dict[str, float]:
        return {}

    def said(self) -> float:
        value = next(self._says)
        if value is None:
            raise OSError("gone")
        return value


class Counter(Source):
    name = source = "counter"

    def joules(self) -> float:
        return self.said()


class Power(Source):
    name = source = "power"

    def watts(self) -> float:
        return self.said()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the meter takes for the time, in s."""
    now = [100.0]
    monkeypatch.setattr(energy.time, "monotonic", lambda: now[0])
    return now


def test_a_counter_tells_the_difference() -> None:
    meter = Meter(Counter(7.0, 9.5, 20.0, 21.0))
    meter.begin()
    meter.tick()
    assert meter.end() == 2.5
    meter.begin()
    assert meter.end() == 1.0, "each from its own beginning"


@pytest.mark.parametrize("says", [(None, 1.0), (1.0, None)])
def test_a_counter_that_cannot_be_read_tells_nothing(says: tuple[float | None, ...]) -> None:
    meter = Meter(Counter(*says))
    meter.begin()
    assert meter.end() is None


def test_power_is_integrated(clock: list[float]) -> None:
    meter = Meter(Power(2.0, 4.0, 4.0))
    meter.begin()
    for _ in range(3):  # only every 10 ms
        meter.tick()
    clock[0] += 1.0
    meter.tick()
    clock[0] += 0.5
    assert meter.end() == pytest.approx((2 + 4) / 2 * 1.0 + 4 * 0.5)


@pytest.mark.parametrize("says", [(None, 1.0, 1.0), (1.0, None, 1.0), (1.0, 1.0, None)])
def test_power_that_was_not_read_throughout_tells_nothing(
    clock: list[float], says: tuple[float | None, ...]
) -> None:
    meter = Meter(Power(*says))
    meter.begin()
    clock[0] += 1.0
    meter.tick()
    clock[0] += 1.0
    assert meter.end() is None


def test_a_counter_is_taken_before_power() -> None:
    assert isinstance(Counter(), EnergyCounter) and isinstance(Power(), PowerMeter)
    found = find_meter([Power(), Counter()])
    assert found is not None and found.source == "counter"
    assert find_meter([]) is None


def test_a_counter_of_this_machine_grows(tmp_path: Path) -> None:
    from hwnas.agent.sensors import find

    meter = find_meter(find()[0])
    if meter is None:
        pytest.skip(f"no energy counter or power meter here: {find()[1]}")
    meter.begin()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        meter.tick()
    joules = meter.end()
    assert joules is not None and joules > 0
