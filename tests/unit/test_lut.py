from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import OtherDevice, ProfileError, UsageError
from hwnas.profile import Failure, Package, Settings
from hwnas.profile.record import Energy, OpenJob, Round, Turn
from hwnas.table import Lut, owner
from tests.support.tables import fingerprint, put, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lut.db"


@pytest.fixture
def lut(path: Path) -> Iterator[Lut]:
    with Lut.create(path, fingerprint(), Settings(relative_ci=0.05)) as made:
        yield made


def test_what_was_recorded_comes_back(lut: Lut, path: Path) -> None:
    turns = (Turn(1, 0, 9, (5, 3), 8, 8, 0), Turn(1, 1, None, (4,), 4, 4, None))
    rounds = (
        Round(1, 0, (1.0, 1.01), 0, {"temperature_c": 50.5}),
        Round(1, 1, (1.0, 1.0), None, {}),
    )
    energy = Energy(2.0, 100, 0.5, "rapl:package-0")
    given = record(
        "k",
        label="stem/base",
        turns=turns,
        rounds=rounds,
        verdict="flag",
        reasons=("few", "slow"),
        energy=energy,
        load_bytes=2000,
        run_bytes=1000,
    )
    lut.record(given)
    lut.close()
    with Lut.open(path) as again:
        found = again.measurement("k", "block")
        assert again.fingerprint == fingerprint()
        assert again.settings == Settings(relative_ci=0.05)
    assert found is not None
    assert (found.turns, found.rounds, found.energy) == (turns, rounds, energy)
    assert (found.verdict, found.reasons) == ("flag", ("few", "slow"))
    assert (found.output_error, found.outputs_ok, found.joules) == (1e-7, True, 0.02)
    assert found.ns.tolist() == [5, 3, 4]
    assert found.ns.dtype == np.int64 and not found.ns.flags.writeable
    assert (found.label, found.stopped_by) == ("stem/base", "converged")
    assert (found.load_bytes, found.run_bytes) == (2000, 1000)
    assert (found.p50_ms, found.cold_p50_ms) == (4e-6, 9e-6)


def test_what_was_not_measured_is_none(lut: Lut) -> None:
    assert lut.measurement("k", "block") is None
    put(lut, "k", 1.0)
    assert lut.measurement("k", "subnet") is None, "scopes are apart"
    assert not lut.done("k", "subnet")


def test_unknown_memory_is_null_not_zero(lut: Lut, path: Path) -> None:
    put(lut, "k", 1.0, load_bytes=None, run_bytes=None)
    found = lut.measurement("k", "block")
    assert found is not None and found.load_bytes is None and found.run_bytes is None
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT load_bytes FROM measurement").fetchall() == [(None,)]
    db.close()


def test_the_latest_good_one_wins(lut: Lut) -> None:
    put(lut, "k", 1.0)
    put(lut, "k", 2.0)
    lut.fail("k", "block", "k/base", "killed by SIGSEGV")
    put(lut, "k", 3.0, verdict="invalid", reasons=("wrong",))
    found = lut.measurement("k", "block", invalid=True)
    assert found is not None and found.p50_ms == 2.0
    assert lut.failures() == [], "it has a good measurement"
    assert lut.keys("block") == ["k"]


def test_failures_are_rows(lut: Lut) -> None:
    lut.fail("bad", "block", "head/base", "first")
    lut.fail("bad", "block", "head/base", "second")
    assert lut.done("bad", "block")
    assert lut.measurement("bad", "block") is None
    assert lut.failures() == [Failure("bad", "block", "head/base", "second")]
    assert [(row.status, row.error, row.runs) for row in lut.rows()] == [
        ("error", "first", 0),
        ("error", "second", 0),
    ]
    assert lut.clear_failures() == 2
    assert not lut.done("bad", "block")


def test_an_invalid_measurement_counts_as_failed_and_keeps_its_samples(lut: Lut) -> None:
    put(lut, "k", 1.0, verdict="invalid", reasons=("outputs are off by 0.11",), outputs_ok=False)
    assert lut.done("k", "block"), "it is not measured again unless that is asked for"
    assert lut.measurement("k", "block") is None and lut.keys("block") == []
    assert lut.failures() == [Failure("k", "block", "k/base", "invalid: outputs are off by 0.11")]
    kept = lut.measurement("k", "block", invalid=True)
    assert kept is not None and kept.p50_ms == 1.0 and lut.keys("block", invalid=True) == ["k"]
    assert lut.clear_failures() == 1
    assert not lut.done("k", "block")


def test_a_measurement_needs_runs(lut: Lut) -> None:
    for turns in ((), (Turn(1, 0, None, (), 1, 1, 0),)):
        with pytest.raises(ValueError, match="without runs"):
            lut.record(record("k", turns=turns))
    assert not lut.done("k", "block")


def test_open_jobs_last_until_they_are_closed(lut: Lut, path: Path) -> None:
    job = Package(document=b"{}", id="a" * 64, blobs={}, data={})
    lut.open_job(job, "ssh://pi@board")
    lut.open_job(job, "ssh://pi@board")
    lut.open_job(replace(job, id="b" * 64), "cpu")
    lut.close_job("b" * 64)
    lut.close_job("no such job")
    lut.close()
    with Lut.resume(path, fingerprint(), Settings()) as again:
        assert again.open_jobs() == [OpenJob("a" * 64, b"{}", "ssh://pi@board")]


def test_a_million_runs_are_written_and_read_in_seconds(lut: Lut) -> None:
    turns = tuple(Turn(1, i, None, tuple(range(1, 1001)), 1, 1, 0) for i in range(100))
    start = time.process_time()
    for i in range(10):
        lut.record(record(f"k{i}", turns=turns))
    found = lut.measurement("k7", "block")
    assert found is not None and found.ns.size == 100_000
    # A row for each run would take over 5 s to write; this takes about 1.
    assert time.process_time() - start < 4
    assert sum(row.runs for row in lut.rows()) == 1_000_000


def test_rounds_in_which_all_were_slow_do_not_count_against_an_item(lut: Lut) -> None:
    speed = [1.0, 1.0, 1.2, 1.2, 1.2, 1.0, 1.2]
    rounds = tuple(Round(1, i, (1.0, 1.0 + i / 1e6), 0, {}) for i in range(7))
    for k in range(6):
        ns = [round((k + 1) * 1e6 * factor) for factor in speed]
        turns = tuple(Turn(1, i, 2 * t, (t,), t, t, 0) for i, t in enumerate(ns))
        lut.record(record(f"k{k}", turns=turns[k % 3 :], rounds=rounds))
    found = [lut.measurement(f"k{k}", "block") for k in range(6)]
    ratios = [m.p50_ms / (k + 1) for k, m in enumerate(found) if m]
    assert ratios == pytest.approx([1.2] * 6), "whatever rounds they had, they compare"
    colds = [(m.cold_p50_ms or 0) / m.p50_ms for m in found if m]
    assert colds == pytest.approx([2.0] * 6)


def in_common_rounds(lut: Lut, speed: list[float], **changes: Any) -> None:
    """Six items of 1 to 6 ms, in rounds of which each was as much slower as ``speed`` says."""
    rounds = tuple(Round(1, i, (1.0, 1.0), 0, {}) for i in range(len(speed)))
    for k in range(6):
        ns = [round((k + 1) * 1e6 * factor) for factor in speed]
        turns = tuple(replace(Turn(1, i, None, (t,), t, t, 0), **changes) for i, t in enumerate(ns))
        lut.record(record(f"k{k}", turns=turns, rounds=rounds))


def test_rounds_are_not_shared_between_runs(path: Path) -> None:
    # Without a CPU counter's digits, canaries of two runs may well be the same.
    steady, slow = [1.0] * 7, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    with Lut.create(path, fingerprint(), Settings()) as lut:
        in_common_rounds(lut, slow)
        before = lut.measurement("k1", "block")
    with Lut.resume(path, fingerprint(), Settings()) as lut:
        in_common_rounds(lut, steady)
        after = lut._read("key = ?", ("k1",))
    assert before is not None
    assert after[0].factors == before.factors and set(after[1].factors) == {1.0}


def test_factors_are_those_of_what_the_table_holds_now(lut: Lut) -> None:
    in_common_rounds(lut, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    first = lut.measurement("k0", "block")
    lut._db.execute("DELETE FROM turn WHERE measurement IN (2, 3, 4, 5)")
    second = lut.measurement("k0", "block")
    assert first is not None and second is not None
    assert len(set(first.factors)) == 2 and set(second.factors) == {1.0}


@pytest.mark.parametrize(("threads", "known"), [(1, False), (2, True)])
def test_several_threads_are_not_said_to_have_waited(path: Path, threads: int, known: bool) -> None:
    with Lut.create(path, fingerprint(threads=threads), Settings(threads=threads)) as lut:
        in_common_rounds(lut, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0], cpu=1)
        found = lut.measurement("k0", "block")
    assert found is not None and (len(set(found.factors)) == 2) is known


def test_what_is_listed_drives_no_terminal(lut: Lut) -> None:
    lut.fail("bad", "block", "head/\x1b[2Jbase", "first\n\x1b]0;title\x07")
    [failure], [row] = lut.failures(), lut.rows()
    for text in (failure.label, failure.error, row.label, row.error or ""):
        assert text.isprintable() and text


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


def test_a_killed_write_leaves_nothing_half_done(lut: Lut, path: Path) -> None:
    put(lut, "good", 1.0)
    lut.fail("bad", "block", "bad/base", "crashed")
    lut.close()
    code = (
        "import os, sys; from hwnas.profile import Settings; from hwnas.table import Lut\n"
        "with Lut.open(sys.argv[1]) as reader: device = reader.fingerprint\n"
        "lut = Lut.resume(sys.argv[1], device, Settings())\n"
        "with lut._writing() as db:\n"
        "    db.execute('DELETE FROM measurement')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(path)], check=False)
    with Lut.resume(path, fingerprint(kernel="6.2"), Settings(threads=1)) as again:
        assert [row.key for row in again.rows()] == ["good", "bad"]
        assert again.done("good", "block") and again.done("bad", "block")
        put(again, "new", 2.0)
    with sqlite3.connect(path) as db:
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
    put(lut, "good", 1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["lut.db"], "one file is all there is"
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    with Lut.open(copy) as again:
        assert [(row.key, row.runs) for row in again.rows()] == [("good", 101)]


def test_open_does_not_write(lut: Lut, path: Path) -> None:
    lut.close()
    with Lut.open(path) as reader, pytest.raises(ProfileError, match="cannot write"):
        reader.fail("k", "block", "k/base", "no")
