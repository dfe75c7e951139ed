"""Rows of integers stand for subnets, one for one, and are priced as subnets are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwnas.select.search.encoding import Encoding, keys
from hwnas.select.search.pricing import pricing
from hwnas.space import PrefixDepth, Slot, Space
from tests.support.searching import AdditiveSummedCosts, SummedCosts, everything, staged


def test_rows_and_subnets_are_one_for_one() -> None:
    space = everything()
    encoding = Encoding(space)
    subnets = list(space.subnets())
    rows = encoding.encode(subnets)
    assert len(set(keys(rows))) == len(subnets) == space.count()
    assert [s.spec for s in encoding.decode(rows)] == [s.spec for s in subnets]
    assert len(np.unique(encoding.one_hot(rows), axis=0)) == len(subnets)


def test_every_row_within_the_bounds_is_a_subnet_once_canonical() -> None:
    space = everything()
    encoding = Encoding(space)
    grid = itertools.product(*(range(size) for size in encoding.sizes))
    rows = encoding.canonical(np.array(list(grid), dtype=np.int64))
    found = {subnet.spec for subnet in encoding.decode(rows)}
    assert found == {subnet.spec for subnet in space.subnets()}
    assert (encoding.canonical(rows) == rows).all()
    assert len(set(keys(rows))) == space.count()


def test_what_is_skipped_does_not_count() -> None:
    space = Space(
        slots=tuple(Slot(name=f"l{i}", choices=("a", "b")) for i in range(2)),
        rules=(PrefixDepth(slots=("l0", "l1"), depths=(1, 2)),),
    )
    encoding = Encoding(space)
    rows = encoding.canonical(np.array([[0, 1, 1], [1, 1, 1]]))
    assert rows.tolist() == [[0, 1, 0], [1, 1, 1]]
    # Depths 1 and 2, then a and b at each slot.
    assert encoding.one_hot(rows).tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1]]
    assert encoding.active("l1", rows).tolist() == [False, True]


def test_a_space_with_nothing_free() -> None:
    encoding = Encoding(Space(slots=(Slot(name="all"),)))
    assert encoding.genes == 0
    [only] = encoding.decode(encoding.sample(1, np.random.default_rng(0)))
    assert only.name == "net"


@pytest.mark.parametrize("space", [everything(), staged()])
def test_sums_of_blocks_are_the_costs_of_subnets(space: Space) -> None:
    encoding, costs = Encoding(space), AdditiveSummedCosts(space)
    rows = encoding.sample(50, np.random.default_rng(0))
    quick = pricing(encoding, costs, ("p50", "memory"))(rows)
    expected = [[c.p50_ms, c.memory_bytes] for c in costs.predict_many(encoding.decode(rows))]
    np.testing.assert_allclose(quick, expected, rtol=1e-12)
    np.testing.assert_array_equal(
        pricing(encoding, SummedCosts(space), ("p50", "memory"))(rows), expected
    )


def test_a_metric_that_is_no_sum_is_asked_for_subnet_by_subnet() -> None:
    space = staged()
    encoding, costs = Encoding(space), AdditiveSummedCosts(space)
    rows = encoding.sample(5, np.random.default_rng(0))
    found = pricing(encoding, costs, ("p50", "p95"))(rows)
    np.testing.assert_allclose(found[:, 1], 1.5 * found[:, 0])
