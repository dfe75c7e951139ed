import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.bundle import Bundle
from hwnas.errors import MissingExtra, NewerSchema, UsageError
from hwnas.select import open_quality
from hwnas.select.protocol import AdditiveQuality
from hwnas.select.quality import (
    Fitted,
    Predictor,
    QualityTable,
    fit_predictor,
    sample_subnets,
    write_table,
)
from hwnas.select.quality.features import feature_names, one_hot
from hwnas.space import Dimension, PrefixDepth, Slot, Space, Subnet
from tests.support.bundles import make_bundle, make_space

pytest.importorskip("sklearn")

WORTH = {"h4": 0.01, "h8": 0.03, "h12": 0.02}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return make_bundle(folder / "net.hwnas", depth=4, widths=(4, 8, 12), dim=4, equal=False)


def _sum(subnet: Subnet) -> float:
    return 0.5 + sum(WORTH.get(choice, 0.0) for choice in subnet.choices.values())


def _product(subnet: Subnet) -> float:
    """Far from a sum: a choice turns the sign of what the next one does."""
    signs = [1 if choice == "h8" else -1 for choice in subnet.choices.values()]
    return float(signs[1] * (signs[2] if len(signs) > 3 else 1))


def _table(path: Path, bundle: Bundle, count: int, rate: object = _sum) -> QualityTable:
    assert callable(rate)
    subnets = sample_subnets(bundle.manifest.space, count, seed=3)
    write_table(path, {subnet.spec: rate(subnet) for subnet in subnets})
    return QualityTable.read(path, bundle.manifest.space)


def test_a_sum_is_found_and_is_additive(tmp_path: Path, bundle: Bundle) -> None:
    table = _table(tmp_path / "table.csv", bundle, 60)
    predictor = fit_predictor(bundle, table, "table.csv")
    assert predictor.formula.model == "ridge"
    validation = {found.model: found for found in predictor.validation}
    assert set(validation) == {"mean", "ridge", "svr"}
    assert validation["ridge"].mae < 0.05 * validation["mean"].mae
    assert validation["mean"].tau is None and (validation["ridge"].tau or 0) > 0.9
    predictor.save(tmp_path / "predictor.json")
    quality = open_quality(str(tmp_path / "predictor.json"), bundle)
    assert isinstance(quality, AdditiveQuality)
    assert quality.kind == "fitted predictor"
    assert quality.source.startswith("fitted predictor predictor.json (ridge on 60 rows of table")
    subnets = list(bundle.manifest.space.subnets())
    truth = [_sum(subnet) for subnet in subnets]
    assert quality.scores(subnets) == pytest.approx(truth, abs=0.003)
    terms = quality.terms(bundle.manifest.space)
    sums = [terms.constant + sum(terms.per_block[b] for b in s.choices.items()) for s in subnets]
    assert sums == pytest.approx(quality.scores(subnets))
    with pytest.raises(UsageError, match="of another space"):
        quality.terms(make_space())


def test_what_is_no_sum_is_given_to_support_vectors(tmp_path: Path, bundle: Bundle) -> None:
    table = _table(tmp_path / "table.csv", bundle, 80, _product)
    predictor = fit_predictor(bundle, table, "table.csv")
    assert predictor.formula.model == "svr"
    mae = {found.model: found.mae for found in predictor.validation}
    assert mae["svr"] < 0.6 * mae["ridge"]
    predictor.save(tmp_path / "predictor.json")
    quality = open_quality(str(tmp_path / "predictor.json"), bundle)
    assert isinstance(quality, Fitted) and not isinstance(quality, AdditiveQuality)
    rows = table.rated()
    found, truth = quality.scores(rows), table.scores(rows)
    assert np.mean(np.abs(np.array(found) - truth)) < 0.5
    ridge = fit_predictor(bundle, table, "table.csv", "ridge")
    assert ridge.formula.model == "ridge"
    assert [found.model for found in ridge.validation] == ["mean", "ridge"]


def test_support_vectors_predict_what_scikit_learn_predicts(tmp_path: Path, bundle: Bundle) -> None:
    from sklearn.svm import SVR

    table = _table(tmp_path / "table.csv", bundle, 40, _product)
    formula = fit_predictor(bundle, table, "table.csv", "svr").formula
    assert formula.model == "svr"
    rows = one_hot(bundle.manifest.space).matrix(table.rated())
    truth = np.array(table.scores(table.rated()))
    standard = (truth - truth.mean()) / truth.std()
    best = [
        SVR(C=c, gamma=formula.gamma, epsilon=0.05).fit(rows, standard).predict(rows)
        for c in (1.0, 10.0, 100.0)
    ]
    found = (formula.predict(rows) - truth.mean()) / truth.std()
    assert min(np.abs(found - each).max() for each in best) < 1e-6


def test_the_same_rows_and_seed_give_the_same_file(tmp_path: Path, bundle: Bundle) -> None:
    table = _table(tmp_path / "table.csv", bundle, 30)
    for name in ("a.json", "b.json"):
        fit_predictor(bundle, table, "table.csv", "ridge", seed=5).save(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_cannot_be_fitted_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    few = _table(tmp_path / "few.csv", bundle, 14)
    with pytest.raises(UsageError, match=r"few\.csv has 14 rows, and cross-validation needs 15"):
        fit_predictor(bundle, few, "few.csv")
    flat = _table(tmp_path / "flat.csv", bundle, 30, lambda _: 0.25)
    with pytest.raises(UsageError, match=r"every subnet in flat\.csv has the quality 0\.25"):
        fit_predictor(bundle, flat, "flat.csv")
    subnets = [s for s in bundle.manifest.space.subnets() if "h12" not in s.spec]
    write_table(tmp_path / "part.csv", {s.spec: _sum(s) for s in subnets[:20]})
    part = QualityTable.read(tmp_path / "part.csv", bundle.manifest.space)
    with pytest.raises(UsageError, match=r"no subnet in part\.csv has layers\.0/h12"):
        fit_predictor(bundle, part, "part.csv")


def test_without_scikit_learn_its_extra_is_named(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _table(tmp_path / "table.csv", bundle, 30)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(MissingExtra) as caught:
        fit_predictor(bundle, table, "table.csv")
    assert caught.value.fix == "pip install 'hwnas[search]'"


def test_a_file_is_held_to_its_bundle_and_form(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "predictor.json"
    table = _table(tmp_path / "table.csv", bundle, 30)
    fit_predictor(bundle, table, "table.csv").save(path)
    data = json.loads(path.read_text())
    assert Predictor.model_validate(data).schema_version == 1

    other = make_bundle(
        tmp_path / "other.hwnas", depth=4, widths=(4, 8, 12), dim=4, equal=False, seed=1
    )
    with pytest.raises(UsageError, match="was fitted to another bundle"):
        open_quality(str(path), other)

    def changed(**fields: object) -> str:
        (tmp_path / "bad.json").write_text(json.dumps({**data, **fields}))
        return str(tmp_path / "bad.json")

    with pytest.raises(NewerSchema, match="schema_version 9"):
        open_quality(changed(schema_version=9), bundle)
    formula = data["formula"]
    vectors = {"model": "svr", "constant": 0, "gamma": 1, "support": [[999]], "weights": [1]}
    for fields, said in [
        ({"formula": {**formula, "coefficients": [1.0]}}, "the formula is not for"),
        ({"formula": {**formula, "constant": float("nan")}}, "formula.ridge.constant"),
        ({"formula": vectors}, "the formula is not for"),
        ({"formula": {**vectors, "support": []}}, "the formula is not for"),
        ({"formula": {**vectors, "gamma": 0}}, "formula.svr.gamma"),
        ({"formula": {"model": "pickle"}}, "formula"),
        ({"validation": []}, "ridge was not validated"),
        ({"extra": 1}, "extra"),
        ({"features": data["features"][::-1]}, "was fitted to another bundle"),
    ]:
        with pytest.raises(UsageError, match=said):
            open_quality(changed(**fields), bundle)
    far = open_quality(changed(formula={**formula, "constant": 1e200}), bundle)
    with pytest.raises(UsageError, match="predicts what is no quality"):
        far.scores([bundle.subnet("max")])


def test_features_are_the_parts_that_choices_share() -> None:
    space = Space(
        slots=(
            Slot(name="stem", dimensions=("r",)),
            Slot(name="a", choices=("k3e4", "k3e6", "k5e4"), dimensions=("r",)),
            Slot(name="b", choices=("h8", "h16")),
            Slot(name="c", choices=("k3", "pool")),
            Slot(name="d"),
        ),
        rules=(PrefixDepth(slots=("d",), depths=(0, 1)),),
        dimensions=(Dimension(name="r", values=(160, 192)),),
    )
    names = feature_names(space)
    assert names == (
        *("r=160", "r=192", "a/k=3", "a/e=4", "a/e=6", "a/k=5", "b/h8", "b/h16"),
        *("c/k3", "c/pool", "d/base"),
    )
    found = one_hot(space).matrix([space.smallest(), space.largest()])
    assert [[names[i] for i in np.flatnonzero(row)] for row in found] == [
        ["r=160", "a/k=3", "a/e=4", "b/h8", "c/k3"],
        ["r=192", "a/e=4", "a/k=5", "b/h16", "c/pool", "d/base"],
    ]


def test_samples_are_distinct_and_begin_alike() -> None:
    space = make_space(4, (4, 8, 12), equal=False)
    first, more = sample_subnets(space, 20, seed=1), sample_subnets(space, 40, seed=1)
    assert more[:20] == first
    assert first[:2] == [space.largest(), space.smallest()]
    assert len({subnet.spec for subnet in more}) == 40
    assert sample_subnets(space, 40, seed=2) != more
    everything = sample_subnets(space, 1000, seed=1)
    assert len(everything) == len({s.spec for s in everything}) == space.count() == 120
    with pytest.raises(UsageError, match="ask for 2 or more"):
        sample_subnets(space, 1, seed=1)


def test_samples_are_filled_up_where_draws_hardly_find_them() -> None:
    # Each depth is as likely: half of the draws are one of two subnets.
    names = tuple(f"l{i}" for i in range(9))
    deep = Space(
        slots=tuple(Slot(name=name, choices=("a", "b")) for name in names),
        rules=(PrefixDepth(slots=names, depths=(1, 9)),),
    )
    found = sample_subnets(deep, deep.count() - 1, seed=0)
    assert len({subnet.spec for subnet in found}) == deep.count() - 1 == 513
