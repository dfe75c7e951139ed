from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import NewerSchema, OtherDevice, ProfileError, TableError, UsageError
from hwnas.profile import Failure, Settings
from hwnas.table import Lut, owner
from tests.support.tables import DONE, fingerprint, job, put

V1 = Path(__file__).parents[1] / "data" / "lut_v1.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lut.db"


@pytest.fixture
def lut(path: Path) -> Iterator[Lut]:
    with Lut.create(path, fingerprint(), Settings(min_runs=20)) as made:
        yield made


def test_raw_samples_come_back_in_order(lut: Lut, path: Path) -> None:
    row = lut.begin(job("k", label="stem/base"))
    lut.add_samples(row, [5, 3])
    lut.add_samples(row, [])
    lut.add_samples(row, [4])
    lut.finish(row, DONE, 2000)
    lut.close()
    with Lut.open(path) as again:
        found = again.measurement("k", "block")
        assert again.fingerprint == fingerprint()
        assert again.settings == Settings(min_runs=20)
    assert found is not None
    assert found.ns.tolist() == [5, 3, 4]
    assert found.ns.dtype == np.int64 and not found.ns.flags.writeable
    assert (found.label, found.stopped_by) == ("stem/base", "converged")
    assert (found.load_bytes, found.run_bytes) == (2000, 1000)
    assert found.p50_ms == 4e-6


def test_what_was_not_measured_is_none(lut: Lut) -> None:
    assert lut.measurement("k", "block") is None
    put(lut, job("k"), 1.0)
    assert lut.measurement("k", "subnet") is None, "scopes are apart"
    lut.begin(job("open"))
    assert lut.measurement("open", "block") is None
    assert not lut.done("open", "block")


def test_unknown_memory_is_null_not_zero(lut: Lut, path: Path) -> None:
    put(lut, job("k"), 1.0, load_bytes=None, run_bytes=None)
    found = lut.measurement("k", "block")
    assert found is not None and found.load_bytes is None and found.run_bytes is None
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT load_bytes FROM measurement").fetchall() == [(None,)]
    db.close()


def test_the_latest_good_one_wins(lut: Lut) -> None:
    put(lut, job("k"), 1.0)
    put(lut, job("k"), 2.0)
    lut.fail(lut.begin(job("k")), "killed by SIGSEGV")
    found = lut.measurement("k", "block")
    assert found is not None and found.p50_ms == 2.0
    assert lut.failures() == [], "it has a good measurement"
    assert lut.keys("block") == ["k"]


def test_failures_are_rows(lut: Lut) -> None:
    lut.fail(lut.begin(job("bad", label="head/base")), "first")
    lut.fail(lut.begin(job("bad", label="head/base")), "second")
    assert lut.done("bad", "block")
    assert lut.measurement("bad", "block") is None
    assert lut.failures() == [Failure("bad", "block", "head/base", "second")]
    assert [(row.status, row.error, row.runs) for row in lut.rows()] == [
        ("error", "first", 0),
        ("error", "second", 0),
    ]
    assert lut.clear_failures() == 2
    assert not lut.done("bad", "block")


def test_a_measurement_needs_samples(lut: Lut) -> None:
    row = lut.begin(job("k"))
    with pytest.raises(ValueError, match="no samples"):
        lut.finish(row, DONE, 0)
    assert not lut.done("k", "block")


def test_create_refuses_an_existing_file(lut: Lut, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists") as caught:
        Lut.create(path, fingerprint(), Settings())
    assert "--resume" in caught.value.fix and "-o" in caught.value.fix
    assert path.read_bytes() == before


def test_create_leaves_nothing_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot write"):
        Lut.create(tmp_path / "file" / "lut.db", fingerprint(), Settings())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_resume_keeps_what_is_whole_and_discards_the_rest(lut: Lut, path: Path) -> None:
    put(lut, job("good"), 1.0)
    lut.fail(lut.begin(job("bad")), "crashed")
    lut.add_samples(lut.begin(job("cut")), [1, 2, 3])
    lut.close()
    with Lut.resume(path, fingerprint(kernel="6.2"), Settings(threads=1)) as again:
        assert [row.key for row in again.rows()] == ["good", "bad"]
        assert again.done("good", "block") and again.done("bad", "block")
        put(again, job("new"), 2.0)
    with sqlite3.connect(path) as db:
        left = "SELECT count(*) FROM sample WHERE measurement NOT IN (SELECT id FROM measurement)"
        assert db.execute(left).fetchone() == (0,)
        query = "SELECT m.key, d.fingerprint FROM measurement m JOIN run r ON m.run = r.id "
        query += "JOIN device d ON r.device = d.id WHERE status = 'ok'"
        kernels = {key: '"6.2"' in text for key, text in db.execute(query)}
        assert kernels == {"good": False, "new": True}
    db.close()


def test_resume_on_another_device_names_what_differs(lut: Lut, path: Path) -> None:
    lut.close()
    other = fingerprint(cpu="other 9/9/9", threads=4, kernel="7")
    with pytest.raises(OtherDevice) as caught:
        Lut.resume(path, other, Settings())
    assert "CPU: other 9/9/9 here, test 1/2/3 there" in caught.value.cause
    assert "threads: 4 here, 1 there" in caught.value.cause
    assert "kernel" not in caught.value.cause


def test_two_writers_are_refused(lut: Lut, path: Path) -> None:
    lut.close()
    code = (
        "import sys; from hwnas.table import Lut; from hwnas.profile import Settings\n"
        "from pathlib import Path\n"
        "lut = Lut.open(sys.argv[1]); f = lut.fingerprint; lut.close()\n"
        "lut = Lut.resume(sys.argv[1], f, Settings())\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        with pytest.raises(ProfileError, match=f"process {other.pid} is measuring"):
            Lut.resume(path, fingerprint(), Settings())
        with Lut.open(path) as reader:
            assert reader.rows() == [], "reading goes on"
    finally:
        other.kill()
        other.communicate()
    Lut.resume(path, fingerprint(), Settings()).close()


def test_marks_of_processes() -> None:
    mark = owner.here()
    assert owner.alive(mark) and owner.process_id(mark) == os.getpid()
    boot, namespace, started, pid = mark.split(":")
    assert not owner.alive(f"{boot}:{namespace}:{int(started) + 1}:{pid}"), "the number was reused"
    assert not owner.alive(f"another-boot:{namespace}:{started}:{pid}")
    assert not owner.alive("") and not owner.alive("a:b:c:99999999")


def test_a_copy_taken_while_measuring_is_whole(lut: Lut, path: Path, tmp_path: Path) -> None:
    put(lut, job("good"), 1.0)
    lut.add_samples(lut.begin(job("open")), [1, 2, 3])
    assert [p.name for p in tmp_path.iterdir()] == ["lut.db"], "one file is all there is"
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    with Lut.open(copy) as again:
        assert [(row.key, row.runs) for row in again.rows()] == [("good", 101), ("open", 3)]


def test_open_does_not_write(lut: Lut, path: Path) -> None:
    lut.close()
    with Lut.open(path) as reader, pytest.raises(ProfileError, match="cannot write"):
        reader.begin(job("k"))


class TestBadFiles:
    def test_missing(self, path: Path) -> None:
        with pytest.raises(TableError, match="does not exist") as caught:
            Lut.open(path)
        assert "hwnas profile" in caught.value.fix
        assert not path.exists(), "SQLite would have made it"

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(TableError, match="not a file"):
            Lut.open(tmp_path)

    def test_not_sqlite(self, path: Path) -> None:
        path.write_text("key,ms\nstem,1.0\n" * 100)
        with pytest.raises(TableError, match="not an SQLite file"):
            Lut.open(path)

    def test_empty(self, path: Path) -> None:
        path.touch()
        with pytest.raises(TableError, match="not a lookup table"):
            Lut.open(path)

    def test_some_other_database(self, path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x)")
        db.close()
        with pytest.raises(TableError, match="not a lookup table of hwnas"):
            Lut.open(path)

    def test_newer(self, lut: Lut, path: Path) -> None:
        lut.close()
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version=2")
        db.close()
        with pytest.raises(NewerSchema, match="schema_version 2, this hwnas reads up to 1"):
            Lut.open(path)

    def test_cut_off(self, lut: Lut, path: Path) -> None:
        for i in range(20):
            put(lut, job(f"k{i}"), 1.0)
        lut.close()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(TableError, match="damaged"):
            Lut.open(path)

    def test_tables_missing(self, lut: Lut, path: Path) -> None:
        lut.close()
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE measurement")
        db.close()
        with Lut.open(path) as again, pytest.raises(TableError, match="damaged: no such table"):
            again.rows()

    def test_fingerprint_that_is_none(self, lut: Lut, path: Path) -> None:
        lut.close()
        with sqlite3.connect(path) as db:
            db.execute("UPDATE device SET fingerprint = '{}'")
        db.close()
        with Lut.open(path) as again, pytest.raises(TableError, match="damaged: fingerprint"):
            _ = again.fingerprint


class TestSchema1:
    """A file that a script made, so that every later hwnas is tested against it."""

    def test_is_read(self) -> None:
        with Lut.open(V1) as lut:
            assert lut.fingerprint.cpu == "AMD EPYC 25/17/1"
            assert lut.settings == Settings()
            assert [row.status for row in lut.rows()] == ["ok"] * 3 + ["error", "running", "ok"]
            assert lut.keys("block") == ["a" * 32, "b" * 32]
            assert [f.error for f in lut.failures()] == ["killed by SIGSEGV"]
            found = lut.measurement("b" * 32, "block")
            whole = lut.measurement("e" * 32, "subnet")
        assert found is not None and whole is not None
        assert (found.statistics.runs, found.p50_ms, found.p95_ms) == (101, 4.0, 4.045)
        assert found.load_bytes == 4_000_000
        assert (whole.label, whole.p50_ms) == ("d1", 5.5)

    def test_is_gone_on_with(self, tmp_path: Path) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(V1, copy)
        with Lut.open(V1) as lut:
            device = lut.fingerprint
        with Lut.resume(copy, device, Settings()) as lut:
            assert len(lut.rows()) == 5
            put(lut, job("new"), 1.0)
            assert lut.done("new", "block")
