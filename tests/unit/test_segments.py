from __future__ import annotations

import itertools
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.link.segments import Run, cut
from hwnas.program import Program, assemble
from hwnas.space import EqualChoice, PrefixDepth, Slot, Space

LAYERS = tuple(f"l{i}" for i in range(6))
DEPTHS = Space(
    slots=(Slot(name="stem"), *(Slot(name=n) for n in LAYERS), Slot(name="head")),
    rules=(PrefixDepth(slots=LAYERS, depths=(1, 2, 3, 4, 5, 6)),),
)


def runs(space: Space, names: list[str]) -> dict[str, list[Run]]:
    return cut({name: assemble(space, space.find(name)) for name in names})


def units(space: Space, names: list[str]) -> dict[str, list[tuple[str, ...]]]:
    return {name: [run.units for run in found] for name, found in runs(space, names).items()}


def test_depths_are_cut_where_they_part_and_meet() -> None:
    found = units(DEPTHS, ["d2", "d4", "d6"])
    first = ("stem/base", "l0/base", "l1/base")
    second, third, head = ("l2/base", "l3/base"), ("l4/base", "l5/base"), ("head/base",)
    assert found == {
        "d2": [first, head],
        "d4": [first, second, head],
        "d6": [first, second, third, head],
    }


def test_one_subnet_is_one_segment() -> None:
    assert len(units(DEPTHS, ["d6"])["d6"]) == 1


def test_a_skip_over_a_cut_leaves_the_segment_for_all() -> None:
    space = Space(
        slots=(
            Slot(name="a", writes=("x", "skip")),
            Slot(name="b"),
            Slot(name="c"),
            Slot(name="d", reads=("x", "skip")),
        ),
        rules=(PrefixDepth(slots=("c",), depths=(0, 1)),),
    )
    found = runs(space, ["d0", "d1"])
    assert [run.units for run in found["d0"]] == [("a/base", "b/base"), ("d/base",)]
    assert len(found["d0"][0].outputs) == len(found["d1"][0].outputs) == 2


WIDE = Space(
    slots=(
        Slot(name="stem", writes=("x", "skip")),
        *(Slot(name=n, choices=("a", "b")) for n in LAYERS),
        Slot(name="head", reads=("x", "skip")),
    ),
    rules=(PrefixDepth(slots=LAYERS[:3], depths=(0, 1, 3)), EqualChoice(slots=LAYERS[3:])),
)
NAMES = [s.spec for s in WIDE.subnets()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
def test_any_set_of_subnets_is_cut_into_its_own_calls(names: list[str]) -> None:
    programs: Mapping[str, Program] = {n: assemble(WIDE, WIDE.find(n)) for n in names}
    found = cut(programs)
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for name, cuts in found.items():
        calls = list(itertools.chain.from_iterable(run.calls for run in cuts))
        assert calls == list(programs[name].calls)
        known = set(programs[name].inputs)
        for run in cuts:
            assert set(run.inputs) <= known
            known |= set(run.outputs)
            by_first.setdefault(run.units[0], set()).add(run.units)
        assert set(programs[name].outputs.values()) <= known
    # A block is in one segment only, whatever the subnet.
    everywhere = [unit for group in by_first.values() for run in group for unit in run]
    assert len(everywhere) == len(set(everywhere))
