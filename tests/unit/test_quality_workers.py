"""Evaluating in other processes, and the commands that do."""

import json
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwnas.bundle import Bundle
from hwnas.cli.main import cli
from hwnas.errors import HwnasError, UsageError
from hwnas.select import open_quality
from hwnas.select.quality import QualityFunction, worker_pool
from hwnas.testing.processes import running, wait_until
from tests.support.bundles import make_bundle

RATE = """
from pathlib import Path

def rate(subnet, bundle):
    with (Path(__file__).parent / "calls.txt").open("a") as log:
        log.write(subnet.spec + "\\n")
    return 0.5 + sum({"h4": 0.125, "h8": 0.25}.get(c, 0) for c in subnet.choices.values())

def dies(subnet, bundle):
    import os
    if len(subnet.choices) == 4:
        os._exit(3)
    return rate(subnet, bundle)

def fails(subnet, bundle):
    if len(subnet.choices) == 4:
        raise ValueError("no such data")
    return rate(subnet, bundle)
"""


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("_hwnas_user"):
            del sys.modules[name]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """One for each test: results are kept beside it."""
    return make_bundle(tmp_path / "in" / "net.hwnas", depth=3, widths=(4, 8), dim=4, equal=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rating.py").write_text(RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _calls(folder: Path) -> list[str]:
    file = folder / "calls.txt"
    return file.read_text().split() if file.exists() else []


def _kept(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("SELECT subnet FROM quality")}
    except sqlite3.OperationalError:  # its table is not there yet
        return set()
    finally:
        connection.close()


def test_workers_say_what_this_process_says(folder: Path, bundle: Bundle) -> None:
    subnets = list(bundle.manifest.space.subnets())
    here = QualityFunction.load("rating.py:rate", bundle).scores(subnets)
    (folder / "calls.txt").unlink()
    seen: list[tuple[str, int, int]] = []
    quality = QualityFunction.load("rating.py:rate", bundle, folder / "q.db")
    quality.scores(subnets[:3])
    with worker_pool(2) as pool:
        assert quality.scores(subnets, lambda *event: seen.append(event), pool) == here
        assert quality.scores(subnets, None, pool) == here
    assert sorted(_calls(folder)) == sorted(subnet.spec for subnet in subnets)
    assert seen == [("quality", i + 1, 11) for i in range(11)]
    assert len(_kept(folder / "q.db")) == 14
    assert QualityFunction.load("rating.py:rate", bundle, folder / "q.db").scores(subnets) == here
    assert len(_calls(folder)) == 14


def test_an_evaluation_is_names_and_hashes(
    folder: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = QualityFunction.load("rating.py:rate", bundle).evaluation
    again = pickle.loads(pickle.dumps(evaluation))  # noqa: S301
    monkeypatch.chdir("/")
    assert again("d3-layers.0.h4-layers.1.h8-layers.2.h8") == 1.125
    assert again("min") == 0.625
    (folder / "rating.py").write_text(RATE + "\n# changed\n")
    stale = pickle.loads(pickle.dumps(evaluation))  # noqa: S301
    from hwnas.select.quality import evaluation as module

    module._load.cache_clear()
    with pytest.raises(HwnasError, match=r"the function of .*rating\.py:rate on .* has changed"):
        stale("min")
    with pytest.raises(UsageError, match="has no reference"):
        _ = QualityFunction("it", lambda subnet, bundle: 1.0, bundle, None).evaluation


def test_any_executor_will_do(folder: Path, bundle: Bundle) -> None:
    quality = QualityFunction.load("rating.py:rate", bundle)
    with ThreadPoolExecutor(1) as pool:
        assert quality.scores([bundle.subnet("max")], None, pool) == [1.25]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", r"rating\.py:fails on d2-.* fails at .*rating\.py:\d+: ValueError: no such data"),
        ("dies", "a worker died while it evaluated"),
    ],
)
def test_a_failure_is_said_and_results_are_kept(
    folder: Path, bundle: Bundle, name: str, said: str
) -> None:
    space = bundle.manifest.space
    good = [subnet for subnet in space.subnets() if len(subnet.choices) != 4]
    bad = [subnet for subnet in space.subnets() if len(subnet.choices) == 4]
    quality = QualityFunction.load(f"rating.py:{name}", bundle, folder / "q.db")
    with pytest.raises(HwnasError, match=said), worker_pool(2) as pool:
        quality.scores(good, None, pool)
        quality.scores([*bad, *good], None, pool)
    assert len(_kept(folder / "q.db")) == len(good)


def _run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["quality", *map(str, words)])


def test_sample_then_fit(folder: Path, bundle: Bundle) -> None:
    pytest.importorskip("sklearn")
    arguments = ("sample", bundle.path, "--with", "rating.py:rate", "-n", 14, "--seed", 3)
    done = _run(*arguments, "-o", "table.csv")
    assert done.exit_code == 0, done.output
    assert "14 subnets, quality 0.625 to 1.25, the largest 1.25" in done.output
    assert f"hwnas quality fit {bundle.path} table.csv -o predictor.json" in done.output
    first = (folder / "table.csv").read_bytes()
    done = _run(*arguments, "--jobs", 2, "-o", "again.csv", "--format", "json")
    assert json.loads(done.output)["subnets"] == 14
    assert (folder / "again.csv").read_bytes() == first
    assert len(_calls(folder)) == 14
    rows = first.decode().splitlines()
    assert rows[:2] == ["subnet,quality", "d3-layers.0.h8-layers.1.h8-layers.2.h8,1.25"]

    wide = make_bundle(folder / "wide.hwnas", depth=3, widths=(4, 8, 16), dim=4, equal=False)
    done = _run("sample", wide.path, "--with", "rating.py:rate", "-n", 30, "-o", "wide.csv")
    assert done.exit_code == 0, done.output
    done = _run("fit", wide.path, "wide.csv", "--model", "ridge", "-o", "predictor.json")
    assert done.exit_code == 0, done.output
    assert "30 rows, 2 times 5-fold cross-validation" in done.output
    assert "predictor.json: ridge (additive: selection is exact); next: hwnas select" in done.output
    quality = open_quality("predictor.json", wide)
    assert quality.scores([wide.subnet("max")]) == [pytest.approx(0.5, abs=0.05)]


def test_perturb_and_check(folder: Path, bundle: Bundle) -> None:
    done = _run(
        *("perturb", bundle.path, "--with", "rating.py:rate", "--check", 5, "-o", "scores.csv")
    )
    assert done.exit_code == 0, done.output
    assert "11 evaluations: the largest, 3 choices, 2 depths, 5 to check" in done.output
    assert "on 5 random subnets: mean absolute error 0, RMSE 0, Kendall tau 1.00" in done.output
    assert "scores.csv: 7 scores from 6 evaluations; next: hwnas select" in done.output
    assert len(_calls(folder)) == 11
    quality = open_quality("scores.csv", bundle)
    subnets = list(bundle.manifest.space.subnets())
    truth = QualityFunction.load("rating.py:rate", bundle).scores(subnets)
    assert quality.scores(subnets) == pytest.approx(truth)
    done = _run(
        *("perturb", bundle.path, "--with", "rating.py:rate", "-o", "scores.csv"),
        *("--format", "json"),
    )
    assert json.loads(done.stdout)["check"] is None


def test_an_output_never_replaces_an_input(folder: Path, bundle: Bundle) -> None:
    for output in ("rating.py", bundle.path):
        done = _run("sample", bundle.path, "--with", "rating.py:rate", "-o", output)
        assert isinstance(done.exception, UsageError)
    done = _run("fit", bundle.path, "rating.py", "-o", "rating.py")
    assert isinstance(done.exception, UsageError)


def test_a_killed_command_leaves_no_worker_and_goes_on(folder: Path, bundle: Bundle) -> None:
    # After some calls nothing returns until it is told to.
    slow = """
    import os, time
    folder = Path(__file__).parent
    (folder / str(os.getpid())).touch()
    while len((folder / "calls.txt").read_text().split()) > 4 and not (folder / "go").exists():
        time.sleep(0.02)
    return 0.5"""
    (folder / "rating.py").write_text(RATE.replace("    return 0.5", slow))
    words = ["sample", str(bundle.path), "--with", "rating.py:rate", "-n", "14", "-o", "table.csv"]
    command = [sys.executable, "-P", "-m", "hwnas.cli.main", "quality", *words, "--jobs", "2"]
    cache = bundle.path.parent / f"{bundle.path.name}.quality.db"
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as started:
        wait_until(
            lambda: started.poll() is not None or (cache.exists() and len(_kept(cache)) >= 2)
        )
        started.kill()
    assert not (folder / "table.csv").exists()
    workers = [int(file.name) for file in folder.iterdir() if file.name.isdigit()]
    assert 1 <= len(workers) <= 2
    wait_until(lambda: not any(map(running, workers)))
    before, kept = _calls(folder), _kept(cache)
    assert len(kept) >= 2 and kept <= set(before) and len(before) < 14
    (folder / "go").touch()
    done = _run(*words)
    assert done.exit_code == 0, done.output
    assert len((folder / "table.csv").read_text().splitlines()) == 15
    again = _calls(folder)[len(before) :]
    assert kept.isdisjoint(again) and len(kept) + len(again) == 14
