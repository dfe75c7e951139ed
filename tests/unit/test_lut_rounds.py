"""How fast the machine was in each round, told apart from what items cost."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.agent.rounds import group_medians, round_factors

Index = NDArray[np.intp]


def grid(items: int, rounds: int) -> tuple[Index, Index]:
    item, turn = np.meshgrid(np.arange(items), np.arange(rounds), indexing="ij")
    return item.ravel(), turn.ravel()


def test_medians_by_group() -> None:
    values = np.array([5.0, 1.0, 2.0, 9.0, 4.0])
    found = group_medians(values, np.array([0, 2, 2, 0, 0]))
    assert found[[0, 2]].tolist() == [5.0, 1.5] and np.isnan(found[1])


def test_what_was_put_in_comes_out() -> None:
    rng = np.random.default_rng(0)
    cost, speed = rng.uniform(1e5, 1e7, 20), rng.choice([1.0, 1.15], 15)
    item, turn = grid(20, 15)
    found = round_factors(item, turn, cost[item] * speed[turn] * rng.normal(1, 0.003, item.size))
    assert found == pytest.approx(speed / np.median(speed), rel=0.004)


def test_single_disturbed_turns_do_not_count() -> None:
    item, turn = grid(9, 7)
    medians = 1e6 * (1.0 + item)
    medians[(item + turn) % 5 == 0] *= 3
    assert round_factors(item, turn, medians) == pytest.approx(np.ones(7))


def test_items_that_stopped_early_are_no_bias() -> None:
    speed = np.array([1, 1, 1, 1.2, 1.2, 1.2, 1.2])
    item, turn = grid(12, 7)
    kept = (turn < 4) | (item >= 5)
    item, turn = item[kept], turn[kept]
    found = round_factors(item, turn, 1e6 * (1.0 + item) * speed[turn])
    assert found / found[0] == pytest.approx(speed)


def test_too_few_items_say_nothing() -> None:
    item, turn = grid(4, 6)
    assert round_factors(item, turn, 1e6 + 1e6 * turn).tolist() == [1.0] * 6
    assert round_factors(item[:0], turn[:0], np.array([])).tolist() == []


def test_batches_that_share_no_item_are_not_made_comparable() -> None:
    item, turn = grid(6, 5)
    items, turns = np.concatenate([item, item + 6]), np.concatenate([turn, turn + 5])
    slow = np.where(turns < 5, 1.0, 1.5) * np.where(turns % 5 == 0, 1.1, 1.0)
    found = round_factors(items, turns, 1e6 * slow)
    assert found == pytest.approx(np.tile([1.1, 1, 1, 1, 1], 2))
