"""Runs that are cut off, by a signal or a full disk: nothing is lost, and they go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.table import Lut
from tests.support.bundles import make_bundle
from tests.support.measuring import CUT, running, wait_until
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture
from tests.support.tables import fingerprint


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "net.hwnas", depth=2, dim=256, widths=(256, 4096))


PARENT = """
import sys
from pathlib import Path
from hwnas.profile import *
from hwnas.table import Lut
from tests.support.measuring import CUT, named
from tests.support.tables import fingerprint

folder, resume, *labels = sys.argv[1:]
path = Path(folder) / "lut.db"
lut = (Lut.resume if resume == "resume" else Lut.create)(path, fingerprint(), CUT)
print("ready", flush=True)
with lut:
    jobs = named(Path(folder), *labels)
    found = profile(jobs, lut, load_target("cpu"), load_profiler("faulty"), CUT)
print(found.measured, found.skipped, len(found.failures))
"""
ROOT = Path(__file__).parents[2]


class TestCutOff:
    """The whole parent process is ended in mid-run, and another one goes on."""

    @pytest.fixture
    def script(self, tmp_path: Path, example_plugins: Path) -> Path:  # noqa: F811
        file = tmp_path / "parent.py"
        file.write_text(PARENT)
        return file

    def start(self, script: Path, *arguments: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
        return subprocess.Popen(
            [sys.executable, "-P", str(script), str(script.parent), *arguments],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self, pid: int) -> list[int]:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]

    def samples(self, path: Path, label: str) -> int:
        if not path.exists():
            return 0
        with Lut.open(path) as lut:
            return sum(row.runs for row in lut.rows() if row.label == label)

    def test_killed_and_gone_on_with(self, tmp_path: Path, script: Path) -> None:
        path = tmp_path / "lut.db"
        parent = self.start(script, "create", "good", "slow", "chatty")
        wait_until(lambda: self.samples(path, "slow") > 50)
        [worker] = self.children(parent.pid)
        parent.kill()
        parent.communicate()
        wait_until(lambda: not running(worker))
        with Lut.open(path) as lut:
            before = {row.label: row for row in lut.rows()}
        assert before["good"].status == "ok"
        assert before["slow"].status == "running" and 50 < before["slow"].runs < 400
        output, errors = self.start(script, "resume", "good", "slow", "chatty").communicate()
        assert output.split("\n")[1] == "2 1 0", errors
        with Lut.open(path) as lut:
            rows = lut.rows()
        assert [(r.label, r.status, r.runs) for r in rows] == [
            ("good", "ok", 400),
            ("slow", "ok", 400),
            ("chatty", "ok", 400),
        ], "each exactly once"
        assert rows[0] == before["good"]

    def test_a_worker_that_hangs_dies_with_its_parent(self, tmp_path: Path, script: Path) -> None:
        parent = self.start(script, "create", "hang")
        wait_until((tmp_path / "hang.started").exists)
        [worker] = self.children(parent.pid)
        parent.kill()
        parent.communicate()
        wait_until(lambda: not running(worker), 10.0)

    def test_interrupted(self, tmp_path: Path, script: Path) -> None:
        parent = self.start(script, "create", "good", "hang")
        wait_until((tmp_path / "hang.started").exists)
        [worker] = self.children(parent.pid)
        parent.send_signal(signal.SIGINT)
        parent.communicate()
        assert not running(worker)
        with Lut.resume(tmp_path / "lut.db", fingerprint(), CUT) as lut:
            assert [row.label for row in lut.rows()] == ["good"]


FULL = """
import resource, sys
from contextlib import suppress
from pathlib import Path
from hwnas.errors import HwnasError, ProfileError
from hwnas.profile import *
from hwnas.profile.run import profile
from hwnas.table import Lut
from tests.support.measuring import CUT, named
from tests.support.tables import fingerprint

kind, folder = sys.argv[1], Path(sys.argv[2])
path, filler = folder / "lut.db", folder / "filler"
target, faulty = load_target("cpu"), load_profiler("faulty")
jobs = named(folder, "good", "chatty", "more")
lut = Lut.create(path, fingerprint(), CUT)
profile(jobs[:1], lut, target, faulty, CUT)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 2000, hard))
else:
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))
try:
    profile(jobs, lut, target, faulty, CUT)
    sys.exit("the disk was not full")
except ProfileError as error:
    print(error.cause)
    print(error.fix)
lut.close()
with Lut.open(path) as lut:
    print(len(lut.measurement(jobs[0].key, "block").ns))
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
else:
    filler.unlink()
with Lut.resume(path, fingerprint(), CUT) as lut:
    found = profile(jobs, lut, target, faulty, CUT)
    print(found.measured, found.skipped, len(found.failures))
    print([(row.label, row.status, row.runs) for row in lut.rows()])
"""


class TestFullDisk:
    def run(self, tmp_path: Path, *command: str) -> None:
        script = tmp_path / "full.py"
        script.write_text(FULL)
        path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
        done = subprocess.run(
            [*command[:-2], sys.executable, "-P", str(script), *command[-2:]],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        cause, fix, kept, summary, rows = done.stdout.splitlines()
        assert "cannot write" in cause and "lut.db" in cause
        assert fix == "free space, then go on with --resume"
        assert kept == "400", "what was measured before is still there"
        assert summary == "2 1 0"
        assert rows == str([(label, "ok", 400) for label in ("good", "chatty", "more")])

    def test_file_size_limit(self, tmp_path: Path, example_plugins: Path) -> None:  # noqa: F811
        self.run(tmp_path, "limit", str(tmp_path))

    def test_full_file_system(self, tmp_path: Path, example_plugins: Path) -> None:  # noqa: F811
        place = tmp_path / "small"
        place.mkdir()
        mount = f"mount -t tmpfs -o size=160k tmpfs '{place}'"
        unshare = ["unshare", "--mount", "sh", "-c"]
        if (
            not shutil.which("unshare")
            or subprocess.run([*unshare, mount], capture_output=True, check=False).returncode
        ):
            pytest.skip("needs the right to mount")
        self.run(tmp_path, *unshare, f'{mount} && exec "$@"', "sh", "tmpfs", str(place))
