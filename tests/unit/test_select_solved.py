"""Selection where subnets are solved for: the same answers as listing, measuring, fronts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, Infeasible, UsageError
from hwnas.select import Chosen, NothingFits, Plan, parse_tier, select
from hwnas.table.cost import Cost
from tests.support.bundles import make_bundle
from tests.support.costs import GivenCosts, GivenQuality, SumCosts, SumQuality, device_of, sums

pytest.importorskip("highspy")


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """126 subnets: depth 1 to 6, each layer with one of two widths."""
    folder = tmp_path_factory.mktemp("free")
    return make_bundle(folder / "net.hwnas", depth=6, widths=(2, 4), dim=2, equal=False)


@given(
    st.integers(0, 5),
    st.dictionaries(st.sampled_from(["p50", "p95", "memory", "bytes", "energy", "macs"]),
                    st.integers(5, 110), max_size=3),
    st.none() | st.integers(0, 9).map(float),
    st.none() | st.sampled_from(["p50", "energy", "memory"]),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_solving_and_listing_agree(
    free: Bundle, seed: int, shares: dict[str, int], floor: float | None, goal: str | None
) -> None:
    costs, quality = sums(free, seed, steps=64)
    tier = parse_tier("t:" + ",".join(f"{m}={share}%" for m, share in shares.items()))
    answers: list[Any] = []
    for limit in (1000, 0):
        try:
            plan = select(
                free, costs, [tier], quality,
                limit=limit, min_quality=floor, minimize=goal, front_points=0,
            )  # fmt: skip
        except NothingFits as error:
            answers.append(error.shortfall)
        else:
            (best,) = plan.subnets
            answers.append(best)
            assert (plan.solver is None) == (limit > 0)
            assert plan.tiers[0].gap == 0.0
    listed, solved = answers
    assert type(listed) is type(solved)
    if isinstance(listed, Chosen):
        assert (solved.quality, solved.predicted) == (listed.quality, listed.predicted)
        return
    assert solved.binding == listed.binding
    assert [(e.metric, e.needed) for e in solved.loosenings] == [
        (e.metric, e.needed) for e in listed.loosenings
    ]
    worst = [max(found.nearest.excess.values()) for found in (listed, solved)]
    assert worst[0] == pytest.approx(worst[1], abs=1e-7)
    assert str(NothingFits(solved)).startswith("no subnet meets the budgets")


def test_what_a_solved_plan_says(free: Bundle, tmp_path: Path) -> None:
    costs, quality = sums(free)
    plan = select(free, costs, [parse_tier("t:p50=60%,energy=70%")], quality, limit=0, count=3)
    assert plan.method == "exact" and plan.solver is not None
    assert plan.solver.startswith("HiGHS ")
    assert (plan.candidates, plan.unrated, plan.tiers[0].feasible) == (126, 0, None)
    assert plan.tiers[0].proof.startswith("exact: optimum of 126 subnets, gap 0, best quality ")
    assert (plan.quality_kind, plan.quality_source) == ("additive scores", "given sums")
    times = [plan.subnet(name).cost.p50_ms for name in plan.tiers[0].more]
    assert len(times) == 2 and times == sorted(times)
    assert times[-1] < plan.subnet(plan.tiers[0].subnet).cost.p50_ms
    assert plan.shipped is not None
    assert plan.shipped.union < plan.shipped.parts
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    again = select(free, costs, [parse_tier("t:p50=60%,energy=70%")], quality, limit=0, count=3)
    assert again.text() == plan.text()


def test_the_front_is_exact_and_evenly_spaced(free: Bundle) -> None:
    costs, quality = sums(free)
    plan = select(free, costs, [parse_tier("t:p50=60%")], quality, limit=0, front_points=8)
    listed = select(free, costs, [parse_tier("t:p50=60%")], quality)
    points = [(p.quality, p.cost.p50_ms) for p in plan.front]
    assert points == sorted(points, reverse=True)
    assert set(points) <= {(p.quality, p.cost.p50_ms) for p in listed.front}
    assert points[0] == (listed.front[0].quality, listed.front[0].cost.p50_ms)
    assert points[-1] == (listed.front[-1].quality, listed.front[-1].cost.p50_ms)
    assert 5 <= len(points) <= 8


def test_a_pick_is_measured_and_another_found_if_it_does_not_fit(free: Bundle) -> None:
    costs, quality = sums(free)
    tier = parse_tier("t:p50=5ms")
    first = select(free, costs, [tier], quality, limit=0).subnets[0]
    device = device_of(free, costs, {})
    plan = select(free, costs, [tier], quality, limit=0, measure=device)
    assert device.measured == [first.name] == [plan.subnets[0].name]
    assert plan.proof.endswith(", measured to fit")
    # It is slower than predicted, and only it: the next best is found and measured.
    device = device_of(free, costs, {first.name: 1.2})
    plan = select(free, costs, [tier], quality, limit=0, measure=device)
    assert plan.subnets[0].name != first.name
    assert device.measured[0] == first.name
    assert plan.subnets[0].measured is not None
    assert plan.subnets[0].measured.p50_ms <= 5.0
    assert "corrected by" in plan.proof


def test_a_model_that_is_off_is_corrected_either_way(free: Bundle) -> None:
    costs, quality = sums(free)
    for by in (0.8, 1.25):
        device = device_of(free, costs, {}, by)
        plan = select(free, costs, [parse_tier("t:p50=5ms")], quality, limit=0, measure=device)
        right = select(
            free, costs, [parse_tier(f"t:p50={5 / by}ms")], quality, limit=0, front_points=0
        )
        assert plan.subnets[0].name == right.subnets[0].name
        assert len(device.measured) == 2
        assert plan.correction["p50"] == pytest.approx(by)


def test_nothing_fits_is_said_after_the_nearest_was_measured(free: Bundle) -> None:
    costs, quality = sums(free)
    device = device_of(free, costs, {}, 2.0)
    with pytest.raises(NothingFits) as caught:
        select(free, costs, [parse_tier("t:p50=2.5ms")], quality, limit=0, measure=device)
    found = caught.value.shortfall
    assert (found.binding, found.nearest.measured) == (("p50",), True)
    assert found.measured == len(device.measured) >= 1


def test_a_model_without_any_use_is_given_up(free: Bundle) -> None:
    costs, quality = sums(free)
    subnets = list(free.manifest.space.subnets())
    off = {s.name: 6.0 / costs.cost(s).p50_ms for s in subnets}
    device = device_of(free, costs, off)  # all take 6 ms
    with pytest.raises(HwnasError, match="2 subnets were measured whole for one tier") as caught:
        select(
            free, costs, [parse_tier("t:p50=5ms")], quality,
            limit=0, measure=device, max_measured=2,
        )  # fmt: skip
    assert not isinstance(caught.value, NothingFits)
    assert len(device.measured) == 2
    with pytest.raises(NothingFits):
        select(free, costs, [parse_tier("t:p50=5ms")], quality, limit=0, measure=device)


def test_whole_measurements_of_the_table_count(free: Bundle) -> None:
    costs, quality = sums(free)
    tier = parse_tier("t:p50=5ms")
    first = select(free, costs, [tier], quality, limit=0).subnets[0]
    slow = SumCosts(costs.sums, {first.name: replace(first.predicted.cost(), p50_ms=6.0)})
    plan = select(free, slow, [tier], quality, limit=0)
    assert plan.subnets[0].name != first.name
    assert first.name in slow.asked


def test_the_least_of_a_metric_with_a_least_quality(free: Bundle) -> None:
    costs, quality = sums(free)
    for limit in (1000, 0):
        plan = select(free, costs, [], quality, limit=limit, min_quality=4.0)
        assert (plan.minimize, plan.min_quality) == ("p50", 4.0)
        (best,) = plan.subnets
        assert best.quality is not None and best.quality >= 4.0
        quicker = select(
            free, costs, [parse_tier(f"t:p50={best.cost.p50_ms * (1 - 1e-6)}ms")], quality
        )
        assert quicker.subnets[0].quality is not None and quicker.subnets[0].quality < 4.0
        assert "least p50" in plan.proof
        with pytest.raises(NothingFits) as caught:
            select(free, costs, [], quality, limit=limit, min_quality=99.0)
        assert caught.value.shortfall.binding == ("quality",)
        top = select(free, costs, [], quality).subnets[0].quality
        assert f"quality binds: the most is {top:.6g}" in caught.value.cause
        said = re.search(r"quality=(\S+) admits it", caught.value.fix)
        assert top is not None and said is not None
        assert top * (1 - 1e-5) <= float(said[1]) <= top  # six digits, and it does admit it


def test_a_least_quality_costs_no_evaluation_of_what_does_not_fit(free: Bundle) -> None:
    names = [subnet.name for subnet in free.manifest.space.subnets()]
    price = {n: Cost(1.0 + i, 2.0 + i, 1.0, 1) for i, n in enumerate(names)}
    quality = GivenQuality({n: float(i) for i, n in enumerate(names)})
    plan = select(
        free, GivenCosts(price), [parse_tier("t:p50=20ms")], quality,
        min_quality=10.0, minimize="p50",
    )  # fmt: skip
    assert plan.subnets[0].name == names[10]
    assert quality.evaluated == names[:20]


def test_without_sums_a_large_space_is_not_solved(free: Bundle) -> None:
    costs, quality = sums(free)
    price = {s.name: costs.predict_many([s])[0] for s in free.manifest.space.subnets()}
    with pytest.raises(UsageError, match="126 subnets") as caught:
        select(free, GivenCosts(price), [], quality, limit=0)
    assert "--method search" in caught.value.fix
    with pytest.raises(UsageError, match="needs qualities"):
        select(free, costs, [], minimize="p50")


@pytest.mark.parametrize("limit", [1000, 0])
def test_subnets_that_ship_together_keep_to_a_budget(free: Bundle, limit: int) -> None:
    costs, quality = sums(free)
    tiers = [parse_tier("a:p50=4ms"), parse_tier("b:p50=70%")]
    apart = select(free, costs, tiers, quality, limit=limit, count=2, front_points=0)
    assert apart.shipped is not None
    union = apart.shipped.union
    same = select(
        free, costs, tiers, quality,
        limit=limit, count=2, max_shipped_bytes=union, front_points=0,
    )  # fmt: skip
    assert same.subnets == apart.subnets
    plan = select(
        free, costs, tiers, quality,
        limit=limit, count=2, max_shipped_bytes=union - 1, front_points=0,
    )  # fmt: skip
    assert plan.shipped is not None and plan.shipped.limit == union - 1
    assert plan.shipped.union < union
    assert "chosen together" in plan.proof
    slots = [[tier.subnet, *tier.more] for tier in apart.tiers]
    best = together(free, costs, quality, apart, slots, union - 1)
    picked = [name for tier in plan.tiers for name in (tier.subnet, *tier.more)]
    value = sum(plan.subnet(name).quality or 0.0 for name in picked)
    assert value <= best + 1e-9
    if sum(len(tier.more) for tier in plan.tiers) == 2:
        assert value == pytest.approx(best)
    with pytest.raises(Infeasible, match="the least is") as caught:
        select(free, costs, tiers, quality, limit=limit, count=2, max_shipped_bytes=40)
    assert "admits them" in caught.value.fix


def together(
    bundle: Bundle,
    costs: SumCosts,
    quality: SumQuality,
    apart: Plan,
    slots: list[list[str]],
    budget: float,
) -> float:
    """By brute force over pairs: the greatest sum of qualities within ``budget`` bytes."""
    subnets = list(bundle.manifest.space.subnets())
    price = {s.name: c for s, c in zip(subnets, costs.predict_many(subnets), strict=True)}
    score = dict(zip((s.name for s in subnets), quality.scores(subnets), strict=True))
    index = costs.index
    used = {s.name: frozenset(index[pair] for pair in s.choices.items()) for s in subnets}
    able = []
    for tier, names in zip(apart.tiers, slots, strict=True):
        for i, name in enumerate(names):
            most = tier.limits[0].limit if i == 0 else price[name].p50_ms
            fits = [s.name for s in subnets if price[s.name].p50_ms <= most]
            able.append(sorted(fits, key=lambda n: -score[n]))
    best = 0.0

    def walk(k: int, chosen: frozenset[int], value: float) -> None:
        nonlocal best
        if k == len(able):
            best = max(best, value)
            return
        for name in able[k]:
            if value + score[name] + sum(score[names[0]] for names in able[k + 1 :]) <= best:
                return
            both = chosen | used[name]
            if costs.sums.shared_bytes(sorted(both)) <= budget:
                walk(k + 1, both, value + score[name])

    walk(0, frozenset(), 0.0)
    return best


@pytest.mark.parametrize("limit", [1000, 0])
def test_a_choice_is_explained(free: Bundle, limit: int) -> None:
    costs, quality = sums(free)
    tier = parse_tier("t:p50=5ms,bytes=90%")
    plan = select(free, costs, [tier], quality, limit=limit, explaining=True, front_points=0)
    (found,) = plan.explanations
    (best,) = plan.subnets
    assert (found.tier, found.subnet, found.value) == ("t", best.name, best.quality)
    assert found.constant_ms + sum(b.p50_ms for b in found.bought) == pytest.approx(
        best.predicted.p50_ms
    )
    assert 0.25 + sum(b.quality or 0.0 for b in found.bought) == pytest.approx(best.quality)
    assert {b.slot: b.choice for b in found.bought} == best.choices
    for part in found.bought:
        assert part.more_ms >= 0
        assert (part.cheapest == part.choice) == (part.more_ms == 0)
    # Against all others, by brute force.
    subnets = list(free.manifest.space.subnets())
    prices = costs.predict_many(subnets)
    scores = quality.scores(subnets)
    above = [c.p50_ms for c, q in zip(prices, scores, strict=True) if q > found.value * (1 + 1e-6)]
    assert found.better is not None
    assert found.better.cost["p50"] == min(above)
    assert found.better.excess.keys() <= {"p50", "bytes"} and found.better.excess
    for worth in found.worth:
        bounds = {w.metric: w.limit for w in found.worth}
        for share, value in ((0.99, worth.less), (1.01, worth.more)):
            limits = bounds | {worth.metric: worth.limit * share}
            able = [
                q for c, q in zip(prices, scores, strict=True)
                if all(c.metric(m) <= most for m, most in limits.items())
            ]  # fmt: skip
            assert value == pytest.approx(max(able))
        assert worth.less is not None and worth.per_unit is not None
        assert worth.per_unit == pytest.approx((worth.more - worth.less) / (0.02 * worth.limit))
        assert (worth.dual is None) == (limit > 0)


def test_a_measured_table_is_explained_without_terms(free: Bundle) -> None:
    costs, _ = sums(free)
    names = [subnet.name for subnet in free.manifest.space.subnets()]
    quality = GivenQuality({n: float(i) for i, n in enumerate(names)})
    plan = select(free, costs, [parse_tier("t:p50=5ms")], quality, explaining=True)
    (found,) = plan.explanations
    assert found.bought and all(part.quality is None for part in found.bought)
    plain = {s.name: costs.predict_many([s])[0] for s in free.manifest.space.subnets()}
    plan = select(free, GivenCosts(plain), [parse_tier("t:p50=5ms")], quality, explaining=True)
    assert plan.explanations[0].bought == ()
