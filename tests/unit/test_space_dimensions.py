from __future__ import annotations

import random

import pytest

from hwnas.errors import SupernetError, UnknownName
from hwnas.space import Dimension, EqualChoice, PrefixDepth, Slot, Space


def space(**changes: object) -> Space:
    layers = ("a.0", "a.1", "a.2")
    given = {
        "slots": (
            Slot(name="stem", dimensions=("r",)),
            *(Slot(name=n, choices=("k3", "k5"), dimensions=("r", "w")) for n in layers),
            Slot(name="pool", dimensions=("w",)),
            Slot(name="head", choices=("small", "big")),
        ),
        "rules": (PrefixDepth(slots=layers, depths=(1, 2, 3)),),
        "dimensions": (
            Dimension(name="r", values=(96, 128, 160)),
            Dimension(name="w", values=(0, 2)),
        ),
        **changes,
    }
    return Space(**given)  # type: ignore[arg-type]


def test_subnets_are_counted_listed_found_and_taken_apart() -> None:
    s = space()
    listed = list(s.subnets())
    assert s.count() == len(listed) == 3 * 2 * (2 + 4 + 8) * 2
    assert len({subnet.name for subnet in listed}) == len(listed)
    for subnet in listed:
        assert s.find(subnet.name) == subnet
        assert s.compose(*s.parts(subnet)) == subnet


def test_choices_are_written_with_the_values_that_their_slot_depends_on() -> None:
    s = space()
    found = s.find("r128-w2-d1-a.0.k5-head.small")
    assert found.choices == {
        "stem": "r128",
        "a.0": "k5.r128.w2",
        "pool": "w2",
        "head": "small",
    }
    assert s.read("a.0", "k5.r128.w2") == ("k5", {"r": 128, "w": 2})
    assert s.written("stem") == ("r96", "r128", "r160")
    assert len(s.blocks) == 3 + 3 * 12 + 2 + 2
    assert s.parts(found) == (
        {"r": 128, "w": 2},
        {"d": 1},
        {"stem": "base", "a.0": "k5", "pool": "base", "head": "small"},
    )


def test_extremes_have_the_extreme_values() -> None:
    s = space()
    assert s.largest().name == "r160-w2-d3-a.0.k5-a.1.k5-a.2.k5-head.big"
    assert s.smallest().name == "r96-w0-d1-a.0.k3-head.small"
    assert not s.chain


def test_a_dimension_of_one_value_is_not_written() -> None:
    s = space(dimensions=(Dimension(name="r", values=(224,)), Dimension(name="w", values=(0, 2))))
    assert s.largest().name == "w2-d3-a.0.k5-a.1.k5-a.2.k5-head.big"
    assert s.largest().choices["a.0"] == "k5.w2" and s.largest().choices["stem"] == "base"
    assert s.read("a.0", "k5.w2") == ("k5", {"r": 224, "w": 2})
    assert s.parts(s.smallest()).dimensions == {"r": 224, "w": 0}


def test_samples_cover_what_there_is() -> None:
    s = space()
    rng = random.Random(1)
    drawn = [s.sample(rng) for _ in range(400)]
    assert {s.parts(d).dimensions["r"] for d in drawn} == {96, 128, 160}
    assert {s.parts(d).depths["d"] for d in drawn} == {1, 2, 3}
    assert all(s.find(d.spec) == d for d in drawn)


def test_equal_choices_may_depend_on_different_dimensions() -> None:
    s = Space(
        slots=(
            Slot(name="a", choices=("x", "y"), dimensions=("r",)),
            Slot(name="b", choices=("x", "y")),
        ),
        rules=(EqualChoice(slots=("a", "b")),),
        dimensions=(Dimension(name="r", values=(1, 2)),),
    )
    assert [subnet.choices for subnet in s.subnets()] == [
        {"a": "x.r1", "b": "x"},
        {"a": "y.r1", "b": "y"},
        {"a": "x.r2", "b": "x"},
        {"a": "y.r2", "b": "y"},
    ]
    assert s.compose({"r": 2}, choices={"b": "y"}).name == "r2-y"


def test_what_does_not_exist_cannot_be_composed() -> None:
    s = space()
    good = s.parts(s.largest())
    for parts, named in [
        (good._replace(dimensions={"r": 100, "w": 0}), "100"),
        (good._replace(dimensions={"w": 0}), "r"),
        (good._replace(dimensions={**good.dimensions, "q": 1}), "q"),
        (good._replace(depths={"d": 4}), "4"),
        (good._replace(choices={**good.choices, "a.1": "k7"}), "k7"),
        (good._replace(choices={"head": "big"}), "a.0"),
    ]:
        with pytest.raises(UnknownName, match=named):
            s.compose(*parts)
    with pytest.raises(UnknownName, match="k5"):
        s.read("a.0", "k5")


R12 = Dimension(name="r", values=(1, 2))
W = Dimension(name="w", values=(0,))


@pytest.mark.parametrize(
    ("slots", "dimensions", "message"),
    [
        (None, (Dimension(name="r", values=(96,)),), "'a.0' has the dimensions r, w"),
        (None, (Dimension(name="r", values=()), W), "values"),
        (None, (Dimension(name="r", values=(2, 1)), W), "values"),
        (None, (R12, W, Dimension(name="z", values=(0, 1))), "'z' changes nothing"),
        ((Slot(name="s", dimensions=("r", "r")),), (R12,), "'s' has the dimensions r, r"),
        (
            (Slot(name="s", dimensions=("r",)), Slot(name="t", choices=("a", "a.r1"))),
            (R12, R12),
            "have one name",
        ),
        (None, (R12, W, Dimension(name="d", values=(10, 20))), "have one name"),
        (
            (Slot(name="s", dimensions=tuple("abcdef")),),
            tuple(Dimension(name=name, values=tuple(range(1000))) for name in "abcdef"),
            "more than 100,000 blocks",
        ),
    ],
)
def test_dimensions_that_cannot_be_are_refused(
    slots: tuple[Slot, ...] | None, dimensions: tuple[Dimension, ...], message: str
) -> None:
    changes: dict[str, object] = {"dimensions": dimensions}
    if slots is not None:
        changes |= {"slots": slots, "rules": ()}
    with pytest.raises(SupernetError, match=message):
        space(**changes)


def test_long_names_are_cut_after_the_dimensions() -> None:
    layers = tuple(f"layer{i}" for i in range(12))
    s = Space(
        slots=tuple(Slot(name=n, choices=("k3", "k5"), dimensions=("r",)) for n in layers),
        dimensions=(Dimension(name="r", values=(96, 128)),),
    )
    found = s.largest()
    assert found.name.startswith("r128-x") and len(found.name) < 20
    assert s.find(found.name) == s.find(found.spec) == found
