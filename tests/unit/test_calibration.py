"""Which subnets are measured whole, and how predictions are judged by others."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hwnas.bundle import Bundle
from hwnas.space import EqualChoice, EquidistantDepth, PrefixDepth, Slot, Space
from hwnas.table import CostModel, choose, holdout, validate
from hwnas.table.validation import Check, kendall, summarise
from tests.support.bundles import make_bundle
from tests.support.tables import fill_blocks, put_subnet


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """5 to the power of 12 subnets and more."""
    folder = tmp_path_factory.mktemp("wide")
    return make_bundle(folder / "net.hwnas", depth=12, widths=(2, 4, 6, 8, 10), dim=4, equal=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """6 subnets."""
    return make_bundle(tmp_path_factory.mktemp("small") / "net.hwnas")


class TestSample:
    def test_covers_a_space_of_every_rule(self) -> None:
        names = tuple(f"b{i}" for i in range(4))
        others = tuple(f"c{i}" for i in range(3))
        space = Space(
            slots=(
                Slot(name="stem"),
                *(Slot(name=name, choices=("k3", "k5")) for name in names),
                *(Slot(name=name, choices=("w1", "w2")) for name in others),
            ),
            rules=(
                PrefixDepth(name="d", slots=names, depths=(2, 4)),
                EquidistantDepth(name="e", slots=others, depths=(1, 3)),
                EqualChoice(slots=others),
            ),
        )
        every = {subnet.spec for subnet in space.subnets()}
        rng = random.Random(0)
        found = Counter(space.sample(rng).spec for _ in range(2000))
        assert set(found) == every

    def test_a_space_without_a_choice(self) -> None:
        space = Space(slots=(Slot(name="stem"),))
        assert space.sample(random.Random(0)) == space.largest()


class TestChoose:
    def test_begins_with_the_smallest_and_the_largest(self, wide: Bundle) -> None:
        chosen = choose(wide, 8)
        space = wide.manifest.space
        assert chosen[:2] == [space.smallest(), space.largest()]
        assert len({subnet.spec for subnet in chosen}) == 8

    def test_the_same_seed_gives_the_same(self, wide: Bundle) -> None:
        assert choose(wide, 6, seed=3) == choose(wide, 6, seed=3) != choose(wide, 6, seed=4)
        assert choose(wide, 6, seed=3)[:4] == choose(wide, 4, seed=3), "more only adds"

    def test_a_large_space_is_not_listed(self, wide: Bundle) -> None:
        assert wide.manifest.space.count() > 10**8
        start = time.process_time()
        choose(wide, 10)
        # Listing would take hours; this is well under a second.
        assert time.process_time() - start < 20

    def test_a_small_space_gives_what_it_has(self, small: Bundle) -> None:
        every = {subnet.spec for subnet in small.manifest.space.subnets()}
        assert {subnet.spec for subnet in choose(small, 99)} == every
        assert len(choose(small, 1)) == 1 and choose(small, 0) == []

    def test_spreads_further_than_chance(self, wide: Bundle) -> None:
        def volume(subnets: list) -> float:  # type: ignore[type-arg]
            sums = np.array([[len(s.blocks), wide.weight_bytes(s)] for s in subnets], dtype=float)
            scaled = np.hstack([np.ones((len(sums), 1)), np.log(sums)])
            return float(np.linalg.det(scaled.T @ scaled))

        rng = random.Random(0)
        by_chance = [volume([wide.manifest.space.sample(rng) for _ in range(6)]) for _ in range(50)]
        assert volume(choose(wide, 6)) > np.quantile(by_chance, 0.9)


class TestHoldout:
    def test_keeps_clear_of_what_was_fitted(self, small: Bundle) -> None:
        fitted = choose(small, 4)
        others = holdout(small, 99, fitted)
        assert len(others) == 2
        assert not {s.spec for s in others} & {s.spec for s in fitted}
        assert holdout(small, 0, fitted) == []

    def test_the_same_seed_gives_the_same(self, wide: Bundle) -> None:
        assert holdout(wide, 5, seed=1) == holdout(wide, 5, seed=1) != holdout(wide, 5, seed=2)

    def test_is_not_the_pool_that_was_chosen_from(self, wide: Bundle) -> None:
        chosen = {subnet.spec for subnet in choose(wide, 200)}
        others = {subnet.spec for subnet in holdout(wide, 50)}
        assert len(chosen & others) < 15, "some of so few small ones come twice"


class TestValidation:
    def test_of_a_model_against_a_table(self, tmp_path: Path, small: Bundle) -> None:
        ms = {"stem/base": 1.0, "layers.0/h8": 2.0, "layers.0/h16": 3.0, "head/base": 0.5}
        space = small.manifest.space
        checks = [space.find(name) for name in ("d1-h16", "d2-h8", "d3-h8")]
        with fill_blocks(tmp_path / "l.db", small, ms) as lut:
            put_subnet(lut, small, "max", 10.5 * 1.1)
            put_subnet(lut, small, "min", 3.5 * 1.1)
            put_subnet(lut, small, "d1-h16", 4.5)
            put_subnet(lut, small, "d2-h8", 5.5 * 1.1)
            found = validate(CostModel(small, lut, without=checks), lut, checks)
        assert [row.subnet.name for row in found.rows] == ["d1-h16", "d2-h8"], "what is measured"
        assert [row.error for row in found.rows] == [pytest.approx(0.1), pytest.approx(0)]
        assert (found.mape, found.bias) == (pytest.approx(0.05), pytest.approx(0.05))
        assert (found.within5, found.tau) == (0.5, 1.0)
        assert [row.covered for row in found.rows] == [False, True]
        assert found.coverage == 0.5
        assert "2 subnets predicted within 5.0% on average (bias +5.0%" in found.summary()

    def test_memory(self, small: Bundle) -> None:
        largest = small.manifest.space.largest()
        known = [
            Check(largest, 1.0, None, 1.0, 11e6, 10e6),
            Check(largest, 1.0, None, 1.0, 9e6, 1e7),
        ]
        unknown = Check(largest, 1.0, None, 1.0, None, 1e7)
        assert [row.memory_error for row in known] == [pytest.approx(0.1), pytest.approx(-0.1)]
        assert unknown.memory_error is None
        assert summarise([*known, unknown]).memory_mape == pytest.approx(0.1)
        assert "memory within 10.0%" in summarise(known).summary()
        assert "memory" not in summarise([unknown]).summary()

    def test_of_nothing(self) -> None:
        found = summarise([])
        assert math.isnan(found.mape) and math.isnan(found.tau) and math.isnan(found.coverage)
        assert found.summary() == "no subnet to check predictions on"

    def test_without_intervals(self, small: Bundle) -> None:
        largest = small.manifest.space.largest()
        found = summarise([Check(largest, 1.04, None, 1.0), Check(largest, 1.95, None, 2.0)])
        assert math.isnan(found.coverage) and "interval" not in found.summary()
        assert (found.within5, found.within10) == (1.0, 1.0)


def test_rank_correlation_is_as_in_textbooks() -> None:
    assert kendall([1, 2, 3], [10, 20, 30]) == 1
    assert kendall([1, 2, 3], [3, 2, 1]) == -1
    # 5 pairs agree and 1 does not, of 6.
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    # Kendall 1945: ties count for neither, and for the scale of their own side only.
    assert kendall([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(5 / math.sqrt(5 * 6))
    assert math.isnan(kendall([1, 1], [1, 2])) and math.isnan(kendall([], []))
