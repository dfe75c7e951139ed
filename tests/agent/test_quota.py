"""A CPU quota is told from a lowered clock: real control groups, of whichever version is here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.agent.canary import canary_ns
from hwnas.agent.events import Event, Round
from hwnas.profile import Package, Record
from hwnas.profile.local import measure_locally
from tests.support.measuring import QUICK, faulty_package, read_records
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("example_plugins")

PERIOD_US = 20_000
QUOTA_US = 4_000
"""20% of a core, in slices shorter than a round."""

SETTINGS = replace(
    QUICK, turn_s=0.02, min_rounds=10, max_rounds=12, sample_time_s=10.0, warmup_time_s=0.05
)
GROUPS = Path("/sys/fs/cgroup")


def made(root: Path, **values: object) -> Path:
    folder = root / f"hwnas-test-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        for name, value in values.items():
            (folder / name).write_text(str(value))
    except OSError:
        folder.rmdir()
        raise
    return folder


def version_1() -> Path:
    for root in (GROUPS / "cpu", GROUPS / "cpu,cpuacct"):
        if (root / "cpu.cfs_quota_us").exists():
            return made(root, **{"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": QUOTA_US})
    raise FileNotFoundError("there is no control group of version 1 with a CPU quota")


def version_2() -> Path:
    for root in (GROUPS, GROUPS / "unified"):
        controllers = root / "cgroup.controllers"
        if controllers.exists() and "cpu" in controllers.read_text().split():
            (root / "cgroup.subtree_control").write_text("+cpu")
            return made(root, **{"cpu.max": f"{QUOTA_US} {PERIOD_US}"})
    raise FileNotFoundError("there is no CPU controller of version 2")


@pytest.fixture(params=[version_1, version_2])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    make: Callable[[], Path] = request.param
    try:
        folder = make()
    except OSError as error:
        pytest.skip(f"no group can be made: {error}")
    yield folder
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{folder} is still in use")


def measured(package: Package, *prefix: str) -> tuple[Record, list[Round]]:
    events: list[Event] = list(measure_locally(package, prefix))
    [record] = read_records(package, events).values()
    return record, [event for event in events if isinstance(event, Round)]


def test_a_quota_is_named_and_not_called_a_lowered_clock(tmp_path: Path, group: Path) -> None:
    free = min(canary_ns() for _ in range(100))
    enter = 'echo $$ > "$0" && exec "$@"'
    package = faulty_package(tmp_path, SETTINGS, "slow")
    record, rounds = measured(package, "sh", "-c", enter, str(group / "cgroup.procs"))
    assert all(one.throttled is not None for one in rounds)
    assert sum(bool(one.throttled) for one in rounds) > len(rounds) / 2
    assert record.verdict == "invalid"
    assert "the CPU quota of its control group stopped it" in record.reasons[0]
    assert not any("clock was lowered" in reason for reason in record.reasons)
    # It has a fifth of the core: were it counted in wall time, it would be five times as slow.
    assert np.median([min(one.canary) for one in rounds]) < 2 * free
    walls = [turn.wall / turn.cpu for turn in record.turns]
    assert np.median(walls) > 2, "the quota really stopped it"


def test_without_a_quota_nothing_is_said_of_one(tmp_path: Path) -> None:
    record, _ = measured(faulty_package(tmp_path, SETTINGS, "slow"))
    assert not any("of its control group" in reason for reason in record.reasons)
