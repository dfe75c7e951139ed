"""Integer programs over random small spaces, against brute force over every subnet."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwnas.errors import MissingExtra, TableError
from hwnas.select import AdditiveProblem, Query, Terms
from hwnas.select.milp.joint import Copy, solve_joint
from hwnas.space import Dimension, EqualChoice, EquidistantDepth, PrefixDepth, Slot, Space, Subnet
from hwnas.table.additive import AdditiveCosts, Linear

pytest.importorskip("highspy")

METRICS = ("p50", "p95", "memory", "bytes", "energy", "macs")


@dataclass(frozen=True)
class Case:
    space: Space
    costs: AdditiveCosts
    terms: Terms

    def value(self, metric: str, subnet: Subnet) -> float:
        if metric == "quality":
            return self.terms.constant + sum(
                self.terms.per_block[pair] for pair in subnet.choices.items()
            )
        index = {block: i for i, block in enumerate(self.costs.blocks)}
        blocks = [index[pair] for pair in subnet.choices.items()]
        linear = self.costs.metrics[metric]
        return float(self.costs.shared_bytes(blocks)) if linear is None else linear(blocks)

    def fits(self, subnet: Subnet, limits: Mapping[str, float], floor: float | None) -> bool:
        return all(self.value(m, subnet) <= limit for m, limit in limits.items()) and (
            floor is None or self.value("quality", subnet) >= floor
        )


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to a few thousand subnets: two stages and a slot on its own, rules and dimensions."""
    dimensions = tuple(
        Dimension(name=name, values=tuple(range(1, draw(st.integers(1, 3)) + 1)))
        for name in ("r", "w")[: draw(st.integers(0, 2))]
    )
    names = [d.name for d in dimensions]
    slots = [Slot(name="stem", choices=("a", "b"), dimensions=tuple(names))]
    rules: list[PrefixDepth | EquidistantDepth | EqualChoice] = []
    equal = draw(st.sampled_from(["none", "stage", "all"]))
    same = ("c0", "c1") if equal == "all" else None
    for stage in range(draw(st.integers(1, 2))):
        count = draw(st.integers(1, 3))
        choices = same or tuple(f"c{i}" for i in range(draw(st.integers(1, 3))))
        using = tuple(n for n in names if draw(st.booleans()))
        members = tuple(f"s{stage}.{i}" for i in range(count))
        slots += [Slot(name=name, choices=choices, dimensions=using) for name in members]
        depths = draw(st.sets(st.integers(0, count), min_size=1).map(sorted))
        kind = draw(st.sampled_from([PrefixDepth, EquidistantDepth]))
        rules.append(kind(name=f"d{stage}_", slots=members, depths=tuple(depths)))
        if equal == "stage" and len(choices) > 1:
            rules.append(EqualChoice(slots=members))
    if equal == "all":
        rules.append(EqualChoice(slots=tuple(s.name for s in slots[1:])))
    if equal == "stage":
        # Two equal groups write their choices alike in names, so their choices differ.
        slots = [
            s.model_copy(update={"choices": tuple(f"{s.name[1]}{c}" for c in s.choices)})
            if s.name != "stem" else s
            for s in slots
        ]  # fmt: skip
    return Space(slots=tuple(slots), rules=tuple(rules), dimensions=dimensions)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    space = draw(spaces())
    blocks = space.blocks
    # Quarters, so that sums are exact and ties are common.
    number = st.integers(-2, 12).map(lambda n: n / 4)
    positive = st.integers(0, 12).map(lambda n: n / 4)

    def linear(values: st.SearchStrategy[float], peak: bool = False) -> Linear:
        def per() -> np.ndarray:
            size = len(blocks)
            return np.array(draw(st.lists(values, min_size=size, max_size=size)))

        high = np.abs(per()) if peak else None
        return Linear(draw(st.sampled_from([0.0, 1.0])), per(), high)

    atoms = tuple(
        (draw(st.integers(1, 4)), tuple(sorted(draw(st.sets(st.sampled_from(range(len(blocks))),
                                                            min_size=1, max_size=4)))))
        for _ in range(draw(st.integers(1, 4)))
    )  # fmt: skip
    metrics: dict[str, Linear | None] = {
        "p50": linear(positive), "p95": linear(positive), "memory": linear(positive, peak=True),
        "bytes": draw(st.sampled_from([None, linear(positive)])), "energy": linear(number),
        "macs": linear(positive),
    }  # fmt: skip
    quality = linear(number)
    terms = Terms(quality.constant, dict(zip(blocks, quality.per_block.tolist(), strict=True)))
    return Case(space, AdditiveCosts(blocks, metrics, atoms), terms)


limits_of = st.dictionaries(
    st.sampled_from(METRICS), st.integers(0, 40).map(lambda n: n / 4), max_size=4
)
floors = st.none() | st.integers(-8, 16).map(lambda n: n / 4)
goals = st.none() | st.sampled_from(METRICS)


def preferred(case: Case, subnet: Subnet, goal: str | None) -> tuple[float, ...]:
    order = ["quality", "p50", "bytes"]
    if goal is not None:
        order = [goal, *(name for name in order if name != goal)]
    return tuple(
        -case.value(name, subnet) if name == "quality" else case.value(name, subnet)
        for name in order
    )


@given(cases(), limits_of, floors, goals)
@settings(deadline=None, max_examples=60)
def test_the_solver_finds_what_brute_force_finds(
    case: Case, limits: dict[str, float], floor: float | None, goal: str | None
) -> None:
    subnets = list(case.space.subnets())
    able = [s for s in subnets if case.fits(s, limits, floor)]
    problem = AdditiveProblem(case.space, case.costs, case.terms)
    found = problem.best(Query(limits, floor, goal))
    if not able:
        assert found is None
        return
    assert found is not None and found.proven
    assert found.subnet in able
    best = min(preferred(case, s, goal) for s in able)
    assert preferred(case, found.subnet, goal) == best
    assert found.value == case.value(goal or "quality", found.subnet) == found.bound
    # The same again, given what it found; and the next best, without it.
    assert problem.best(Query(limits, floor, goal), [found.subnet]) == found
    rest = [s for s in able if s != found.subnet]
    following = problem.best(Query(limits, floor, goal, (found.subnet,)), [found.subnet])
    assert (following is None) == (not rest)
    if following is not None:
        assert preferred(case, following.subnet, goal) == min(
            preferred(case, s, goal) for s in rest
        )


@given(cases(), limits_of.filter(len), floors)
@settings(deadline=None, max_examples=40)
def test_the_nearest_is_what_brute_force_finds(
    case: Case, limits: dict[str, float], floor: float | None
) -> None:
    limits = {name: limit + 0.25 for name, limit in limits.items()}

    def worst(subnet: Subnet) -> float:
        shares = [case.value(m, subnet) / limit - 1 for m, limit in limits.items()]
        if floor is not None:
            shares.append((floor - case.value("quality", subnet)) / (abs(floor) or 1.0))
        return max(shares)

    least = min(map(worst, case.space.subnets()))
    nearest = AdditiveProblem(case.space, case.costs, case.terms).nearest(limits, floor)
    # Where something fits, any that does is as near as can be.
    assert max(worst(nearest), 0.0) == pytest.approx(max(least, 0.0), abs=1e-7)


@given(
    cases(),
    st.lists(limits_of, min_size=2, max_size=2),
    st.integers(0, 12),
    st.sampled_from([1, 100]),
)
@settings(deadline=None, max_examples=40)
def test_two_chosen_together_are_what_brute_force_finds(
    case: Case, limits: list[dict[str, float]], budget: int, most_parts: int
) -> None:
    problem = AdditiveProblem(case.space, case.costs, case.terms)
    structure = problem.structure
    subnets = list(case.space.subnets())
    able = [[s for s in subnets if case.fits(s, limit, None)][:60] for limit in limits]
    assume(all(len(a) < 60 for a in able))
    groups = [[(i, (i,)) for i in blocks] for blocks in structure.slots.values()]
    copies = []
    for limit in limits:
        model, _ = problem.model(Query(limit))
        further = np.arange(len(structure.model.gain), len(model.gain))
        copies.append(Copy(model, groups, [np.append(p, further) for p in structure.parts()]))
    numbers = {s.name: structure.numbers(s) for a in able for s in a}
    sizes = {
        (a.name, b.name): case.costs.shared_bytes([*numbers[a.name], *numbers[b.name]])
        for a in able[0] for b in able[1]
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.select.milp.joint._PARTS", most_parts)
        found = solve_joint(copies, case.costs.atoms, (), float(budget), 60.0)
    quality = {s.name: case.value("quality", s) for a in able for s in a}
    sums = [quality[a] + quality[b] for (a, b), size in sizes.items() if size <= budget]
    assert found.room == 0
    if not sums:
        assert found.parts is None
        assert found.bytes == min(sizes.values(), default=math.inf)
        return
    assert found.parts is not None
    chosen = [structure.subnet(x) for x in found.parts]
    assert sizes[chosen[0].name, chosen[1].name] == found.bytes <= budget
    assert sum(quality[s.name] for s in chosen) == pytest.approx(max(sums), abs=1e-6)


def ladder(slots: int, choices: int, seed: int = 0) -> Case:
    """A space of ``choices ** slots`` subnets with numbers that are no fractions of anything."""
    rng = np.random.default_rng(seed)
    words = tuple(f"c{i}" for i in range(choices))
    space = Space(slots=tuple(Slot(name=f"s{i}", choices=words) for i in range(slots)))
    size = np.tile(np.arange(1.0, choices + 1), slots) * rng.uniform(0.8, 1.2, slots * choices)
    metrics: dict[str, Linear | None] = {
        name: Linear(0.0, size * rng.uniform(0.9, 1.1, len(size)))
        for name in ("p50", "p95", "bytes", "energy")
    }
    quality = np.sqrt(size) * rng.uniform(0.9, 1.1, len(size))
    terms = Terms(0.5, dict(zip(space.blocks, quality.tolist(), strict=True)))
    return Case(space, AdditiveCosts(space.blocks, metrics, ()), terms)


def test_a_space_of_any_size_is_solved_and_budgets_are_never_broken() -> None:
    case = ladder(20, 9)
    assert case.space.count() == 9**20
    problem = AdditiveProblem(case.space, case.costs, case.terms)
    low, high = case.space.smallest(), case.space.largest()
    for share in (0.1, 0.4, 0.8):
        limits = {
            m: (1 - share) * case.value(m, low) + share * case.value(m, high)
            for m in ("p50", "energy", "bytes")
        }
        found = problem.best(Query(limits))
        assert found is not None and found.proven
        assert case.fits(found.subnet, limits, None)
        # No single change makes it better.
        for slot, choice in found.subnet.choices.items():
            for other in case.space.slot(slot).choices:
                changed = case.space.compose(choices=found.subnet.choices | {slot: other})
                better = case.value("quality", changed) > found.value + 1e-7
                assert other == choice or not (better and case.fits(changed, limits, None))


def test_the_same_question_gets_the_same_answer() -> None:
    case = ladder(8, 5)
    limits = {"p50": 20.0, "bytes": 25.0}
    answers = {
        AdditiveProblem(case.space, case.costs, case.terms).best(Query(limits)).subnet.name  # type: ignore[union-attr]
        for _ in range(3)
    }
    assert len(answers) == 1


def test_when_time_is_up_the_best_known_is_given_with_a_bound() -> None:
    case = ladder(20, 9)
    problem = AdditiveProblem(case.space, case.costs, case.terms)
    limits = {"p50": 70.0, "energy": 69.0}
    start = case.space.smallest()
    found = problem.best(Query(limits), [start], seconds=0.0)
    exact = problem.best(Query(limits))
    assert found is not None and exact is not None
    assert not found.proven
    assert found.value <= exact.value <= found.bound


def test_what_is_not_known_is_named() -> None:
    case = ladder(2, 2)
    p50 = case.costs.metrics["p50"]
    assert p50 is not None
    holes = p50.per_block.copy()
    holes[[1, 2]] = math.nan
    costs = AdditiveCosts(case.costs.blocks, {**case.costs.metrics, "p50": Linear(0.0, holes)}, ())
    with pytest.raises(TableError, match="p50 is not known of s0/c1, s1/c0"):
        AdditiveProblem(case.space, costs, case.terms).best(Query())
    with pytest.raises(TableError, match="memory is not known of any block"):
        AdditiveProblem(case.space, case.costs, case.terms).best(Query({"memory": 1.0}))
    with pytest.raises(TableError, match="the quality of s1/c1 is not known"):
        short = {b: v for b, v in case.terms.per_block.items() if b != ("s1", "c1")}
        AdditiveProblem(case.space, case.costs, Terms(0.0, short))
    with pytest.raises(TableError, match="the cost of s1/c0 and 1 other block"):
        cut = AdditiveCosts(case.costs.blocks[:2], case.costs.metrics, ())
        AdditiveProblem(case.space, cut, case.terms)


def test_duals_are_what_one_more_unit_adds() -> None:
    case = ladder(20, 9)
    problem = AdditiveProblem(case.space, case.costs, case.terms)
    worth = problem.worth(Query({"p50": 70.0, "bytes": 1e6}))
    assert worth["bytes"] == 0.0
    gained = []
    for limit in (68.0, 72.0):
        best = problem.best(Query({"p50": limit, "bytes": 1e6}))
        assert best is not None
        gained.append(best.value)
    assert worth["p50"] == pytest.approx((gained[1] - gained[0]) / 4, rel=0.2)
    dear = problem.worth(Query({"p50": 70.0}, minimize="energy", floor=30.0))
    assert dear["quality"] < 0.0 or dear["p50"] >= 0.0


def test_a_solver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    case = ladder(2, 2)
    with pytest.raises(MissingExtra, match="'highspy'") as caught:
        AdditiveProblem(case.space, case.costs, case.terms).best(Query())
    assert caught.value.fix == "pip install 'hwnas[search]'"
