import random
from pathlib import Path

import pytest

from hwnas.errors import UnknownName, UsageError
from hwnas.select.protocol import AdditiveQuality
from hwnas.select.quality import AdditiveScores, Perturbations, agreement, write_scores
from hwnas.space import Dimension, EqualChoice, EquidistantDepth, PrefixDepth, Slot, Space
from tests.support.bundles import make_space

ELASTIC = Space(
    slots=(
        Slot(name="stem", dimensions=("r",)),
        *(Slot(name=f"s.{i}", choices=("k3", "k5", "k7"), dimensions=("r", "w")) for i in range(4)),
        *(Slot(name=f"t.{i}", choices=("a", "b")) for i in range(5)),
        Slot(name="u", choices=("x", "y"), dimensions=("w",)),
        Slot(name="head", dimensions=("q",)),
    ),
    rules=(
        PrefixDepth(name="d", slots=tuple(f"s.{i}" for i in range(4)), depths=(1, 2, 4)),
        EquidistantDepth(name="e", slots=tuple(f"t.{i}" for i in range(5)), depths=(0, 2, 4)),
        EqualChoice(slots=tuple(f"t.{i}" for i in range(5))),
    ),
    dimensions=(
        Dimension(name="r", values=(160, 192)),
        Dimension(name="w", values=(0, 1, 2)),
        Dimension(name="q", values=(7,)),
    ),
)


def _write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["block,score", *rows]) + "\n")
    return path


def _rows(space: Space) -> list[str]:
    """Every choice is worth one more than the one before it at its slot, from 0."""
    optional = space.skippable
    return [
        f"{slot.name}/{choice},{i}"
        for slot in space.slots
        if len(slot.choices) > 1 or slot.name in optional
        for i, choice in enumerate(slot.choices)
    ]


DIMENSIONS = ["r=160,0.25", "r=192,0.5", "w=0,0", "w=1,10", "w=2,20"]


def test_scores_add_up(tmp_path: Path) -> None:
    rows = ["constant,1000", *_rows(ELASTIC), *DIMENSIONS]
    quality = AdditiveScores.read(_write(tmp_path / "scores.csv", *rows), ELASTIC)
    assert isinstance(quality, AdditiveQuality)
    assert (quality.kind, quality.source) == ("additive scores", "additive scores scores.csv")
    assert quality.rated() is None
    least, most = ELASTIC.smallest(), ELASTIC.largest()
    # k7 at four slots, b at four of t, y.
    assert quality.scores([least, most]) == [1000.25, 1000.5 + 20 + 8 + 4 + 1]
    terms = quality.terms(ELASTIC)
    assert set(terms.per_block) == set(ELASTIC.blocks)
    rng = random.Random(0)
    for _ in range(20):
        subnet = ELASTIC.sample(rng)
        total = terms.constant + sum(terms.per_block[block] for block in subnet.choices.items())
        assert quality.scores([subnet]) == [pytest.approx(total)]
    with pytest.raises(UsageError, match="of another space"):
        quality.terms(make_space())


def test_blocks_may_be_scored_at_each_value(tmp_path: Path) -> None:
    rows = [row for row in _rows(ELASTIC) if not row.startswith("u/")]
    blocks = [f"u/{choice}.w{w}" for choice in "xy" for w in range(3)]
    rows += [f"{block},{score}" for score, block in enumerate(blocks, start=1)]
    path = _write(tmp_path / "scores.csv", *rows, *DIMENSIONS[:2])
    quality = AdditiveScores.read(path, ELASTIC)
    assert quality.terms(ELASTIC).per_block["u", "y.w1"] == 5
    assert quality.scores([ELASTIC.largest()]) == [0.5 + 8 + 4 + 6]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*_rows(ELASTIC)[1:], *DIMENSIONS], "no score for s.0/k3.r160.w0, s.0/k3.r160.w1"),
        (_rows(ELASTIC), "no score for r=160, r=192, w=0, w=1, w=2"),
        ([*_rows(ELASTIC), *DIMENSIONS[1:]], "no score for r=160\n"),
        ([*_rows(ELASTIC), *DIMENSIONS, "u/x.w0,1"], "u/x.w0 is scored twice, by itself and by"),
        ([*_rows(ELASTIC), *DIMENSIONS, "u/x,1"], "line 31: u/x is scored twice"),
        (["stem/r160,1", *_rows(ELASTIC), *DIMENSIONS], "no score for stem/r192"),
        (["u/z,1"], "unknown block in additive scores scores.csv: 'u/z'"),
        (["r=200,1"], "unknown block"),
        (["q=7,1"], "unknown block"),
        (["u/x,good"], "line 2: the score of u/x is 'good', not a number"),
        (["u/x,"], "line 2: the score of u/x is missing"),
        (["u/x"], "line 2: the score of u/x is missing"),
        (["u/x,inf"], "line 2: the score of u/x is inf"),
        ([",1"], "line 2: there is no block"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_missing_is_named(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        AdditiveScores.read(_write(tmp_path / "scores.csv", *rows), ELASTIC)
    assert caught.value.fix


def test_an_unknown_block_comes_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        AdditiveScores.read(_write(tmp_path / "scores.csv", "s.0/k9,1"), ELASTIC)
    assert "did you mean 's.0/k" in caught.value.fix


def test_a_slot_that_is_always_the_same_may_be_left_out(tmp_path: Path) -> None:
    depths_only = make_space(3, (8,))
    path = _write(tmp_path / "scores.csv", "layers.1/base,2", "layers.2/base,3")
    quality = AdditiveScores.read(path, depths_only)
    assert quality.scores(list(depths_only.subnets())) == [0, 2, 5]
    path = _write(tmp_path / "scores.csv", "layers.1/base,2")
    with pytest.raises(UsageError, match=r"no score for layers\.2/base"):
        AdditiveScores.read(path, depths_only)


def test_perturbations_of_a_sum_give_that_sum(tmp_path: Path) -> None:
    worth = AdditiveScores.read(
        _write(tmp_path / "true.csv", "constant,1", *_rows(ELASTIC), *DIMENSIONS), ELASTIC
    )
    changes = Perturbations(ELASTIC)
    # Two smaller choices at four slots, one for all of t, one at u; 2 + 2 depths; 1 + 2 values.
    assert changes.counts == {"choices": 10, "depths": 4, "values of dimensions": 3}
    assert len(changes.subnets) == 18
    assert changes.subnets[0] == ELASTIC.largest()
    values = worth.scores(changes.subnets)
    specs = [subnet.spec for subnet in changes.subnets]
    write_scores(tmp_path / "scores.csv", changes.scores(dict(zip(specs, values, strict=True))))
    found = AdditiveScores.read(tmp_path / "scores.csv", ELASTIC)
    assert found.scores(changes.subnets) == pytest.approx(values)
    # Prefixes are split as they were made; other subnets follow where a step is one slot.
    rng = random.Random(0)
    subnets = [s for s in (ELASTIC.sample(rng) for _ in range(200)) if "t.1" in s.choices]
    assert len(subnets) > 20
    assert found.scores(subnets) == pytest.approx(worth.scores(subnets))


@pytest.mark.parametrize(
    "space", [ELASTIC, make_space(4, (4, 8)), make_space(3, (2, 4), equal=False)]
)
def test_the_sum_is_exact_for_what_was_evaluated(tmp_path: Path, space: Space) -> None:
    rng = random.Random(1)
    changes = Perturbations(space)
    qualities = {subnet.spec: rng.uniform(-1, 1) for subnet in changes.subnets}
    quality = AdditiveScores("scores", space, changes.scores(qualities))
    assert quality.scores(changes.subnets) == pytest.approx(list(qualities.values()))


def test_steps_are_split_evenly() -> None:
    space = make_space(4, (4, 8))
    changes = Perturbations(space)
    assert changes.counts == {"choices": 1, "depths": 3, "values of dimensions": 0}
    qualities = {"d4-h8": 10.0, "d3-h8": 9.0, "d2-h8": 7.0, "d1-h8": 3.0, "d4-h4": 8.0}
    assert {subnet.name for subnet in changes.subnets} == set(qualities)
    scores = changes.scores(qualities)
    assert scores["constant"] == pytest.approx(3)
    assert scores["layers.3/h8"] == pytest.approx(1)
    assert scores["layers.1/h8"] == pytest.approx(4)
    assert scores["layers.0/h4"] == pytest.approx(-0.5)
    assert scores["layers.3/h4"] == pytest.approx(0.5)
    wide = Space(
        slots=tuple(Slot(name=f"l{i}") for i in range(4)),
        rules=(PrefixDepth(slots=tuple(f"l{i}" for i in range(4)), depths=(1, 3, 4)),),
    )
    scores = Perturbations(wide).scores({"d4": 6.0, "d3": 5.0, "d1": 1.0})
    found = [scores[f"l{i}/base"] for i in (1, 2, 3)]
    assert found == pytest.approx([2, 2, 1])
    assert "l0/base" not in scores


def test_a_slot_that_the_deepest_lacks_is_changed_where_it_is() -> None:
    slots = tuple(f"l{i}" for i in range(6))
    space = Space(
        slots=tuple(Slot(name=name, choices=("a", "b")) for name in slots),
        rules=(EquidistantDepth(slots=slots, depths=(3, 4)),),
    )
    assert "l2" in space.compose(depths={"d": 3}, choices=dict.fromkeys(slots, "b")).choices
    assert "l2" not in space.largest().choices and "l4" not in space.largest().choices
    changes = Perturbations(space)
    # l4 is in no subnet; l2 is changed at depth 3.
    assert changes.counts == {"choices": 5, "depths": 1, "values of dimensions": 0}
    rng = random.Random(0)
    qualities = {subnet.spec: rng.random() for subnet in changes.subnets}
    quality = AdditiveScores("scores", space, changes.scores(qualities))
    assert quality.scores(changes.subnets) == pytest.approx(list(qualities.values()))


def test_agreement_of_known_orders() -> None:
    import numpy as np

    same = agreement(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 40]))
    assert (same.tau, same.spearman) == (1, pytest.approx(1))
    turned = agreement(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]))
    assert (turned.tau, turned.spearman) == (-1, pytest.approx(-1))
    assert (turned.mae, turned.rmse) == (pytest.approx(4 / 3), pytest.approx((8 / 3) ** 0.5))
    # Two pairs agree, none disagrees, one is tied: 2 / sqrt(3 * 2).
    tied = agreement(np.array([1.0, 2, 3]), np.array([1.0, 2, 2]))
    assert tied.tau == pytest.approx(2 / 6**0.5)
    assert tied.spearman == pytest.approx(1.5 / (2 * 1.5) ** 0.5)
    flat = agreement(np.array([1.0, 2, 3]), np.array([2.0, 2, 2]))
    assert np.isnan(flat.tau) and np.isnan(flat.spearman)
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 60).astype(float), rng.integers(0, 9, 60).astype(float)
    found = agreement(a, b)
    assert found.tau == pytest.approx(stats.kendalltau(a, b).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic)
