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


SKIPS = 40


def skips(*equal: tuple[int, ...]) -> Space:
    """A rule for each of 40 slots, which it skips or not; equal choices tie some of them."""
    group = {i: k for k, indexes in enumerate(equal) for i in indexes}
    choices = {i: (f"a{k}", f"b{k}") for i, k in group.items()}
    slots = tuple(Slot(name=f"s{i}", choices=choices.get(i, ("base",))) for i in range(SKIPS))
    depth = [PrefixDepth(name=f"r{i}=", slots=(f"s{i}",), depths=(0, 1)) for i in range(SKIPS)]
    ties = [EqualChoice(slots=tuple(f"s{i}" for i in indexes)) for indexes in equal]
    return Space(slots=slots, rules=(*depth, *ties))


HALF = SKIPS // 2


@pytest.mark.parametrize(
    ("equal", "count"),
    [
        ((), 2**SKIPS),
        ((tuple(range(SKIPS)),), 1 + 2 * (2**SKIPS - 1)),
        # A pair: none, or one or both with either choice.
        (tuple((i, i + HALF) for i in range(HALF)), 7**HALF),
        (((0, 39), (1, 2, 3)), (1 + 2 * 3) * (1 + 2 * 7) * 2**35),
    ],
)
def test_many_depth_rules_are_never_combined(
    equal: tuple[tuple[int, ...], ...], count: int
) -> None:
    """A walk over 2**40 combinations of depths would not end."""
    tested = skips(*equal)
    assert tested.count() == count
    assert not tested.chain
    for subnet in (tested.largest(), tested.smallest(), next(tested.subnets())):
        assert tested.find(subnet.spec) == subnet
    # A cut name is looked for among the subnets of its depths, not among all.
    cut = skips().largest()
    assert cut.name != cut.spec
    assert skips().find(cut.name) == cut
    assert len(tested.largest().blocks) == SKIPS
    with pytest.raises(UnknownName):
        tested.find("r0=1")


def test_an_equal_choice_ties_the_rules_that_it_spans() -> None:
    """Beside a slot that is always there, across rules, and within one; counted and listed."""
    names = tuple(f"n{i}" for i in range(9))
    choices = {**dict.fromkeys(names, ("a", "b", "c")), "n6": ("p", "q"), "n7": ("p", "q")}
    choices["n8"] = ("u", "v")
    tested = Space(
        slots=tuple(Slot(name=n, choices=choices[n]) for n in names),
        rules=(
            PrefixDepth(name="d0=", slots=names[:2], depths=(0, 1, 2)),
            PrefixDepth(name="d1=", slots=names[2:4], depths=(0, 2)),
            EquidistantDepth(name="d2=", slots=(names[4], names[6]), depths=(0, 1, 2)),
            PrefixDepth(name="d3=", slots=(names[8],), depths=(0, 1)),
            EqualChoice(slots=(names[0], names[3], names[4])),
            EqualChoice(slots=names[6:8]),
        ),
    )
    listed = [subnet.spec for subnet in tested.subnets()]
    assert tested.count() == len(set(listed)) == len(listed) > 1000
    assert all(tested.find(spec).spec == spec for spec in listed[::97])


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
    assert not space(("a",), EquidistantDepth(slots=LAYERS, depths=(1, 2))).chain
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
        (lambda: space(("a", "max"), EQUAL), "reserved"),
        (lambda: space(("min", "b")), "reserved"),
        (lambda: Space(slots=(Slot(name="net"),)), "reserved"),
        (
            lambda: space(("a",), PrefixDepth(name="max", slots=LAYERS, depths=(1, 2))),
            "other than max, min, net",
        ),
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
