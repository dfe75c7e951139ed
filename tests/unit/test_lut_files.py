"""Lookup tables as files: damaged ones, and those of older versions."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.errors import NewerSchema, OtherDevice, TableError
from hwnas.profile import Settings
from hwnas.profile.record import OpenJob
from hwnas.table import Lut
from hwnas.table.records import Imported
from hwnas.table.upgrade import UNJUDGED
from tests.support.tables import fingerprint, put

DATA = Path(__file__).parents[1] / "data"
V1, V2, V3 = DATA / "lut_v1.db", DATA / "lut_v2.db", DATA / "lut_v3.db"
IMPORTED = DATA / "imported_v3.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lut.db"


@pytest.fixture
def lut(path: Path) -> Iterator[Lut]:
    with Lut.create(path, fingerprint(), Settings()) as made:
        yield made


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
            db.execute("PRAGMA user_version=4")
        db.close()
        with pytest.raises(NewerSchema, match="schema_version 4, this hwnas reads up to 3"):
            Lut.open(path)

    def test_cut_off(self, lut: Lut, path: Path) -> None:
        for i in range(20):
            put(lut, f"k{i}", 1.0)
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

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ("UPDATE turn SET ns = x'0000000000000000'", "something else than ns"),
            ("UPDATE turn SET ns = x'01'", "something else than ns"),
            ("UPDATE turn SET ns = 'text'", "something else than ns"),
            ("UPDATE turn SET wall = -1", "something else than ns"),
            ("UPDATE turn SET sitting = 'one'", "no whole number"),
            ("DELETE FROM turn", "no samples"),
            ("UPDATE round SET readings = '[1]'", "readings"),
            ("UPDATE round SET readings = '{\"a\": NaN}'", "no number"),
            ("UPDATE round SET canary_before = 'slow'", "no number"),
            ("UPDATE measurement SET reasons = '[[1]]'", "no text"),
            ("UPDATE measurement SET reasons = '" + "[" * 100_000 + "'", "damaged"),
            ("UPDATE measurement SET load_bytes = 'much'", "no whole number"),
            ("UPDATE measurement SET joules = 1.0, energy_runs = 0", "energy"),
            ("UPDATE measurement SET run = 99", "names no device"),
        ],
    )
    def test_what_it_holds_is_not_trusted(
        self, lut: Lut, path: Path, change: str, says: str
    ) -> None:
        put(lut, "k", 1.0)
        lut.close()
        with sqlite3.connect(path) as db:
            db.execute(change)
        db.close()
        with Lut.open(path) as again, pytest.raises(TableError, match="damaged") as caught:
            again.measurement("k", "block")
        assert says in str(caught.value)


class TestSchema1:
    """A file that a script made, so that every later hwnas is tested against it."""

    def test_is_read_and_not_changed(self) -> None:
        before = V1.read_bytes()
        with Lut.open(V1) as lut:
            assert lut.fingerprint.cpu == "AMD EPYC 25/17/1"
            assert lut.settings == Settings(warmup_window_s=0.02), "what it says, where known"
            assert [row.status for row in lut.rows()] == ["ok"] * 3 + ["error", "ok"]
            assert lut.keys("block") == ["a" * 32, "b" * 32]
            assert [f.error for f in lut.failures()] == ["killed by SIGSEGV"]
            found = lut.measurement("b" * 32, "block")
            whole = lut.measurement("e" * 32, "subnet")
        assert found is not None and whole is not None
        assert (found.statistics.runs, found.p50_ms, found.p95_ms) == (101, 4.0, 4.045)
        assert found.statistics.p50_interval_ms == (3.99, 4.01), "of its one series of runs"
        assert (found.verdict, found.reasons) == ("unknown", (UNJUDGED,))
        assert (found.cold_p50_ms, found.statistics.spread, found.outputs_ok) == (None, None, None)
        assert found.load_bytes == 4_000_000
        assert (whole.label, whole.p50_ms) == ("d1", 5.5)
        assert V1.read_bytes() == before

    def test_is_gone_on_with(self, tmp_path: Path) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(V1, copy)
        with Lut.open(V1) as lut:
            device = lut.fingerprint
            before = [lut.measurement(key, "block") for key in lut.keys("block")]
        with Lut.resume(copy, device, Settings()) as lut:
            put(lut, "new", 1.0)
        with Lut.open(copy) as lut:
            assert len(lut.rows()) == 6
            after = [lut.measurement(key, "block") for key in lut.keys("block")]
            assert lut.done("new", "block") and lut.done("c" * 32, "block")
        pairs = zip(before, after, strict=False)
        assert all(a and b and a.turns == b.turns and a.verdict == b.verdict for a, b in pairs)
        with sqlite3.connect(copy) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (3,)
            query = "SELECT count(*) FROM sqlite_master WHERE name IN ('sample', 'measurement_1')"
            assert db.execute(query).fetchone() == (0,)
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.close()

    def test_of_another_device_is_left_as_it_is(self, tmp_path: Path) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(V1, copy)
        with pytest.raises(OtherDevice):
            Lut.resume(copy, fingerprint(), Settings())
        assert copy.read_bytes() == V1.read_bytes()

    def test_a_damaged_one_is_left_as_it_is(self, tmp_path: Path) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(V1, copy)
        with sqlite3.connect(copy) as db:
            db.execute("UPDATE sample SET ns = 'text' WHERE position = 7 AND measurement = 1")
        db.close()
        before = copy.read_bytes()
        with Lut.open(V1) as lut:
            device = lut.fingerprint
        with pytest.raises(TableError, match="damaged: the measurement of stem/base"):
            Lut.open(copy)
        with pytest.raises(TableError, match="damaged: the measurement of stem/base"):
            Lut.resume(copy, device, Settings())
        assert copy.read_bytes() == before


class TestSchemas2And3:
    @pytest.mark.parametrize("file", [V2, V3])
    def test_is_read(self, file: Path) -> None:
        with Lut.open(file) as lut:
            assert lut.fingerprint.machine == "aarch64"
            assert lut.settings.relative_ci == 0.01
            assert lut.keys("block") == ["a" * 32, "b" * 32]
            assert [(f.label, f.error) for f in lut.failures()] == [
                ("layers.0/h16", "invalid: outputs are off by 0.11 of their size"),
                ("head/base", "killed by SIGSEGV"),
            ]
            assert lut.open_jobs() == [
                OpenJob("f" * 64, b'{"schema_version": 1}', "ssh://pi@board")
            ]
            stem, layer = (lut.measurement(key * 32, "block") for key in "ab")
            whole = lut.measurement("e" * 32, "subnet")
        assert stem is not None and layer is not None and whole is not None
        found = stem.statistics
        # Two sittings at 1 and 1.01 ms; the throttled last round of each is left out.
        assert (found.runs, found.turns, found.flagged) == (42, 14, 2)
        assert found.p50_ms == pytest.approx(1.005, abs=1e-4)
        assert found.spread == pytest.approx(0.01, rel=0.02)
        assert found.cold_p50_ms == pytest.approx(1.25625, abs=1e-4)
        assert found.p50_interval_ms == pytest.approx((1.0, 1.01), abs=1e-4)
        assert stem.joules == 0.005
        assert (layer.verdict, layer.reasons) == (
            "flag",
            ("the clock was lower in 2 of 7 rounds",),
        )
        assert (whole.label, whole.load_bytes, whole.energy) == ("d1", None, None)

    def test_schema_2_is_gone_on_with(self, tmp_path: Path) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(V2, copy)
        with Lut.open(V2) as lut:
            device, before = lut.fingerprint, lut.rows()
        with Lut.resume(copy, device, Settings()) as lut:
            put(lut, "new", 1.0)
        with Lut.open(copy) as lut:
            assert lut.rows()[:-1] == before
        with sqlite3.connect(copy) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (3,)
            assert db.execute("SELECT count(*) FROM imported").fetchone() == (0,)
        db.close()


class TestImported:
    def test_is_read(self) -> None:
        with Lut.open(IMPORTED) as lut:
            assert lut.fingerprint.cpu == "Galaxy Note10" and lut.fingerprint.runtime == "imported"
            block, within = (lut.measurement(key * 32, "block") for key in "ab")
            whole = lut.measurement("c" * 32, "subnet")
            (note,) = lut.notes()
        assert block is not None and within is not None and whole is not None
        assert block.imported == Imported(
            1.5,
            0.05,
            50,
            "224_lookup_table.yaml",
            "expanded_conv-input:8x8x16-output:8x8x16-expand:48-kernel:3-stride:1-idskip:1-se:0-hs:0",
        )
        assert (block.p50_ms, block.statistics.runs, block.verdict) == (1.5, 50, "unknown")
        assert block.cold_p50_ms is None and block.memory_bytes is None and not block.turns
        assert within.p50_ms == 0 and within.reasons[1] == "within"
        assert (whole.label, whole.p50_ms) == ("d1", 5.25)
        assert note.startswith("imported from 224_lookup_table.yaml, rows.csv: p50 is the mean")

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE imported SET mean_ms = 9e999 WHERE measurement = 1",
            "UPDATE imported SET file = x'00' WHERE measurement = 1",
            "UPDATE imported SET entry = char(27) WHERE measurement = 1",
            "UPDATE imported SET count = 1.5 WHERE measurement = 1",
            "DELETE FROM imported WHERE measurement = 1",
            "INSERT INTO turn VALUES (1, 0, 0, 0, NULL, 0, 0, NULL, zeroblob(8))",
        ],
    )
    def test_what_it_holds_is_not_trusted(self, tmp_path: Path, change: str) -> None:
        copy = tmp_path / "lut.db"
        shutil.copy(IMPORTED, copy)
        with sqlite3.connect(copy) as db:
            db.execute(change)
        db.close()
        with Lut.open(copy) as lut, pytest.raises(TableError, match="damaged"):
            lut.measurement("a" * 32, "block")
