"""Merging and comparing tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import OtherDevice, TableError, UsageError
from hwnas.profile import Settings
from hwnas.table import CostModel, Lut, merge
from hwnas.table.compare import compare, device_spread
from tests.support.bundles import make_bundle
from tests.support.tables import fill_blocks, fingerprint, put, put_subnet, turns


def table(path: Path, ms: dict[str, float], **device: object) -> Path:
    with Lut.create(path, fingerprint(**device), Settings()) as lut:
        for key, value in ms.items():
            put(lut, key, value, spread=0.01, load_bytes=round(value * 1000))
    return path


def test_devices_stand_side_by_side(tmp_path: Path) -> None:
    paths = [
        table(tmp_path / "a.db", {"k": 1.0, "only": 5.0}),
        table(tmp_path / "b.db", {"k": 1.1}, kernel="7"),
        table(tmp_path / "c.db", {"k": 1.3}),
    ]
    sources = merge(paths, tmp_path / "all.db")
    assert [(one.file, one.forced) for one in sources] == [(p.name, False) for p in paths]
    with Lut.open(tmp_path / "all.db") as lut:
        assert lut.sources() == sources and lut.notes() == []
        found = lut.measurement("k", "block")
        spread = {one.label: one for one in device_spread(lut)}
        assert [one.source for one in lut.each("k", "block")] == ["a.db", "b.db", "c.db"]
    assert found is not None
    assert found.p50_ms == pytest.approx(1.1), "the device in the middle"
    assert found.statistics.p50_interval_ms == (1.0, 1.3), "which holds every device"
    assert found.statistics.spread == pytest.approx(0.3 / 1.1)
    assert (found.load_bytes, found.ns.size) == (1300, 303)
    assert (spread["k/base"].devices, spread["k/base"].spread) == (3, pytest.approx(0.3))
    assert spread["only/base"].devices == 1


def test_the_worst_verdict_counts_and_says_whose(tmp_path: Path) -> None:
    with Lut.create(tmp_path / "a.db", fingerprint(), Settings()) as lut:
        put(lut, "k", 1.0)
    with Lut.create(tmp_path / "b.db", fingerprint(), Settings()) as lut:
        put(lut, "k", 2.0, verdict="flag", reasons=("hot",))
        put(lut, "wrong", 2.0, verdict="invalid", reasons=("off",))
        lut.fail("bad", "block", "bad/base", "crashed")
    merge([tmp_path / "a.db", tmp_path / "b.db"], tmp_path / "all.db")
    with Lut.open(tmp_path / "all.db") as lut:
        found = lut.measurement("k", "block")
        assert found is not None
        assert (found.verdict, found.reasons) == ("flag", ("b.db: hot",))
        assert lut.measurement("wrong", "block") is None
        assert [one.error for one in lut.failures()] == ["invalid: off", "crashed"]


def test_another_device_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    a = table(tmp_path / "a.db", {"k": 1.0})
    b = table(tmp_path / "b.db", {"k": 2.0}, cpu="other 9/9/9")
    with pytest.raises(
        OtherDevice, match=r"b\.db is of another device than .*a\.db: CPU"
    ) as caught:
        merge([a, b], tmp_path / "all.db")
    assert "--force" in caught.value.fix
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "b.db"]


def test_by_force_says_so_in_every_later_use(tmp_path: Path) -> None:
    bundle: Bundle = make_bundle(tmp_path / "net.hwnas")
    ms = dict.fromkeys(bundle.kinds().values(), 1.0)
    fill_blocks(tmp_path / "a.db", bundle, ms).close()
    with Lut.create(tmp_path / "b.db", fingerprint(threads=4), Settings()) as lut:
        put_subnet(lut, bundle, "max", 4.0)
    merge([tmp_path / "a.db", tmp_path / "b.db"], tmp_path / "ab.db", force=True)
    note = "b.db was merged by force, though its device differs: threads: 1 here, 4 there"
    with Lut.open(tmp_path / "ab.db") as lut:
        assert lut.notes() == [note]
        assert CostModel(bundle, lut).notes() == [note]
    table(tmp_path / "c.db", {"other": 1.0})
    merge([tmp_path / "c.db", tmp_path / "ab.db"], tmp_path / "abc.db")
    with Lut.open(tmp_path / "abc.db") as lut:
        assert lut.notes() == [f"ab.db/{note}"], "also when merged again"
        assert [one.file for one in lut.sources()] == ["c.db", "ab.db/a.db", "ab.db/b.db"]
    with Lut.resume(tmp_path / "abc.db", fingerprint(), Settings()) as lut:
        put(lut, "new", 1.0)
        assert len(lut.notes()) == 1


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    a = table(tmp_path / "a.db", {"k": 1.0})
    copy = tmp_path / "copy.db"
    copy.write_bytes(a.read_bytes())
    for paths in ([a], [a, a], [a, copy]):
        with pytest.raises(UsageError, match="two tables that differ"):
            merge(paths, tmp_path / "out.db")
    with pytest.raises(UsageError, match="exists"):
        merge([a, copy], copy)
    with pytest.raises(TableError, match="does not exist"):
        merge([a, tmp_path / "none.db"], tmp_path / "out.db")
    assert not (tmp_path / "out.db").exists()


def test_tables_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        table(tmp_path / folder / "lut.db", {"k": 1.0 if folder == "x" else 2.0})
    paths = [tmp_path / folder / "lut.db" for folder in ("x", "y")]
    assert [one.file for one in merge(paths, tmp_path / "out.db")] == [str(p) for p in paths]


def test_an_old_table_is_merged_as_it_is_read(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "data" / "lut_v1.db"
    with Lut.open(old) as lut:
        device = lut.fingerprint
    with Lut.create(tmp_path / "new.db", device, Settings()) as lut:
        put(lut, "a" * 32, 1.1)
    merge([old, tmp_path / "new.db"], tmp_path / "out.db")
    with Lut.open(tmp_path / "out.db") as lut:
        found = lut.measurement("a" * 32, "block")
    assert found is not None and found.verdict == "unknown" and found.p50_ms == pytest.approx(1.05)


class TestCompare:
    def test_ratios_with_their_intervals(self, tmp_path: Path) -> None:
        a = table(tmp_path / "a.db", {"same": 1.0, "slower": 1.0, "gone": 1.0})
        b = table(tmp_path / "b.db", {"same": 1.015, "slower": 1.2, "new": 1.0}, governor="x")
        with Lut.open(a) as first, Lut.open(b) as second:
            found = compare(first, second)
        same, slower = found.ratios
        assert (same.label, same.significant) == ("same/base", False)
        assert (slower.ratio, slower.significant) == (pytest.approx(1.2), True)
        low, high = slower.interval or (0, 0)
        # 2% are added for where weights come to lie, which no interval of one process holds.
        assert 1.17 < low < 1.19 and 1.21 < high < 1.23
        assert (found.only_first, found.only_second) == (("gone/base",), ("new/base",))
        assert found.differences == ()
        assert found.changes == ("governor: unknown here, x there",)

    def test_too_few_turns_mark_nothing(self, tmp_path: Path) -> None:
        paths = []
        for name, ms in (("a.db", 1.0), ("b.db", 9.0)):
            with Lut.create(tmp_path / name, fingerprint(), Settings()) as lut:
                put(lut, "k", ms, turns=turns(ms)[:3])
            paths.append(tmp_path / name)
        with Lut.open(paths[0]) as first, Lut.open(paths[1]) as second:
            [ratio] = compare(first, second).ratios
        assert (ratio.interval, ratio.significant) == (None, False)
        assert math.isclose(ratio.ratio, 9.0)
