"""Choosing from costs as they are.

tests/unit/test_select_brute_force.py compares with brute force, tests/unit/test_select_measured.py
is about measuring.
"""

import math
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import BundleError, TableError, UnknownName, UsageError
from hwnas.files import sha256_file
from hwnas.select import (
    NothingFits,
    Tier,
    combine,
    open_quality,
    parse_budget,
    parse_tier,
    select,
)
from hwnas.select.budgets import Limit, resolve
from hwnas.table.cost import Cost
from tests.support.bundles import make_bundle, subnet_names
from tests.support.costs import GivenCosts, GivenQuality, cost


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Twelve subnets: depth 1 to 4, three widths."""
    folder = tmp_path_factory.mktemp("grid")
    return make_bundle(folder / "net.hwnas", depth=4, widths=(4, 8, 12), dim=4)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Six prefixes, d1 to d6."""
    return make_bundle(tmp_path_factory.mktemp("chain") / "net.hwnas", depth=6, widths=(4,), dim=4)


def ladder(bundle: Bundle, first: float = 1.0, step: float = 1.0) -> dict[str, Cost]:
    """Costs that rise evenly in the order of the space: memory in MB and bytes in kB like p50."""
    return {
        name: cost(first + step * i, memory=1e6 * (i + 1), weights=1000 * (i + 1))
        for i, name in enumerate(subnet_names(bundle))
    }


def test_a_nested_chain_needs_no_quality(chain: Bundle) -> None:
    costs = GivenCosts(ladder(chain))
    tiers = [parse_tier("half:p50=3.5ms"), parse_tier("full:")]
    plan = select(chain, costs, tiers)
    assert plan.method == "sorted"
    assert [(c.name, c.tiers, c.quality) for c in plan.subnets] == [
        ("d3", ("half",), None),
        ("d6", ("full",), None),
    ]
    assert plan.proof == (
        "half: sorted: largest prefix that fits, 3 of 6 fit; "
        "full: sorted: largest prefix that fits, 6 of 6 fit"
    )
    assert plan.quality_source is None
    assert [(p.subnet, p.quality) for p in plan.front][:2] == [("d6", None), ("d5", None)]
    assert (plan.candidates, plan.unrated, plan.measured) == (6, 0, 0)
    assert plan.bundle_sha256 == sha256_file(chain.path / "manifest.json")


def test_in_a_chain_the_largest_fits_even_if_a_smaller_one_is_slower(chain: Bundle) -> None:
    prices = ladder(chain) | {"d2": cost(9.0), "d5": cost(2.0)}
    plan = select(chain, GivenCosts(prices), [parse_tier("t:p50=4ms")])
    assert plan.subnets[0].name == "d5"


def test_a_chain_with_a_quality_is_answered_by_the_quality(chain: Bundle) -> None:
    quality = GivenQuality(dict.fromkeys(subnet_names(chain), 0.5) | {"d2": 0.9})
    plan = select(chain, GivenCosts(ladder(chain)), [parse_tier("t:p50=4ms")], quality)
    assert (plan.method, plan.subnets[0].name, plan.subnets[0].quality) == ("exact", "d2", 0.9)
    assert plan.quality_source == "given numbers"


def test_without_quality_a_product_space_is_refused(grid: Bundle) -> None:
    with pytest.raises(UsageError) as caught:
        select(grid, GivenCosts(ladder(grid)), [Tier("t")])
    assert "12 subnets" in caught.value.cause
    assert "--quality" in caught.value.fix


def test_only_rated_subnets_are_candidates(grid: Bundle, tmp_path: Path) -> None:
    table = tmp_path / "acc.csv"
    table.write_text("subnet,quality\nd2-h4,0.7\nd1-h4,0.6\nd4-h12,0.9\n")
    quality = open_quality(str(table), grid)
    plan = select(grid, GivenCosts(ladder(grid)), [parse_tier("t:p50=11ms")], quality)
    assert plan.subnets[0].name == "d2-h4"
    assert (plan.candidates, plan.unrated) == (3, 9)
    assert plan.proof == (
        "t: exact over the table: the 3 rated of 12 subnets priced, 2 feasible, best quality 0.7"
    )
    assert plan.quality_source == "measured table acc.csv"
    assert [p.subnet for p in plan.front] == ["d4-h12", "d2-h4", "d1-h4"]


def test_a_space_too_large_to_list_needs_a_table(tmp_path: Path) -> None:
    wide = make_bundle(tmp_path / "net.hwnas", depth=8, widths=(2, 3, 4, 5), dim=2, equal=False)
    space = wide.manifest.space
    assert space.count() == 87380
    chosen = [space.smallest(), space.largest()]
    costs = GivenCosts({s.name: cost(1.0 + i) for i, s in enumerate(chosen)})
    with pytest.raises(UsageError) as caught:
        select(wide, costs, [Tier("t")], GivenQuality({}), limit=50_000)
    assert "87,380 subnets" in caught.value.cause and "50,000" in caught.value.cause
    assert "table" in caught.value.fix
    table = tmp_path / "q.csv"
    rows = [f"{s.spec},{i / 2}" for i, s in enumerate(chosen)]
    table.write_text("\n".join(["subnet,quality", *rows]))
    quality = open_quality(str(table), wide)
    plan = select(wide, costs, [Tier("t")], quality, limit=1)
    assert plan.subnets[0].choices == space.largest().choices
    assert plan.unrated == 87378


def test_a_subnet_that_serves_two_tiers_is_there_once(chain: Bundle) -> None:
    tiers = combine([parse_tier("a:p50=3ms"), parse_tier("b:p50=3.9ms")], parse_budget("bytes=5kB"))
    plan = select(chain, GivenCosts(ladder(chain)), tiers)
    assert [(c.name, c.tiers) for c in plan.subnets] == [("d3", ("a", "b"))]
    assert [tier.subnet for tier in plan.tiers] == ["d3", "d3"]
    assert [[b.metric for b in tier.limits] for tier in plan.tiers] == [["bytes", "p50"]] * 2


def test_several_budgets_hold_together(chain: Bundle) -> None:
    for text, best in [
        ("p50=5ms,memory=3MB", "d3"),
        ("p50=2ms,memory=3MB,bytes=6kB", "d2"),
        ("p95=2.6ms,bytes=6kB", "d2"),
        ("bytes=1kB", "d1"),
    ]:
        plan = select(chain, GivenCosts(ladder(chain)), [parse_tier(f"t:{text}")])
        assert plan.subnets[0].name == best


def test_a_share_is_of_the_largest_measured_where_it_was(chain: Bundle) -> None:
    tiers = [parse_tier("half:p50=50%")]
    plan = select(chain, GivenCosts(ladder(chain)), tiers)
    assert plan.tiers[0].limits[0].reference == "d6 predicted 6 ms"
    assert plan.subnets[0].name == "d3"
    costs = GivenCosts(ladder(chain), {"d6": cost(8.0)})
    plan = select(chain, costs, tiers)
    assert plan.tiers[0].limits == (
        Limit(metric="p50", limit=4.0, text="p50=50%", reference="d6 measured 8 ms"),
    )
    assert plan.subnets[0].name == "d4"


def test_a_share_is_of_the_largest_even_if_that_is_not_rated(grid: Bundle, tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text("subnet,quality\nd1-h4,1\n")
    quality = open_quality(str(table), grid)
    plan = select(grid, GivenCosts(ladder(grid)), [parse_tier("t:p50=50%")], quality)
    assert plan.tiers[0].limits[0].reference == "d4-h12 predicted 12 ms"
    assert [c.name for c in plan.subnets] == ["d1-h4"]


def test_a_whole_measurement_counts_more_than_a_prediction(chain: Bundle) -> None:
    costs = GivenCosts(ladder(chain), {"d4": cost(3.5), "d3": cost(9.0)})
    plan = select(chain, costs, [parse_tier("t:p50=3.6ms")])
    (best,) = plan.subnets
    assert best.name == "d4"
    assert best.measured is not None and best.measured.p50_ms == 3.5
    assert (best.predicted.p50_ms, best.cost.p50_ms, best.cost.measured) == (4.0, 3.5, True)
    assert plan.tiers[0].feasible == 3
    assert [p.cost.measured for p in plan.front if p.subnet == "d4"] == [True]


def test_in_a_large_pool_what_is_about_to_be_chosen_is_looked_up(tmp_path: Path) -> None:
    wide = make_bundle(tmp_path / "net.hwnas", depth=10, widths=(2, 3), dim=2, equal=False)
    subnets = list(wide.manifest.space.subnets())
    assert len(subnets) == 2046
    prices = {s.name: cost(1.0 + i) for i, s in enumerate(subnets)}
    quality = GivenQuality({s.name: float(i) for i, s in enumerate(subnets)})
    costs = GivenCosts(prices, {subnets[999].name: cost(5000.0), subnets[998].name: cost(900.0)})
    plan = select(wide, costs, [parse_tier("t:p50=1000ms")], quality)
    assert plan.subnets[0].name == subnets[998].name
    assert plan.subnets[0].measured is not None
    assert costs.asked == [subnets[999].name, subnets[998].name]


def test_more_subnets_are_spread_evenly_over_the_front(chain: Bundle) -> None:
    plan = select(chain, GivenCosts(ladder(chain)), [parse_tier("t:p50=5ms")], count=3)
    assert (plan.tiers[0].subnet, plan.tiers[0].more) == ("d5", ("d1", "d3"))
    assert [c.name for c in plan.subnets] == ["d5", "d1", "d3"]
    assert all(c.tiers == ("t",) for c in plan.subnets)
    plan = select(chain, GivenCosts(ladder(chain)), [parse_tier("t:p50=5ms")], count=2)
    assert plan.tiers[0].more == ("d1",)


def test_only_the_front_is_spread_over(chain: Bundle) -> None:
    prices = ladder(chain) | {"d3": cost(4.5, memory=9e6, weights=9000)}
    plan = select(chain, GivenCosts(prices), [parse_tier("t:p50=5ms")], count=10)
    assert plan.tiers[0].subnet == "d5"
    assert sorted(plan.tiers[0].more) == ["d1", "d2", "d4"]


def test_tiers_share_what_is_spread(chain: Bundle) -> None:
    tiers = [parse_tier("big:"), parse_tier("small:p50=3ms")]
    plan = select(chain, GivenCosts(ladder(chain)), tiers, count=2)
    assert [(c.name, c.tiers) for c in plan.subnets] == [
        ("d6", ("big",)),
        ("d3", ("small",)),
        ("d1", ("big", "small")),
    ]


def test_included_subnets_ship_whatever_they_cost(grid: Bundle, tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text("subnet,quality\nd1-h4,0.5\nd2-h4,0.6\n")
    quality = open_quality(str(table), grid)
    tiers = [parse_tier("t:p50=4ms")]
    plan = select(
        grid, GivenCosts(ladder(grid)), tiers, quality, include=["max", "d1-h4", "d4-h12"]
    )
    assert [(c.name, c.tiers, c.included, c.quality) for c in plan.subnets] == [
        ("d2-h4", ("t",), False, 0.6),
        ("d4-h12", (), True, None),
        ("d1-h4", (), True, 0.5),
    ]
    assert plan.candidates == 2
    rated = GivenQuality({n: float(i) for i, n in enumerate(subnet_names(grid))})
    plan = select(grid, GivenCosts(ladder(grid)), tiers, rated, include=["max"])
    assert plan.subnets[-1].quality == 11.0
    with pytest.raises(UnknownName, match="unknown subnet 'd9'"):
        select(grid, GivenCosts(ladder(grid)), tiers, quality, include=["d9"])


def test_what_is_not_known_is_never_free(chain: Bundle) -> None:
    prices = ladder(chain) | {"d2": cost(2.0, memory=math.nan), "d5": cost(5.0, memory=math.nan)}
    plan = select(chain, GivenCosts(prices), [parse_tier("t:p50=2ms")])
    assert plan.subnets[0].predicted.memory_bytes is None
    with pytest.raises(TableError) as caught:
        select(chain, GivenCosts(prices), [parse_tier("t:memory=9MB")])
    assert "memory is not known of d2, d5" in caught.value.cause
    assert "drop the budget on memory" in caught.value.fix
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(TableError, match="p50 is not known of d3"):
            select(chain, GivenCosts(ladder(chain) | {"d3": cost(bad, 1.0)}), [Tier("t")])
    untold = GivenCosts(ladder(chain) | {"d3": cost(3.0, math.nan)})
    assert select(chain, untold, [parse_tier("t:p50=3ms")]).subnets[0].predicted.p95_ms is None
    for metric, text in [("p95", "9ms"), ("energy", "1J"), ("macs", "1M")]:
        with pytest.raises(TableError, match=f"{metric} is not known of d") as caught:
            select(chain, untold, [parse_tier(f"t:{metric}={text}")])
        assert f"drop the budget on {metric}" in caught.value.fix
    costs = GivenCosts(ladder(chain), {"d3": cost(3.0, memory=math.nan)})
    with pytest.raises(TableError, match="memory is not known of d3"):
        select(chain, costs, [parse_tier("t:memory=9MB")])


def test_what_binds_is_said_in_words(chain: Bundle) -> None:
    with pytest.raises(NothingFits) as caught:
        select(chain, GivenCosts(ladder(chain)), [parse_tier("fast:p50=800us,memory=2MB")])
    error = caught.value
    assert error.exit_code == 3
    assert error.cause == (
        "no subnet meets the budgets of tier 'fast': p50 <= 800 us, memory <= 2 MB; "
        "p50 binds: the least with the other budgets met is 1 ms (d1, predicted)"
    )
    assert error.fix == (
        "nearest is d1, predicted p50 1 ms, p95 1.25 ms, memory 1 MB, bytes 1 kB; p50=1ms admits it"
    )
    found = error.shortfall
    assert (found.tier, found.binding, found.nearest.excess) == (
        "fast", ("p50",), {"p50": pytest.approx(0.25)},
    )  # fmt: skip


def test_budgets_that_bind_together_and_those_that_do_not(chain: Bundle) -> None:
    both = "t:p50=900us,bytes=900B"
    with pytest.raises(NothingFits, match="p50 and bytes bind together: loosening one is not"):
        select(chain, GivenCosts(ladder(chain)), [parse_tier(both)])
    # Quick ones are large here, so either budget alone can be loosened.
    prices = {f"d{i}": cost(7.0 - i, weights=1000 * i) for i in range(1, 7)}
    with pytest.raises(NothingFits) as caught:
        select(chain, GivenCosts(prices), [parse_tier("t:p50=3ms,bytes=3kB")])
    found = caught.value.shortfall
    assert [(e.metric, e.needed, e.subnet) for e in found.loosenings] == [
        ("bytes", 4000.0, "d4"),
        ("p50", 4.0, "d3"),
    ]
    assert caught.value.fix.endswith("bytes=4kB admits it; so would, alone, p50=4ms")


def test_the_first_tier_that_nothing_meets_is_named(chain: Bundle) -> None:
    tiers = [parse_tier("ok:p50=3ms"), parse_tier("none:p50=50us"), parse_tier("no:p50=1us")]
    with pytest.raises(NothingFits, match="tier 'none'"):
        select(chain, GivenCosts(ladder(chain)), tiers)


def test_wrong_arguments(chain: Bundle, tmp_path: Path) -> None:
    costs = GivenCosts(ladder(chain))
    with pytest.raises(UsageError, match="0 subnets per tier"):
        select(chain, costs, [Tier("t")], count=0)
    with pytest.raises(UsageError, match="two tiers are named t"):
        select(chain, costs, [Tier("t"), Tier("t")])
    other = Bundle(chain.path, chain.manifest.model_copy(update={"form": "subnets"}))
    with pytest.raises(BundleError, match="holds chosen subnets already"):
        select(other, costs, [Tier("t")])


def test_without_tiers_the_best_of_all_is_chosen(chain: Bundle) -> None:
    plan = select(chain, GivenCosts(ladder(chain)), [])
    assert [(tier.name, tier.subnet) for tier in plan.tiers] == [("best", "d6")]


def test_a_budget_is_met_up_to_its_value_and_not_beyond(chain: Bundle) -> None:
    limit = 0.1 + 0.2
    tier = parse_tier("t:p50=50%")
    exact = ladder(chain) | {"d6": cost(2 * limit), "d3": cost(limit)}
    assert resolve(tier, "d6", exact["d6"])[0].limit == limit
    only = {n: cost(9.0) for n in exact} | {"d6": exact["d6"]}
    assert select(chain, GivenCosts(only | {"d3": exact["d3"]}), [tier]).subnets[0].name == "d3"
    with pytest.raises(NothingFits):
        select(chain, GivenCosts(only | {"d3": cost(math.nextafter(limit, 1))}), [tier])


def test_the_same_input_gives_the_same_bytes(grid: Bundle) -> None:
    quality = GivenQuality({n: len(n) / 10 for n in subnet_names(grid)})
    tiers = [parse_tier("a:p50=50%"), parse_tier("b:memory=4MB")]
    device = {"cpu": "x", "threads": 1}
    texts = {
        select(grid, GivenCosts(ladder(grid)), tiers, quality, count=3, fingerprint=device).text()
        for _ in range(2)
    }
    assert len(texts) == 1
    assert str(grid.path) not in texts.pop()
