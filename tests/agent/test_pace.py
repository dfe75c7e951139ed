"""Turns told one by one: how slow each round was, and which turns had to wait."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.agent.rounds import FEWEST_ITEMS, Pace, round_factors
from hwnas.agent.samples import waited

SPEED = [1.0, 1.0, 1.3, 1.0]


def tell(pace: Pace, item: str, *rounds: int) -> None:
    cost = 1e6 * (1 + ord(item))
    for number in rounds:
        ns = round(cost * SPEED[number])
        pace.tell(item, ("sitting", number), (ns, ns - 1, ns + 50))


def test_rounds_are_known_by_what_they_were_told_as() -> None:
    pace = Pace()
    assert dict(pace.factors()) == {}
    for item in "abcdef":
        tell(pace, item, 1, 2, 3, 0)
    found = pace.factors()
    assert list(found) == [("sitting", number) for number in (1, 2, 3, 0)]
    assert found == pytest.approx({("sitting", i): speed for i, speed in enumerate(SPEED)})


def test_they_are_those_of_the_numbered_turns() -> None:
    rng = np.random.default_rng(3)
    items, rounds = (a.ravel() for a in np.meshgrid(np.arange(7), np.arange(9), indexing="ij"))
    ns = rng.integers(10**5, 10**6, items.size)
    pace = Pace()
    for item, place, value in zip(items.tolist(), rounds.tolist(), ns.tolist(), strict=True):
        pace.tell(item, place, (value,))
    expected = round_factors(items, rounds, ns.astype(float))
    assert list(pace.factors().values()) == expected.tolist()


def test_what_is_told_later_counts() -> None:
    pace = Pace()
    for item in "abcdef"[: FEWEST_ITEMS - 1]:
        tell(pace, item, 0, 1, 2)
    assert set(pace.factors().values()) == {1.0}
    tell(pace, "z", 0, 1, 2)
    assert pace.factors()["sitting", 2] == pytest.approx(1.3)


def test_items_that_are_forgotten_do_not_count() -> None:
    pace = Pace()
    for item in "abcde":
        tell(pace, item, 0, 1, 2)
    tell(pace, "f", 3)
    pace.keep(set("abcde"))
    assert pace.factors()["sitting", 2] == pytest.approx(1.3)
    assert pace.factors().get(("sitting", 3), 1.0) == 1.0
    pace.keep(())
    assert dict(pace.factors()) == {}
    for item in "vwxyz":
        tell(pace, item, 1, 2, 3)
    assert pace.factors()["sitting", 2] == pytest.approx(1.3)


def test_a_turn_has_waited_below_98_percent_of_one_thread() -> None:
    assert waited(1000, 979, 1)
    assert not waited(1000, 980, 1)
    assert not waited(1000, 10, 2), "several threads wait for each other"
    assert not waited(0, 0, 1), "CPU time was not taken"
