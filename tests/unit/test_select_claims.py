"""What a selection must not claim: proofs, gaps, fronts and shortfalls that were not earned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, Infeasible, UsageError
from hwnas.select import AdditiveProblem, NothingFits, Query, Settings, Terms, parse_tier, select
from hwnas.select.milp.joint import Copy, solve_joint
from hwnas.select.quality import QualityTable
from hwnas.space import Slot, Space
from hwnas.table.additive import AdditiveCosts, Linear
from tests.support.bundles import make_bundle
from tests.support.costs import GivenQuality, device_of, sums

pytest.importorskip("highspy")


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """126 subnets: depth 1 to 6, each layer with one of two widths."""
    folder = tmp_path_factory.mktemp("free")
    return make_bundle(folder / "net.hwnas", depth=6, widths=(2, 4), dim=2, equal=False)


def test_what_all_choices_of_a_slot_have_in_common_drowns_no_difference() -> None:
    rng = np.random.default_rng(0)
    space = Space(slots=tuple(Slot(name=f"s{i}", choices=("a", "b", "c")) for i in range(5)))
    small = rng.uniform(0, 1e-3, 15)
    common = np.repeat([1e6, 0.0, -1e6, 1e3, 1e6], 3)
    time = rng.uniform(1, 2, 15)
    metrics: dict[str, Linear | None] = {
        "p50": Linear(0.0, time), "bytes": Linear(0.0, np.round(time * 1e6)),
    }  # fmt: skip
    costs = AdditiveCosts(space.blocks, metrics, ())

    def best(quality: np.ndarray) -> str | None:
        terms = Terms(0.0, dict(zip(space.blocks, quality.tolist(), strict=True)))
        found = AdditiveProblem(space, costs, terms).best(Query({"p50": 7.5}))
        return None if found is None else found.subnet.name

    assert best(small) is not None
    assert best(small + common) == best(small)


def test_a_bound_is_corrected_like_what_it_bounds(
    free: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, quality = sums(free)
    solve = AdditiveProblem.best
    exact = select(free, costs, [], quality, limit=0, min_quality=4.0, front_points=0)
    bound = exact.subnets[0].cost.p50_ms * 0.9

    def cut_off(self: AdditiveProblem, *given: Any) -> Any:
        found = solve(self, *given)
        return found and replace(found, bound=bound, proven=False)

    monkeypatch.setattr(AdditiveProblem, "best", cut_off)
    device = device_of(free, costs, {}, 0.8)  # the bound as predicted is above what is measured
    plan = select(
        free, costs, [], quality, limit=0, min_quality=4.0, measure=device, front_points=0
    )
    assert plan.tiers[0].gap == pytest.approx(0.1)
    assert "time was up" in plan.proof


def test_a_misfit_is_not_what_a_budget_would_buy(free: Bundle) -> None:
    costs, quality = sums(free)
    tier = parse_tier("t:p50=5ms")
    first = select(free, costs, [tier], quality, limit=0).subnets[0]
    device = device_of(free, costs, {first.name: 1.2})
    plan = select(
        free, costs, [tier], quality,
        limit=0, measure=device, count=4, explaining=True, front_points=0,
    )  # fmt: skip
    assert plan.correction == {}  # most were as predicted, so the first is believed but measured
    (worth,) = plan.explanations[0].worth
    assert first.quality is not None and worth.less is not None and worth.per_unit is not None
    assert worth.less <= plan.explanations[0].value <= worth.more < first.quality
    assert worth.per_unit >= 0


def test_no_point_of_a_front_beats_another_once_some_are_measured(free: Bundle) -> None:
    costs, quality = sums(free)
    given: dict[str, Any] = {"count": 4, "limit": 0, "front_points": 4}
    plan = select(free, costs, [], quality, **given)
    # One of those that are measured is slower than predicted, and than some that are better.
    device = device_of(free, costs, {plan.tiers[0].more[-1]: 1.5})
    plan = select(free, costs, [], quality, measure=device, **given)
    times = [p.cost.p50_ms for p in plan.front]
    assert len(times) > 1 and times == sorted(times, reverse=True)


def test_time_that_is_up_is_no_proof_that_nothing_ships_together(free: Bundle) -> None:
    costs, quality = sums(free)
    problem = AdditiveProblem(
        free.manifest.space, costs.additive(), quality.terms(free.manifest.space)
    )
    structure = problem.structure
    model, unit = problem.model(Query())
    assert unit > 0
    groups = [[(i, (i,)) for i in blocks] for blocks in structure.slots.values()]
    copies = [Copy(model, groups, structure.parts())] * 3
    atoms = costs.additive().atoms
    budget = float(sum(size for size, _ in atoms)) * 0.6
    with pytest.raises(HwnasError, match="in 0 s no subnets were found") as caught:
        solve_joint(copies, atoms, (), budget, 0.0)
    assert not isinstance(caught.value, Infeasible)
    found = solve_joint(copies, atoms, (), budget, 60.0)
    assert found.parts is not None and found.bytes <= budget and found.room == 0
    none = solve_joint(copies, atoms, (), 1.0, 60.0)
    assert none.parts is None and none.bytes > 1.0 and none.room == 0


@pytest.mark.parametrize("limit", [1000, 0])
def test_what_ships_together_is_measured_to_fit(free: Bundle, limit: int) -> None:
    costs, quality = sums(free)
    device = device_of(free, costs, {}, 1.1)
    tiers = [parse_tier("a:p50=4ms"), parse_tier("b:p50=7ms")]
    given: dict[str, Any] = {"limit": limit, "measure": device, "count": 2, "front_points": 0}
    apart = select(free, costs, tiers, quality, **given)
    assert apart.shipped is not None
    plan = select(
        free, costs, tiers, quality,
        max_shipped_bytes=apart.shipped.union * 0.8, explaining=True, **given,
    )  # fmt: skip
    assert ", under predictions corrected by " in plan.proof
    assert plan.proof.endswith(", measured to fit")
    for tier in plan.tiers:
        for name in (tier.subnet, *tier.more):
            measured = plan.subnet(name).measured
            assert measured is not None and measured.p50_ms <= tier.limits[0].limit
    changed = [t.name for t, a in zip(plan.tiers, apart.tiers, strict=True) if t.subnet != a.subnet]
    assert changed
    assert all(e.worth == () for e in plan.explanations if e.tier in changed)


def test_a_search_that_cannot_find_anything_evaluates_nothing(free: Bundle) -> None:
    pytest.importorskip("pymoo")
    costs, _ = sums(free)
    quality = GivenQuality({})
    with pytest.raises(NothingFits) as caught:
        select(
            free, costs, [parse_tier("a:"), parse_tier("b:p50=1ms,macs=1G")], quality,
            method="search", search=Settings("random"), min_quality=0.5,
        )  # fmt: skip
    found = caught.value.shortfall
    assert (found.tier, found.binding, found.among, quality.evaluated) == ("b", ("p50",), None, [])
    assert str(caught.value).startswith("no subnet meets the budgets of tier 'b'")


def test_what_was_not_looked_at_is_not_said_to_break_a_budget(free: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("pymoo")
    costs, _ = sums(free)
    names = {s.name: float(i) for i, s in enumerate(free.manifest.space.subnets())}
    with pytest.raises(NothingFits, match=r"^of the 10 subnets whose quality is known, none meets"):
        select(
            free, costs, [], GivenQuality(names),
            method="search", search=Settings("random", 10), min_quality=1000.0,
        )  # fmt: skip
    table = tmp_path / "table.csv"
    table.write_text("subnet,quality\nmax,1\nmin,0.5\n")
    with pytest.raises(NothingFits, match=r"^of the 2 subnets whose quality is known, none meets"):
        select(
            free, costs, [parse_tier("t:p50=1ms")], QualityTable.read(table, free.manifest.space)
        )


def test_a_history_that_cannot_be_written_costs_no_evaluation(free: Bundle) -> None:
    pytest.importorskip("pymoo")
    costs, _ = sums(free)
    quality = GivenQuality({s.name: 1.0 for s in free.manifest.space.subnets()})
    with pytest.raises(UsageError, match=r"h\.txt is no form"):
        select(
            free, costs, [], quality,
            method="search", search=Settings("random", 10, history=Path("h.txt")),
        )  # fmt: skip
    assert quality.evaluated == []


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_least_quality_is_a_number(free: Bundle, wrong: float) -> None:
    costs, quality = sums(free)
    with pytest.raises(UsageError, match="a least quality of"):
        select(free, costs, [], quality, min_quality=wrong)
