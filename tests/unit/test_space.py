from __future__ import annotations

import itertools

import pytest

from hwnas.errors import SupernetError, UnknownName
from hwnas.space import EqualChoice, EquidistantDepth, PrefixDepth, Slot, Space, Subnet

LAYERS = tuple(f"layers.{i}" for i in range(4))


def space(choices: tuple[str, ...] = ("a", "b"), *rules: object) -> Space:
    slots = (Slot(name="stem"), *(Slot(name=n, choices=choices) for n in LAYERS), Slot(name="head"))
    return Space(slots=slots, rules=rules)


DEPTH = PrefixDepth(slots=LAYERS, depths=(1, 2, 4))
EQUAL = EqualChoice(slots=LAYERS)


@pytest.mark.parametrize(
    ("rules", "count"),
    [((), 2**4), ((EQUAL,), 2), ((DEPTH,), 2 + 4 + 16), ((DEPTH, EQUAL), 6)],
)
def test_count_is_the_number_of_subnets(rules: tuple[object, ...], count: int) -> None:
    tested = space(("a", "b"), *rules)
    listed = list(tested.subnets())
    assert tested.count() == len(listed) == count
    assert len({s.name for s in listed}) == count
    assert len({tuple(s.choices.items()) for s in listed}) == count


def test_names_lead_back() -> None:
    for rules in [(), (DEPTH,), (DEPTH, EQUAL)]:
        tested = space(("a", "b"), *rules)
        for subnet in tested.subnets():
            assert tested.find(subnet.name) == subnet
    assert space(("a", "b"), DEPTH, EQUAL).find("d2-b").choices == {
        "stem": "base",
        "layers.0": "b",
        "layers.1": "b",
        "head": "base",
    }


def test_long_names_are_cut_and_found_by_their_spec() -> None:
    slots = tuple(Slot(name=f"stage{i}.block", choices=("k3e3", "k7e6")) for i in range(12))
    tested = Space(slots=slots)
    subnet = tested.largest()
    assert len(subnet.name) < 80 < len(subnet.spec)
    assert tested.find(subnet.spec) == subnet


def test_cut_names_lead_back() -> None:
    slots = tuple(Slot(name=f"stage{i}.block", choices=("k3e3", "k7e6")) for i in range(8))
    rule = PrefixDepth(slots=tuple(slot.name for slot in slots), depths=(2, 8))
    for rules in [(), (rule,)]:
        tested = Space(slots=slots, rules=rules)
        cut = [subnet for subnet in tested.subnets() if subnet.name != subnet.spec]
        assert len(cut) == 2**8
        for subnet in cut[::51]:
            assert tested.find(subnet.name) == tested.find(subnet.spec) == subnet
    assert cut[0].name.startswith("d8-x")
    hash_ = cut[0].name.removeprefix("d8-")
    for name in (hash_, f"d2-{hash_}", f"d8-k3e3-{hash_}", "d8-x0123456789"):
        with pytest.raises(UnknownName) as caught:
            tested.find(name)
        assert "full spec" not in caught.value.fix


def test_a_cut_name_in_a_large_space_asks_for_the_spec() -> None:
    slots = tuple(Slot(name=f"stage{i}.block", choices=("k3e3", "k7e6")) for i in range(17))
    tested = Space(slots=slots)
    assert tested.count() > 100_000
    largest = tested.largest()
    with pytest.raises(UnknownName, match=largest.name) as caught:
        tested.find(largest.name)
    assert "full spec" in caught.value.fix
    assert tested.find(largest.spec) == largest


def test_words_out_of_order_are_no_name() -> None:
    for name in ("a-d2", "d2-d2-a", "d2-a-a", "d1-d2-a", "d2", "a", "net", "", "-"):
        with pytest.raises(UnknownName):
            space(("a", "b"), DEPTH, EQUAL).find(name)


def test_subnets_are_as_if_validated() -> None:
    for subnet in space(("a", "b"), DEPTH, EQUAL).subnets():
        assert Subnet.model_validate_json(subnet.model_dump_json()) == subnet
        assert Subnet(**subnet.model_dump()) == subnet
    one, two = itertools.islice(space().subnets(), 2)
    assert one.choices is not two.choices


def test_huge_spaces_are_counted_and_walked_lazily() -> None:
    """Once-for-all MobileNetV3: 5 stages of depth 2 to 4, 9 choices per block."""
    choices = tuple(f"k{k}e{e}" for k, e in itertools.product((3, 5, 7), (3, 4, 6)))
    slots, rules = [], []
    for stage in range(5):
        names = tuple(f"s{stage}.{i}" for i in range(4))
        slots += [Slot(name=n, choices=choices) for n in names]
        rules.append(PrefixDepth(name=f"d{stage}=", slots=names, depths=(2, 3, 4)))
    tested = Space(slots=tuple(slots), rules=tuple(rules))
    assert tested.count() == (9**2 + 9**3 + 9**4) ** 5 > 2 * 10**19
    first = next(tested.subnets())
    assert first == tested.smallest()
    assert tested.find(first.spec) == first


def test_equidistant_depth_keeps_the_ends() -> None:
    """VARiant, D=30: floating point would lose the last layer at d=26."""
    slots = tuple(f"l{i}" for i in range(30))
    rule = EquidistantDepth(slots=slots, depths=(2, 4, 8, 16, 26, 30))
    index = {d: sorted(int(s[1:]) for s in rule.active(d)) for d in rule.depths}
    assert index[2] == [0, 29]
    assert index[4] == [0, 9, 19, 29]
    assert index[8] == [0, 4, 8, 12, 16, 20, 24, 29]
    assert len(index[26]) == 26
    assert index[26][-1] == 29
    assert index[30] == list(range(30))


def test_extremes_skippable_and_chain() -> None:
    tested = space(("a", "b"), DEPTH, EQUAL)
    assert tested.find("max").name == "d4-b"
    assert tested.find("min").name == "d1-a"
    assert tested.skippable == {"layers.1", "layers.2", "layers.3"}
    assert not tested.chain
    assert space(("a",), DEPTH).chain
    assert space(("a", "b"), EQUAL).chain
    assert not space(("a", "b")).chain


def test_a_space_of_one_subnet() -> None:
    tested = Space(slots=(Slot(name="only"),))
    assert [s.name for s in tested.subnets()] == ["net"]
    assert tested.find("net") == tested.largest() == tested.smallest()


def test_unknown_subnet_lists_close_names() -> None:
    with pytest.raises(UnknownName, match="d3-a") as caught:
        space(("a", "b"), DEPTH, EQUAL).find("d3-a")
    assert "d4-a" in caught.value.fix


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Space(slots=()), "no slots"),
        (lambda: Space(slots=(Slot(name="a"), Slot(name="a"))), "appears twice"),
        (lambda: Space(slots=(Slot(name="a", choices=("c", "c")),)), "appears twice"),
        (lambda: Space(slots=(Slot(name="../a"),)), "not allowed"),
        (lambda: space(("a",), PrefixDepth(slots=("nope",), depths=(1,))), "does not exist"),
        (lambda: space(("a",), PrefixDepth(slots=LAYERS, depths=(5,))), "depths"),
        (lambda: space(("a",), PrefixDepth(slots=LAYERS, depths=(2, 1))), "least first"),
        (lambda: space(("a", "b"), EQUAL, EQUAL), "two equal_choice rules"),
        (
            lambda: Space(
                slots=(Slot(name="a", choices=("c", "d")), Slot(name="b")),
                rules=(EqualChoice(slots=("a", "b")),),
            ),
            "same choices",
        ),
        (lambda: space(("d1", "d2"), DEPTH, EQUAL), "two things"),
        (lambda: space(("a",), PrefixDepth(name="d-", slots=LAYERS, depths=(1,))), "not allowed"),
    ],
)
def test_wrong_spaces_are_refused(make: object, words: str) -> None:
    with pytest.raises(SupernetError) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)


def test_json_round_trip() -> None:
    tested = space(("a", "b"), DEPTH, EQUAL)
    assert Space.model_validate_json(tested.model_dump_json()) == tested
