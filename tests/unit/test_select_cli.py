"""``hwnas select`` from the command line, from predictions alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwnas.bundle import Bundle
from hwnas.cli.main import main
from hwnas.select import Plan
from tests.support.bundles import make_bundle
from tests.support.tables import fill_blocks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main(["select", *map(str, words)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of 349,524 subnets, a table of its blocks, and scores for them."""
    folder = tmp_path_factory.mktemp("select")
    bundle = make_bundle(folder / "net.hwnas", depth=9, widths=(2, 3, 4, 5), dim=2, equal=False)
    assert bundle.manifest.space.count() == 349_524
    ms = {"stem/base": 1.0, "head/base": 0.5}
    ms |= {f"layers.0/h{w}": 0.25 * w for w in (2, 3, 4, 5)}
    fill_blocks(folder / "lut.db", bundle, ms).close()
    rows = [f"layers.{i}/h{w},{0.1 * (w - i / 10) ** 0.5}" for i in range(9) for w in (2, 3, 4, 5)]
    (folder / "scores.csv").write_text("\n".join(["block,score", "constant,0.25", *rows]) + "\n")
    return folder


def words(folder: Path, plan: Path, *more: object) -> list[Any]:
    files = [folder / "net.hwnas", "--lut", folder / "lut.db", "--quality", folder / "scores.csv"]
    return [*files, "--no-measure", "-o", plan, *more]


def test_a_space_too_large_to_list_is_solved(folder: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("highspy")
    plan = tmp_path / "plan.json"
    budgets = ["--max-latency", "p50=60%", "--max-bytes", "90%", "--max-macs", "80%"]
    code, out, err = run(*words(folder, plan, *budgets, "--front", 5, "--explain", "-n", 2))
    assert code == 0, err
    assert "exact: optimum of 349,524 subnets, gap 0" in out
    assert "quality: additive scores scores.csv" in out
    assert "what each budget's last hundredth is worth" in out
    assert "the quickest of a higher quality is" in out
    assert "weights of all together" in out
    made = Plan.load(plan)
    made.check(Bundle.open(folder / "net.hwnas", "space"))
    assert (made.candidates, made.quality_kind) == (349_524, "additive scores")
    assert len(made.subnets) == 2 and 2 <= len(made.front) <= 5
    (found,) = made.explanations
    assert {worth.metric for worth in found.worth} == {"p50", "bytes", "macs"}
    assert made.shipped is not None
    union = made.shipped.union
    less = ["--front", 0, "-n", 2, "--max-shipped-bytes", f"{union - 1}B"]
    code, out, err = run(*words(folder, plan, *budgets, *less))
    assert code == 0, err
    assert "chosen together within" in out
    again = Plan.load(plan).shipped
    assert again is not None and again.union < union


def test_explanations_are_in_json_too(folder: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("highspy")
    more = ["--min-quality", "1.5", "--front", 0, "--explain", "--format", "json"]
    code, out, err = run(*words(folder, tmp_path / "plan.json", *more))
    assert code == 0, err
    made = json.loads(out)
    assert (made["minimize"], made["min_quality"], made["solver"][:5]) == ("p50", 1.5, "HiGHS")
    (found,) = made["explanations"]
    assert found["better"] is None and found["worth"] == []
    assert sum(part["p50_ms"] for part in found["bought"]) == pytest.approx(
        made["subnets"][0]["predicted"]["p50_ms"]
    )


def test_nothing_fits_is_exit_code_3(folder: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("highspy")
    tight = ["--max-latency", "p50=2.5ms", "--min-quality", "2"]
    code, out, err = run(*words(folder, tmp_path / "plan.json", *tight, "--format", "json"))
    assert code == 3
    found = json.loads(out)["infeasible"]
    assert {entry["metric"] for entry in found["loosenings"]} == {"p50", "quality"}
    assert "binds" in err and not (tmp_path / "plan.json").exists()
    code, _, err = run(*words(folder, tmp_path / "plan.json", "--max-shipped-bytes", "90B"))
    assert code == 3
    assert "the least is" in err and "admits them" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-energy", "30ms"], ["30ms", "energy"]),
        (["--max-energy", "1J"], ["energy is not known", "drop the budget"]),
        (["--max-macs", "300"], ["unit"]),
        (["--max-shipped-bytes", "50%"], ["a share of what"]),
        (["--evaluations", "50"], ["--evaluations", "--method search"]),
        (["--search", "nsga2", "--seed", "1"], ["--search, --seed", "--method search"]),
    ],
)
def test_wrong_options(
    folder: Path, tmp_path: Path, run: Run, more: list[str], said: list[str]
) -> None:
    pytest.importorskip("highspy")
    code, _, err = run(*words(folder, tmp_path / "plan.json", *more))
    assert code in (1, 2)
    for word in said:
        assert word in err


def test_a_search_is_asked_for(folder: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("pymoo")
    pytest.importorskip("highspy")
    plan, rated = tmp_path / "plan.json", tmp_path / "rate.py"
    rated.write_text("def rate(subnet, bundle):\n    return float(len(subnet.choices))\n")
    base = [folder / "net.hwnas", "--lut", folder / "lut.db", "--quality", f"{rated}:rate"]
    budget = ["--max-latency", "p50=60%", "--no-measure", "-o", plan]
    code, _, err = run(*base, *budget)
    assert code == 2 and "--method search" in err
    asked = ["--method", "search", "--search", "nsga2", "--evaluations", 60, "--seed", 3]
    kept = ["--state", tmp_path / "state.db", "--history", tmp_path / "history.csv"]
    code, out, err = run(*base, *budget, *asked, *kept, "--explain")
    assert code == 0, err
    assert "search: best of 60 evaluated of 349,524 subnets, not proven" in out
    made = Plan.load(plan)
    assert (made.method, made.tiers[0].gap, made.solver) == ("search", None, None)
    assert (tmp_path / "history.csv").exists()
    first = plan.read_bytes()
    code, _, err = run(*base, *budget, *asked, *kept, "--explain")
    assert code == 0, err
    assert plan.read_bytes() == first
    for option, file in (("--history", "state.db"), ("--history", "rate.py"), ("--state", plan)):
        code, _, err = run(*base, *budget, *asked, *kept, option, tmp_path / file)
        assert code == 2 and "would overwrite" in err, err
