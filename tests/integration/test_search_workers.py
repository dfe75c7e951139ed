"""Searches whose evaluations run elsewhere, are killed, or fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, UsageError
from hwnas.select.quality import QualityFunction
from hwnas.select.search import SearchResult, search
from hwnas.testing.processes import wait_until
from tests.support.bundles import make_bundle
from tests.support.searching import SummedCosts

EVALUATIONS = 60

FUNCTION = """
import os
import time
from pathlib import Path

HERE = Path(__file__).parent


def rate(subnet, bundle):
    with (HERE / "calls").open("a") as log:
        log.write(subnet.spec + "\\n")
    if (HERE / "slow").exists():
        time.sleep(0.02)
    if (HERE / "dies").exists() and (HERE / "dies").read_text() == subnet.spec:
        os._exit(3)
    if (HERE / "fails").exists() and (HERE / "fails").read_text() == subnet.spec:
        raise ValueError("out of data")
    widths = [int(choice[1:]) for slot, choice in subnet.choices.items() if "layers" in slot]
    return float(len(widths) + sum(w % 7 for w in widths) / 9 - abs(widths[0] - widths[-1]) / 16)
"""

SCRIPT = """
import sys
from pathlib import Path

from tests.integration.test_search_workers import find

find(Path(sys.argv[1]), state=Path(sys.argv[1]) / "search.db")
"""


def find(folder: Path, *, cache: Path | None = None, **given: Any) -> SearchResult:
    bundle = Bundle.open(folder / "net.hwnas")
    quality = QualityFunction.load(f"{folder / 'rated.py'}:rate", bundle, cache)
    options: dict[str, Any] = {"method": "nsga2", "population": 12, **given}
    space = bundle.manifest.space
    return search(space, SummedCosts(space), quality, evaluations=EVALUATIONS, **options)


def found(result: SearchResult) -> Sequence[tuple[str, float]]:
    return [(subnet.spec, quality) for subnet, quality in result.evaluated]


def calls(folder: Path) -> list[str]:
    log = folder / "calls"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """What one process finds without being disturbed."""
    return find(_prepared(tmp_path_factory.mktemp("alone")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _prepared(tmp_path)


def _prepared(folder: Path) -> Path:
    make_bundle(folder / "net.hwnas", 5, (8, 16, 24), equal=False)
    (folder / "rated.py").write_text(FUNCTION)
    return folder


def test_killed_and_gone_on_with(folder: Path, expected: SearchResult) -> None:
    (folder / "slow").touch()
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: len(calls(folder)) >= 30 or process.poll() is not None)
    finally:
        process.kill()
        _, said = process.communicate()
    done = len(calls(folder))
    assert 30 <= done < EVALUATIONS, said.decode()
    (folder / "slow").unlink()
    again = find(folder, state=folder / "search.db")
    assert found(again) == found(expected)
    # What was being evaluated when it was killed is evaluated again, and nothing else.
    assert len(calls(folder)) in (EVALUATIONS, EVALUATIONS + 1)


def test_any_number_of_processes_finds_the_same(folder: Path, expected: SearchResult) -> None:
    assert found(find(folder, jobs=2)) == found(expected)
    assert sorted(calls(folder)) == sorted(spec for spec, _ in found(expected))


def test_dask_finds_the_same(folder: Path, expected: SearchResult) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        result = find(folder, executor=client.get_executor(pure=False))
    assert found(result) == found(expected)
    assert len(calls(folder)) == EVALUATIONS


def test_an_executor_is_not_shut_down(folder: Path, expected: SearchResult) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert found(find(folder, executor=executor)) == found(expected)
        assert executor.submit(os.getpid).result() == os.getpid()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_function_that_fails_is_named_with_the_subnet(
    folder: Path, expected: SearchResult, jobs: int
) -> None:
    victim = found(expected)[20][0]
    (folder / "fails").write_text(victim)
    state, cache = folder / "search.db", folder / "cache.db"
    with pytest.raises(HwnasError, match=rf"rated\.py:rate on {victim} .*out of data"):
        find(folder, jobs=jobs, state=state, cache=cache)
    before = len(calls(folder))
    assert before >= 20
    (folder / "fails").unlink()
    assert found(find(folder, jobs=jobs, state=state, cache=cache)) == found(expected)
    assert len(calls(folder)) == EVALUATIONS + 1


def test_a_worker_that_dies_is_told_and_nothing_is_lost(
    folder: Path, expected: SearchResult
) -> None:
    (folder / "dies").write_text(found(expected)[20][0])
    state, cache = folder / "search.db", folder / "cache.db"
    with pytest.raises(HwnasError, match=r"a worker died while it evaluated rated\.py:rate"):
        find(folder, jobs=2, state=state, cache=cache)
    (folder / "dies").unlink()
    assert found(find(folder, jobs=2, state=state, cache=cache)) == found(expected)
    # The two that were under way are evaluated again, and nothing else.
    assert len(calls(folder)) <= EVALUATIONS + 2


def test_a_function_that_was_changed_is_another_search(folder: Path) -> None:
    find(folder, method="random", state=folder / "search.db")
    (folder / "rated.py").write_text(FUNCTION + "\n# another\n")
    with pytest.raises(UsageError, match="another search: function's source"):
        find(folder, method="random", state=folder / "search.db")
