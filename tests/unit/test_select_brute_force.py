"""What select finds, against brute force over every subnet."""

import json
import pickle
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.bundle import Bundle
from hwnas.errors import Infeasible
from hwnas.select import NothingFits, Tier, combine, parse_budget, parse_tier, select
from hwnas.table.cost import METRICS, Cost
from tests.support.bundles import make_bundle, subnet_names
from tests.support.costs import GivenCosts, GivenQuality


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Twelve subnets: depth 1 to 4, three widths."""
    folder = tmp_path_factory.mktemp("grid")
    return make_bundle(folder / "net.hwnas", depth=4, widths=(4, 8, 12), dim=4)


# Few different values, so that ties are common.
values = st.integers(1, 5).map(float)
cost_of = st.builds(
    Cost, p50_ms=values, p95_ms=values, memory_bytes=values, weight_bytes=st.integers(1, 5),
    energy_j=values, macs=values.map(lambda x: x * 1000),
)  # fmt: skip
UNITS = {"p50": "ms", "p95": "ms", "memory": "B", "bytes": "B", "energy": "J", "macs": "k"}
budgets = st.lists(
    st.tuples(st.sampled_from(METRICS), st.integers(1, 6)), unique_by=lambda b: b[0], max_size=4
)


def tier_of(wanted: Sequence[tuple[str, int]], name: str = "t") -> Tier:
    text = ",".join(f"{metric}={value}{UNITS[metric]}" for metric, value in wanted)
    return parse_tier(f"{name}:{text}")


def fits(price: Cost, wanted: Sequence[tuple[str, float]]) -> bool:
    limits = {metric: limit * (1000 if metric == "macs" else 1) for metric, limit in wanted}
    return all(price.metric(metric) <= limit for metric, limit in limits.items())


def preference(price: Cost, quality: float, name: str) -> tuple[float, float, int, str]:
    return (-quality, price.p50_ms, price.weight_bytes, name)


@given(st.lists(cost_of, min_size=12, max_size=12), st.lists(values, min_size=12, max_size=12),
       budgets)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_exact_is_what_brute_force_finds(
    grid: Bundle, prices: list[Cost], qualities: list[float], wanted: list[tuple[str, int]]
) -> None:
    price = dict(zip(subnet_names(grid), prices, strict=True))
    quality = dict(zip(subnet_names(grid), qualities, strict=True))
    feasible = [n for n in price if fits(price[n], wanted)]
    rating = GivenQuality(quality)
    if not feasible:
        with pytest.raises(NothingFits):
            select(grid, GivenCosts(price), [tier_of(wanted)], rating)
        assert rating.evaluated == []
        return
    plan = select(grid, GivenCosts(price), [tier_of(wanted)], rating)
    best = min(feasible, key=lambda n: preference(price[n], quality[n], n))
    assert [chosen.name for chosen in plan.subnets] == [best]
    assert sorted(rating.evaluated) == sorted(feasible)
    assert plan.tiers[0].feasible == len(feasible)
    assert plan.proof == (
        f"t: exact: all 12 subnets priced, {len(feasible)} feasible, best quality {quality[best]:g}"
    )
    on_front = {point.subnet for point in plan.front}
    metrics = ["p50", *(m for m, _ in wanted)]

    def beats(a: str, b: str) -> bool:
        mine = [-quality[a], *(price[a].metric(m) for m in metrics)]
        theirs = [-quality[b], *(price[b].metric(m) for m in metrics)]
        return mine != theirs and all(x <= y for x, y in zip(mine, theirs, strict=True))

    # A tie in quality and p50 goes by bytes, even if p95 or memory say otherwise.
    peers = {
        n for n in feasible if (quality[n], price[n].p50_ms) == (quality[best], price[best].p50_ms)
    }
    assert peers & on_front
    for name in on_front:
        assert not any(beats(other, name) for other in feasible)
    for name in set(feasible) - on_front:
        vector = [quality[name], *(price[name].metric(m) for m in metrics)]
        equal = [
            n for n in on_front
            if [quality[n], *(price[n].metric(m) for m in metrics)] == vector
        ]  # fmt: skip
        assert equal or any(beats(other, name) for other in on_front)


@given(st.lists(cost_of, min_size=12, max_size=12), budgets.filter(len))
@settings(deadline=None, max_examples=150)
def test_the_nearest_and_what_binds_are_what_brute_force_finds(
    grid: Bundle, prices: list[Cost], wanted: list[tuple[str, int]]
) -> None:
    price = dict(zip(subnet_names(grid), prices, strict=True))
    # A thousandth of a unit at least: all costs are 1000 times of what budgets are given in.
    scaled = {
        n: Cost(p.p50_ms, p.p95_ms, p.memory_bytes * 1000, p.weight_bytes * 1000,
                energy_j=p.energy_j, macs=p.macs)
        for n, p in price.items()
    }  # fmt: skip
    small = {"p50": "us", "p95": "us", "memory": "B", "bytes": "B", "energy": "mJ", "macs": "k"}
    size = {"p50": 1e-3, "p95": 1e-3, "memory": 1.0, "bytes": 1.0, "energy": 1e-3, "macs": 1000.0}
    amounts = {m: v / 10 if m == "macs" else v * 100 for m, v in wanted}
    text = ",".join(f"{m}={v:g}{small[m]}" for m, v in amounts.items())
    limits = {m: v * size[m] for m, v in amounts.items()}
    assert not any(all(p.metric(m) <= v for m, v in limits.items()) for p in scaled.values())
    with pytest.raises(Infeasible) as caught:
        select(grid, GivenCosts(scaled), [parse_tier(f"t:{text}")], GivenQuality({}))
    error = caught.value
    assert isinstance(error, NothingFits)
    found = error.shortfall

    def excess(name: str) -> dict[str, float]:
        return {m: scaled[name].metric(m) / limit - 1 for m, limit in limits.items()}

    def worst(name: str) -> float:
        return max(excess(name).values())

    assert worst(found.nearest.subnet) == pytest.approx(min(map(worst, scaled)))
    assert found.nearest.excess == pytest.approx(
        {m: e for m, e in excess(found.nearest.subnet).items() if e > 0}
    )
    alone = {}
    for metric in limits:
        others = {m: limit for m, limit in limits.items() if m != metric}
        able = [
            p.metric(metric) for p in scaled.values()
            if all(p.metric(m) <= limit for m, limit in others.items())
        ]  # fmt: skip
        if able:
            alone[metric] = min(able)
    assert {entry.metric: entry.needed for entry in found.loosenings} == alone
    if alone:
        assert len(found.binding) == 1
        needs = {m: needed / limits[m] for m, needed in alone.items()}
        assert needs[found.binding[0]] == min(needs.values())
    else:
        assert len(found.binding) > 1
        assert "bind together" in error.cause

    # What the fix says does admit a subnet.
    admitted = {b.metric: b for b in parse_budget(",".join(found.nearest.admitted_by))}
    kept = [b for b in parse_budget(text) if b.metric not in admitted]
    again = combine([], [*kept, *admitted.values()])
    assert select(grid, GivenCosts(scaled), again, GivenQuality(dict.fromkeys(scaled, 1.0))).subnets
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - an error crosses a process border so
    assert (copy.shortfall, copy.cause, copy.fix) == (found, error.cause, error.fix)
