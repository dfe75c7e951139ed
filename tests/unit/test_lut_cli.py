"""``hwnas lut`` from the command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.profile import Settings
from hwnas.table import Lut
from tests.support.tables import fingerprint, put

DATA = Path(__file__).parents[1] / "data"
V1, V2 = DATA / "lut_v1.db", DATA / "lut_v2.db"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main(["lut", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_show_says_what_is_there_and_why_not_to_believe_it(run: Run) -> None:
    code, out, _ = run("show", V2)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("device") and "Raspberry Pi 4" in lines[0]
    [stem] = [line.split() for line in lines if line.startswith("stem/base")]
    assert stem == [
        *("stem/base", "block", "1.0050", "0.5%", "1.0100", "1.2563", "1.0%", "4.5", "MB"),
        *("0.005", "42", "ok"),
    ]
    assert "flag: layers.0/h8: the clock was lower in 2 of 7 rounds" in lines
    assert "invalid: layers.0/h16: outputs are off by 0.11 of their size" in lines
    assert "failed: head/base: killed by SIGSEGV" in lines
    assert "open: a job on ssh://pi@board has not been read to its end" in lines
    assert lines[-1].endswith("lut_v2.db: 2 ok, 1 flag, 1 invalid, 1 failed")


def test_show_filters_by_verdict(run: Run) -> None:
    _, out, _ = run("show", V2, "--verdict", "invalid", "--verdict", "failed")
    assert "h16" in out and "SIGSEGV" in out and "stem/base" not in out
    _, out, _ = run("show", V2, "--verdict", "ok", "--format", "json")
    found = json.loads(out)
    assert [row["label"] for row in found["measurements"]] == ["stem/base", "d1"]
    assert found["failed"] == []
    assert found["device"]["machine"] == "aarch64" and found["settings"]["relative_ci"] == 0.01


def test_reasons_that_are_alike_are_said_once(run: Run) -> None:
    _, out, _ = run("show", V1)
    [line] = [line for line in out.splitlines() if line.startswith("unknown: ")]
    assert line.startswith("unknown: stem/base, layers.0/base, d1: measured by hwnas 0.1")


def test_diff_marks_what_differs(run: Run, tmp_path: Path) -> None:
    for name, ms in (("a.db", 1.0), ("b.db", 1.3)):
        with Lut.create(tmp_path / name, fingerprint(), Settings()) as lut:
            put(lut, "same", 1.0)
            put(lut, "slow", ms)
    code, out, _ = run("diff", tmp_path / "a.db", tmp_path / "b.db")
    assert code == 0
    assert " 1.000  " in out and "1.300*" in out
    assert out.splitlines()[-1].startswith("2 in common, 1 differ; the median ratio is 1.150")
    _, out, _ = run("diff", tmp_path / "a.db", V1, "--format", "json")
    found = json.loads(out)
    assert found["ratios"] == [] and len(found["differences"]) >= 3
    _, out, _ = run("diff", tmp_path / "a.db", V1)
    assert out.splitlines()[-1] == "the tables have no kind in common"


def test_merge_shows_the_spread(run: Run, tmp_path: Path) -> None:
    for name, ms in (("a.db", 1.0), ("b.db", 1.05)):
        with Lut.create(tmp_path / name, fingerprint(), Settings()) as lut:
            put(lut, "k", ms)
    words = ("merge", tmp_path / "a.db", tmp_path / "b.db", "-o", tmp_path / "ab.db")
    code, out, _ = run(*words)
    assert code == 0
    [line] = [line.split() for line in out.splitlines() if line.startswith("k/base")]
    assert line == ["k/base", "block", "2", "1.0000", "1.0500", "5.0%"]
    assert "2 tables merged; next: hwnas lut show" in out.splitlines()[-1]
    assert run(*words)[0] == 2, "the output exists now"


def test_merge_by_force_is_marked_wherever_it_is_shown(run: Run, tmp_path: Path) -> None:
    words = ("merge", V1, V2, "-o", tmp_path / "m.db")
    code, _, err = run(*words)
    assert code == 1 and "another device" in err and "--force" in err
    assert not (tmp_path / "m.db").exists()
    code, out, _ = run(*words, "--force")
    assert code == 0 and "note: lut_v2.db was merged by force" in out
    for later in (
        ("show", tmp_path / "m.db"),
        ("export", tmp_path / "m.db", "-o", tmp_path / "m.csv"),
    ):
        assert "note: lut_v2.db was merged by force" in run(*later)[1]


def test_export_statistics(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("export", V2, "-o", tmp_path / "x.csv")
    assert code == 0 and out.endswith("x.csv: 4 rows\n")
    with (tmp_path / "x.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["stem/base", "layers.0/h8", "layers.0/h16", "d1"]
    assert float(rows[0]["p50_ms"]) == pytest.approx(1.005, abs=1e-4)
    assert (rows[2]["verdict"], rows[3]["load_bytes"]) == ("invalid", "")
    assert run("export", V2, "-o", tmp_path / "x.json")[0] == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["schema_version"] == 1 and found["device"]["cores"] == 4
    assert found["rows"][1]["reasons"] == ["the clock was lower in 2 of 7 rounds"]


def test_export_raw_samples(run: Run, tmp_path: Path) -> None:
    assert run("export", V2, "-o", tmp_path / "x.csv", "--samples", "raw")[0] == 0
    with (tmp_path / "x.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # 4 measurements of 14 turns, each of a cold run and 3 warm ones.
    assert len(rows) == 4 * 14 * 4
    assert [row["run"] for row in rows[:4]] == ["cold", "warm", "warm", "warm"]
    assert [row["ns"] for row in rows[:4]] == ["1250000", "1000000", "1000001", "1000002"]
    assert {row["flags"] for row in rows if row["round"] == "6"} == {"4"}, "throttled"


def test_mistakes_are_one_error_and_leave_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("key,ms\n" * 99)
    copy = shutil.copy(V2, tmp_path / "lut.db")
    before = Path(copy).read_bytes()
    for code, words, says in (
        (1, ("show", tmp_path / "none.db"), "does not exist"),
        (1, ("show", tmp_path / "no.db"), "not an SQLite file"),
        (1, ("diff", V2, tmp_path / "no.db"), "not an SQLite file"),
        (2, ("merge", V2, "-o", tmp_path / "m.db"), "two tables"),
        (2, ("merge", V2, copy, "-o", copy), "overwrite"),
        (2, ("export", V2, "-o", tmp_path / "x.txt"), ".csv"),
        (2, ("export", copy, "-o", copy), "overwrite"),
    ):
        found, out, err = run(*words)
        assert (found, out) == (code, ""), words
        assert says in err and "fix:" in err
    assert Path(copy).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lut.db", "no.db"]
