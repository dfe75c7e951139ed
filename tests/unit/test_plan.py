import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from hwnas._version import __version__
from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, NewerSchema, PlanError, UnknownName
from hwnas.select import Plan, PlanCost, Tier, parse_tier, select
from hwnas.select.plan import SCHEMA_VERSION
from hwnas.table.cost import Cost
from tests.support.bundles import make_bundle
from tests.support.costs import Device, GivenCosts, cost

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("plan") / "net.hwnas", depth=4, widths=(4,), dim=4)


@pytest.fixture
def plan(bundle: Bundle) -> Plan:
    prices = {f"d{i}": cost(float(i)) for i in range(1, 5)}
    device = Device(prices | {"d3": Cost(2.75, 3.5, math.nan, 0, True, (2.7, 2.8))})
    return select(
        bundle,
        GivenCosts(prices),
        [parse_tier("half:p50=2.9ms"), Tier("full")],
        measure=device,
        include=["d1"],
        fingerprint={"cpu": "x", "threads": 1, "flags": ["a", "b"]},
    )


def altered(plan: Plan, **members: Any) -> str:
    return json.dumps(json.loads(plan.text()) | members)


def test_a_plan_is_read_as_it_was_written(plan: Plan, tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "new" / "plan.json"
    plan.save(path)
    again = Plan.load(path)
    assert again == plan
    assert again.text() == plan.text() == path.read_text()
    again.check(bundle)
    assert list(path.parent.iterdir()) == [path]


def test_what_a_plan_says(plan: Plan) -> None:
    data = json.loads(plan.text())
    assert (data["schema_version"], data["hwnas"]) == (SCHEMA_VERSION, __version__)
    assert data["fingerprint"] == {"cpu": "x", "threads": 1, "flags": ["a", "b"]}
    assert [tier["subnet"] for tier in data["tiers"]] == ["d3", "d4"]
    d3 = plan.subnet("d3")
    assert d3.measured is not None
    assert d3.measured.p50_interval_ms == (2.7, 2.8)
    assert d3.measured.memory_bytes is None and math.isnan(d3.cost.memory_bytes)
    assert (d3.predicted.p50_ms, d3.cost.p50_ms) == (3.0, 2.75)
    assert d3.subnet.blocks == ("stem/base", "layers.0/base", "layers.1/base", "layers.2/base",
                                "head/base")  # fmt: skip
    assert plan.subnet("d1").included
    with pytest.raises(UnknownName, match="unknown subnet 'd2'"):
        plan.subnet("d2")


def test_a_cost_is_written_and_read() -> None:
    full = Cost(1.0, 2.0, 3.0, 4, True, (0.9, 1.1), energy_j=0.5, macs=1e6)
    assert PlanCost.of(full).cost() == full
    unsure = PlanCost.of(Cost(1.0, math.nan, math.nan, 4, True, (math.nan, 1.0)))
    assert (unsure.p95_ms, unsure.memory_bytes, unsure.p50_interval_ms) == (None, None, None)
    assert (unsure.energy_j, unsure.macs) == (None, None) and math.isnan(unsure.cost().p95_ms)
    with pytest.raises(ValueError, match="finite number"):
        PlanCost.of(Cost(math.nan, 2.0, 3.0, 4))


def test_a_newer_plan_is_refused_by_name(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(altered(plan, schema_version=SCHEMA_VERSION + 1, whatever="is new"))
    with pytest.raises(NewerSchema) as caught:
        Plan.load(path)
    newer = f"plan.json has schema_version {SCHEMA_VERSION + 1}, this hwnas reads up to"
    assert newer in caught.value.cause


def test_a_plan_that_is_cut_off_is_refused(plan: Plan, tmp_path: Path) -> None:
    path, text = tmp_path / "plan.json", plan.text().rstrip()
    for end in range(0, len(text), 97):
        path.write_text(text[:end])
        with pytest.raises(PlanError, match="is cut off or not JSON") as caught:
            Plan.load(path)
        assert "hwnas select" in caught.value.fix


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": None}, "schema_version"),
        ({"tiers": None}, "tiers"),
        ({"extra": 1}, "extra"),
        ({"subnets": []}, "a tier's subnet d3, d4 is not in the plan"),
        ({"tiers": []}, "the tier full, half is not in the plan"),
    ],
)
def test_a_plan_that_was_altered_is_refused(
    plan: Plan, tmp_path: Path, members: dict[str, Any], said: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(altered(plan, **members))
    with pytest.raises(PlanError, match=r"is not a plan: ") as caught:
        Plan.load(path)
    assert said in caught.value.cause


def test_a_subnet_that_is_there_twice_is_refused(plan: Plan, tmp_path: Path) -> None:
    subnets = json.loads(plan.text())["subnets"]
    path = tmp_path / "plan.json"
    path.write_text(altered(plan, subnets=[*subnets, subnets[0]]))
    with pytest.raises(PlanError, match="the subnet d3 is there twice"):
        Plan.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot read the plan"):
        Plan.load(tmp_path / "none.json")
    with pytest.raises(PlanError, match="cannot read the plan"):
        Plan.load(tmp_path)
    for text in ("[]", "1", "null", '{"d4": 0.98}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(PlanError, match="is not a plan"):
            Plan.load(tmp_path / "other.json")
    for bytes_ in (b"\xff\xfe\x00", b"[" * 100_000):
        (tmp_path / "other.json").write_bytes(bytes_)
        with pytest.raises(PlanError, match="is cut off or not JSON"):
            Plan.load(tmp_path / "other.json")


def test_a_plan_for_other_weights_is_refused(plan: Plan, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other.hwnas", depth=4, widths=(4,), dim=4, seed=1)
    with pytest.raises(PlanError, match="made for another bundle") as caught:
        plan.check(other)
    assert "make it again" in caught.value.fix
    assert caught.value.exit_code == 1


def test_a_plan_whose_choices_were_altered_is_refused(
    plan: Plan, bundle: Bundle, tmp_path: Path
) -> None:
    data = json.loads(plan.text())
    path = tmp_path / "plan.json"
    data["subnets"][0]["choices"].pop("layers.2")
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError, match="d3 does not have the choices of that name"):
        Plan.load(path).check(bundle)
    data["subnets"][0]["spec"] = "d9"
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError, match="unknown subnet 'd9'"):
        Plan.load(path).check(bundle)


def test_a_plan_that_cannot_be_written_leaves_the_old_one(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(HwnasError, match="cannot write"):
        plan.save(blocked / "plan.json")
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "plan.json"]  # noqa: PTH208


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_plans_of_every_version_are_still_read(version: int) -> None:
    old = Plan.load(DATA / f"plan_v{version}.json")
    assert old.schema_version == version
    assert [c.norm for c in old.subnets] == ["folded" if version > 1 else "shared", "shared"]
    assert [(c.name, c.tiers, c.cost.measured) for c in old.subnets] == [
        ("d2", ("half",), True),
        ("d3", ("full",), True),
    ]
    assert old.tiers[0].limits[0].reference == "d3 measured 3 ms"
    assert old.subnet("d3").measured == PlanCost(
        p50_ms=3.0,
        p95_ms=3.75,
        memory_bytes=None,
        weight_bytes=1000,
        measured=True,
        p50_interval_ms=(2.9, 3.1),
        macs=3e6 if version > 2 else None,
    )
    assert [point.subnet for point in old.front] == ["d3", "d2", "d1"]
    assert old.fingerprint == {"cpu": "an example"}
    predicted = old.subnet("d2").predicted
    assert (predicted.energy_j, predicted.macs) == ((0.02, 2e6) if version > 2 else (None, None))
    assert (old.shipped is not None) == (version > 2)
    assert [found.subnet for found in old.explanations] == (["d2", "d3"] if version > 2 else [])
