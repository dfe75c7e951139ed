"""Runs that are cut off, by a signal or a full disk: nothing is lost, and they go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.profile import load_target
from hwnas.table import Lut
from hwnas.testing.processes import descendants, running, wait_until
from tests.support.measuring import CUT
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]

PARENT = """
import sys
from pathlib import Path
from hwnas.profile import *
from hwnas.table import Lut
from tests.support.measuring import CUT, named

folder, resume, *labels = sys.argv[1:]
path, target = Path(folder) / "lut.db", load_target("cpu")
device = target.fingerprint("faulty", CUT)
lut = (Lut.resume if resume == "resume" else Lut.create)(path, device, CUT)
print("ready", flush=True)
with lut:
    jobs = named(Path(folder), *labels)
    found = profile(jobs, lut, target, load_profiler("faulty"), CUT)
print(found.measured, found.skipped, len(found.failures))
"""


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

    def labels(self, path: Path) -> list[str]:
        with Lut.open(path) as lut:
            assert all(row.status == "ok" for row in lut.rows())
            return [row.label for row in lut.rows()]

    def test_killed_and_gone_on_with(self, tmp_path: Path, script: Path) -> None:
        path = tmp_path / "lut.db"
        parent = self.start(script, "create", "good", "wait", "chatty")
        wait_until((tmp_path / "wait.started").exists)
        wait_until(lambda: self.labels(path) == ["good"])
        started = descendants(parent.pid)
        parent.kill()
        parent.communicate()
        assert len(started) == 2, "the agent and its child"
        wait_until(lambda: not any(map(running, started)), 10.0)
        assert self.labels(path) == ["good"]
        with Lut.open(path) as lut:
            [before] = lut.rows()
            assert len(lut.open_jobs()) == 1
        (tmp_path / "go").touch()
        output, errors = self.start(script, "resume", "good", "wait", "chatty").communicate()
        assert output.split("\n")[1] == "2 1 0", errors
        assert self.labels(path) == ["good", "wait", "chatty"], "each exactly once"
        with Lut.open(path) as lut:
            assert lut.rows()[0] == before
            assert lut.open_jobs() == []
            runs = [row.runs for row in lut.rows()]
        assert runs == [CUT.max_rounds] * 3

    def test_interrupted(self, tmp_path: Path, script: Path) -> None:
        path = tmp_path / "lut.db"
        parent = self.start(script, "create", "good", "hang")
        wait_until((tmp_path / "hang.started").exists)
        wait_until(lambda: self.labels(path) == ["good"])
        started = descendants(parent.pid)
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate()
        assert "KeyboardInterrupt" in errors
        assert started and not any(map(running, started))
        assert self.labels(path) == ["good"]
        device = load_target("cpu").fingerprint("faulty", CUT)
        with Lut.resume(path, device, CUT) as lut:
            assert len(lut.rows()) == 1


FULL = """
import resource, sys
from contextlib import suppress
from pathlib import Path
from hwnas.errors import ProfileError
from hwnas.profile import *
from hwnas.table import Lut
from tests.support.measuring import CUT, named

kind, more, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
path, filler = folder / "lut.db", folder / "filler"
target, faulty = load_target("cpu"), load_profiler("faulty")
device = target.fingerprint("faulty", CUT)
jobs = named(folder, "good", "chatty", "more")
lut = Lut.create(path, device, CUT)
profile(jobs[:1], lut, target, faulty, CUT)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
else:
    with filler.open("wb", buffering=0) as stream:
        with suppress(OSError):
            while True:
                stream.write(bytes(4096))
        stream.truncate(stream.tell() - more)
try:
    profile(jobs, lut, target, faulty, CUT)
    sys.exit("the disk was not full")
except ProfileError as error:
    print(error.cause)
    print(error.fix)
lut.close()
with Lut.open(path) as lut:
    kept = lut.measurement(jobs[0].key, "block", invalid=True)
    print(len(kept.turns))
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
else:
    filler.unlink()
with Lut.resume(path, device, CUT) as lut:
    found = profile(jobs, lut, target, faulty, CUT)
    print(found.measured, found.skipped, len(found.failures), len(lut.open_jobs()))
    print([(row.label, row.status, row.runs) for row in lut.rows()])
"""


@pytest.mark.parametrize("more", [0, 12_288], ids=["at once", "in the midst"])
class TestFullDisk:
    def run(self, tmp_path: Path, *command: str) -> None:
        script = tmp_path / "full.py"
        script.write_text(FULL)
        path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
        done = subprocess.run(
            [*command[:-3], sys.executable, "-P", str(script), *command[-3:]],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        cause, fix, kept, summary, rows = done.stdout.splitlines()
        assert "cannot write" in cause and "lut.db" in cause
        assert fix == "free space, then go on with --resume"
        turns = CUT.max_rounds
        assert kept == str(turns), "what was measured before is still there"
        assert summary == "2 1 0 0"
        assert rows == str([(label, "ok", turns) for label in ("good", "chatty", "more")])

    def test_file_size_limit(
        self,
        tmp_path: Path,
        example_plugins: Path,  # noqa: F811
        more: int,
    ) -> None:
        self.run(tmp_path, "limit", str(more), str(tmp_path))

    def test_full_file_system(
        self,
        tmp_path: Path,
        example_plugins: Path,  # noqa: F811
        more: int,
    ) -> None:
        place = tmp_path / "small"
        place.mkdir()
        mount = f"mount -t tmpfs -o size=400k tmpfs '{place}'"
        unshare = ["unshare", "--mount", "sh", "-c"]
        if (
            not shutil.which("unshare")
            or subprocess.run([*unshare, mount], capture_output=True, check=False).returncode
        ):
            pytest.skip("needs the right to mount")
        last = ["tmpfs", str(more), str(place)]
        self.run(tmp_path, *unshare, f'{mount} && exec "$@"', "sh", *last)
