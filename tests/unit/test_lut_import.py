"""Tables that others measured: what is read, what is refused, and what comes of it."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hwnas.bundle import Bundle
from hwnas.cli.main import cli
from hwnas.errors import (
    MissingMeasurements,
    OtherDevice,
    TableError,
    UsageError,
)
from hwnas.profile import Settings
from hwnas.table import CostModel, Lut, merge
from hwnas.table.compare import compare
from hwnas.table.importing import (
    Entry,
    import_ofa,
    import_subnets,
    write_imported,
)
from hwnas.table.importing.entries import pooled_entry
from hwnas.table.imports import imported_fingerprint, is_imported
from tests.support.bundles import make_bundle
from tests.support.mobile import CLASSES, make_mobile
from tests.support.tables import fill_blocks, fingerprint, put

HEAD = {"Conv_2-input:1x1x32-output:1x1x48": 0.25, f"Logits-input:1x1x48-output:{CLASSES}": 0.125}


def layers(resolution: int) -> dict[str, float]:
    """The layers of ``make_mobile`` as Once-for-All names them, each with a time of its own."""
    r, h, q = resolution, resolution // 2, resolution // 4
    names = [
        f"Conv-input:{r}x{r}x3-output:{h}x{h}x8",
        f"expanded_conv-input:{h}x{h}x8-output:{h}x{h}x8-expand:8-kernel:3-stride:1-idskip:1-se:0-hs:0",
        *(
            f"expanded_conv-input:{h}x{h}x8-output:{q}x{q}x16-expand:{8 * e}-kernel:{k}-stride:2"
            "-idskip:0-se:1-hs:1"
            for k, e in ((3, 3), (5, 6))
        ),
        *(
            f"expanded_conv-input:{q}x{q}x16-output:{q}x{q}x16-expand:{16 * e}-kernel:{k}-stride:1"
            "-idskip:1-se:0-hs:0"
            for k, e in ((3, 3), (5, 6))
        ),
        f"Conv_1-input:{q}x{q}x16-output:{q}x{q}x32",
        f"AvgPool2D-input:{q}x{q}x32-output:1x1x32",
    ]
    return {name: round(r / 100 + i / 7, 4) for i, name in enumerate(names)} | HEAD


def table(path: Path, ms: dict[str, float], std: float = 0.01) -> Path:
    rows = [f"{key}: {{count: 50, mean: {mean}, std: {std}}}" for key, mean in ms.items()]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_mobile(tmp_path_factory.mktemp("bundle") / "net.hwnas")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [table(tmp_path / f"{r}_lookup_table.yaml", layers(r)) for r in (32, 48)]


def imported(path: Path, bundle: Bundle, files: list[Path]) -> Lut:
    device = imported_fingerprint("Galaxy Note10")
    write_imported(path, device, import_ofa(bundle, files), files, "ofa-yaml")
    return Lut.open(path)


class TestBlocks:
    def test_a_subnet_costs_the_plain_sum_of_its_layers(
        self, tmp_path: Path, bundle: Bundle, files: list[Path]
    ) -> None:
        """What the authors' estimator adds up for the same network (section 3.4 of the paper)."""
        subnet = bundle.manifest.space.find("r48-d2-stage.0.k3e3-stage.1.k5e6")
        taken = list(layers(48).items())
        by_hand = math.fsum(ms for i, (_, ms) in enumerate(taken) if i not in (3, 4))
        with imported(tmp_path / "l.db", bundle, files) as lut:
            model = CostModel(bundle, lut)
            cost = model.predict(subnet)
            found = model.additive().metrics
            assert cost.p50_ms == pytest.approx(by_hand, rel=1e-12)
            assert all(map(math.isnan, (cost.p95_ms, cost.memory_bytes, cost.energy_j)))
            assert cost.macs > 0 and cost.weight_bytes == bundle.weight_bytes(subnet)
            assert found["p50"] is not None and found["p95"] is None and found["memory"] is None
            p50, p95, _ = model.describe()
            assert p50 == "p50: plain sum of blocks, not calibrated"
            assert p95 == "p95: not known, since only means were imported"
            (note,) = model.notes()
        assert note.startswith(
            "imported from 32_lookup_table.yaml, 48_lookup_table.yaml: p50 is the mean"
        )

    @pytest.mark.parametrize("spelled", [False, True])
    def test_proxyless_tables_price_the_classifier_with_the_pooling(
        self, tmp_path: Path, spelled: bool
    ) -> None:
        net = make_mobile(tmp_path / "n", (32,), proxyless=True, spelled=spelled)
        ms = {
            "Conv-input:32x32x3-output:16x16x8": 1.0,
            "expanded_conv-input:16x16x8-output:16x16x8-expand:1-kernel:3-stride:1-idskip:1": 2.0,
            "expanded_conv-input:16x16x8-output:8x8x16-expand:3-kernel:3-stride:2-idskip:0": 4.0,
            "expanded_conv-input:16x16x8-output:8x8x16-expand:6-kernel:5-stride:2-idskip:0": 8.0,
            "expanded_conv-input:8x8x16-output:8x8x16-expand:3-kernel:3-stride:1-idskip:1": 16.0,
            "expanded_conv-input:8x8x16-output:8x8x16-expand:6-kernel:5-stride:1-idskip:1": 32.0,
            "Conv_1-input:8x8x16-output:8x8x32": 64.0,
            f"Logits-input:8x8x32-output:{CLASSES}": 128.0,
        }
        with imported(tmp_path / "l.db", net, [table(tmp_path / "t.yaml", ms)]) as lut:
            largest = net.manifest.space.largest()
            assert CostModel(net, lut).predict(largest).p50_ms == 1 + 2 + 8 + 32 + 64 + 128
            head = lut.measurement(net.manifest.blocks["head/base"].kind, "block")
            assert head is not None and head.p50_ms == 0
            assert "in another block's entry" in head.reasons[1]
            assert compare(lut, lut).ratios, "0 over 0 is left out"

    def test_blocks_whose_operators_are_spelled_out(
        self, tmp_path: Path, bundle: Bundle, files: list[Path]
    ) -> None:
        spelled = make_mobile(tmp_path / "n", spelled=True)
        ours = {row.label: row.value for row in import_ofa(spelled, files)}
        assert ours == {row.label: row.value for row in import_ofa(bundle, files)}

    def test_a_block_of_several_layers(self, bundle: Bundle, files: list[Path]) -> None:
        rows = {row.label: row for row in import_ofa(bundle, files)}
        stem = rows["stem/r32"].value
        first, second = list(layers(32))[:2]
        assert stem.entry == f"{first} + {second}" and stem.file == "32_lookup_table.yaml"
        assert stem.mean_ms == pytest.approx(layers(32)[first] + layers(32)[second])
        assert stem.std_ms == pytest.approx(math.hypot(0.01, 0.01)) and stem.count == 50

    def test_what_several_files_say_of_one_layer_is_averaged(
        self, tmp_path: Path, bundle: Bundle, files: list[Path]
    ) -> None:
        other = layers(48) | dict.fromkeys(HEAD, 0.5)
        table(files[1], other)
        rows = {row.label: row for row in import_ofa(bundle, files)}
        head = rows["head/base"]
        assert head.value.mean_ms == pytest.approx((0.25 + 0.5) / 2 + (0.125 + 0.5) / 2)
        assert "2 files say 0.25 to 0.5 ms, and the mean counts" in head.note
        assert rows["stem/r32"].note == ""

    def test_runs_weigh_what_is_averaged(self) -> None:
        found = pooled_entry([Entry("k", 1.0, 0.0, 30, "a"), Entry("k", 5.0, 0.0, 10, "b")])
        assert (found.mean_ms, found.count, found.file) == (2.0, 40, "a, b")
        assert found.std_ms == pytest.approx(math.sqrt(3.0))
        unknown = pooled_entry([Entry("k", 1.0, None, None, "a"), Entry("k", 5.0, 0.0, 10, "b")])
        assert (unknown.mean_ms, unknown.std_ms, unknown.count) == (3.0, None, None)

    def test_layers_that_no_file_has_are_named_with_their_blocks(
        self, bundle: Bundle, files: list[Path]
    ) -> None:
        with pytest.raises(MissingMeasurements) as caught:
            import_ofa(bundle, files[:1])
        assert "the tables lack 8 layers: stem/r48: Conv-input:48x48x3" in caught.value.cause
        assert "--resolution" in caught.value.fix
        short = {key: ms for key, ms in layers(48).items() if "expand:96" not in key}
        with pytest.raises(MissingMeasurements, match=r"1 layers: stage\.1/k5e6\.r48: expanded_"):
            import_ofa(bundle, [files[0], table(files[1], short)])

    def test_two_sorts_of_tables_are_not_mixed(self, bundle: Bundle, files: list[Path]) -> None:
        key = "expanded_conv-input:8x8x16-output:8x8x16-expand:3-kernel:3-stride:1-idskip:1"
        with pytest.raises(TableError, match="others as in those of ProxylessNAS"):
            import_ofa(bundle, [files[0], table(files[1], {key: 1.0})])
        with pytest.raises(TableError, match="no layer whose name begins with expanded_conv"):
            import_ofa(bundle, [table(files[0], {"Conv-input:1": 1.0})])

    def test_blocks_of_other_networks_are_refused(self, tmp_path: Path, files: list[Path]) -> None:
        with pytest.raises(TableError, match=r"layers\.0/h8 holds a sum that belongs to no layer"):
            import_ofa(make_bundle(tmp_path / "mlp"), files)


class TestTable:
    @pytest.fixture
    def path(self, tmp_path: Path, bundle: Bundle, files: list[Path]) -> Path:
        imported(tmp_path / "l.db", bundle, files).close()
        return tmp_path / "l.db"

    def test_nothing_measured_is_added(self, path: Path) -> None:
        before = path.read_bytes()
        with Lut.open(path) as lut:
            device = lut.fingerprint
        assert is_imported(device)
        for one in (device, fingerprint()):
            with pytest.raises(OtherDevice, match="imported"):
                Lut.resume(path, one, Settings())
        assert path.read_bytes() == before

    def test_it_is_not_merged_with_what_was_measured(
        self, tmp_path: Path, bundle: Bundle, path: Path
    ) -> None:
        measured = tmp_path / "m.db"
        with fill_blocks(measured, bundle, {}) as lut:
            put(lut, "k", 1.0)
        for order in ([path, measured], [measured, path]):
            with pytest.raises(OtherDevice, match="one was measured and the other one imported"):
                merge(order, tmp_path / "both.db", force=True)
        assert not (tmp_path / "both.db").exists()

    def test_a_row_of_the_other_sort_is_refused(
        self, tmp_path: Path, bundle: Bundle, path: Path
    ) -> None:
        with fill_blocks(tmp_path / "m.db", bundle, {}) as lut:
            put(lut, "k", 1.0)
        runs = np.array([5], dtype="<i8").tobytes()
        for file, gone, statement, value in (
            ("m.db", "turn", "INSERT INTO imported VALUES (1, ?, NULL, NULL, 'f', 'e')", 0.0),
            ("l.db", "imported", "INSERT INTO turn VALUES (1, 0, 0, 0, NULL, 1, 1, NULL, ?)", runs),
        ):
            with closing(sqlite3.connect(tmp_path / file)) as db, db:
                db.execute(f"DELETE FROM {gone} WHERE measurement = 1")
                db.execute(statement, (value,))
            with Lut.open(tmp_path / file) as lut, pytest.raises(TableError, match="it mixes"):
                for one in lut.keys("block"):
                    lut.measurement(one, "block")

    def test_two_of_one_device_are_merged(
        self, tmp_path: Path, bundle: Bundle, files: list[Path], path: Path
    ) -> None:
        for file, r in zip(files, (32, 48), strict=True):
            table(file, {key: 3 * ms for key, ms in layers(r).items()})
        imported(tmp_path / "other.db", bundle, files).close()
        merge([path, tmp_path / "other.db"], tmp_path / "both.db")
        largest = bundle.manifest.space.largest()
        with Lut.open(path) as one, Lut.open(tmp_path / "both.db") as both:
            single = CostModel(bundle, one).predict(largest).p50_ms
            assert CostModel(bundle, both).predict(largest).p50_ms == pytest.approx(2 * single)
            assert both.notes()[0].startswith("imported from")

    def test_whole_subnets_calibrate_blocks_of_the_same_device(
        self, tmp_path: Path, bundle: Bundle, path: Path
    ) -> None:
        largest = bundle.manifest.space.largest()
        with Lut.open(path) as blocks:
            plain = CostModel(bundle, blocks).predict(largest).p50_ms
        file = tmp_path / "w.csv"
        file.write_text(f"subnet,latency_ms\nmax,{1.25 * plain!r}\n")
        rows, _ = import_subnets(bundle, [file])
        device = imported_fingerprint("Galaxy Note10")
        write_imported(tmp_path / "w.db", device, rows, [file], "csv")
        merge([path, tmp_path / "w.db"], tmp_path / "both.db")
        smallest = bundle.manifest.space.smallest()
        with Lut.open(path) as blocks, Lut.open(tmp_path / "both.db") as both:
            before = CostModel(bundle, blocks).predict(smallest).p50_ms
            model = CostModel(bundle, both)
            assert model.predict(smallest).p50_ms == pytest.approx(1.25 * before)
            assert model.cost(largest).measured and model.cost(largest).p50_ms == 1.25 * plain

    def test_an_older_file_is_never_replaced(self, bundle: Bundle, path: Path) -> None:
        device = imported_fingerprint("x")
        with pytest.raises(UsageError, match="a table of their own"):
            write_imported(path, device, [], [], "csv")


class TestCommand:
    def run(self, *words: str | Path) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["lut", *map(str, words)])
        text = done.output
        if done.exception and not isinstance(done.exception, SystemExit):
            text += str(done.exception)
        return done.exit_code, text

    def test_import_show_and_export(
        self, tmp_path: Path, bundle: Bundle, files: list[Path]
    ) -> None:
        path = tmp_path / "l.db"
        more = ("--from", "ofa-yaml", "--bundle", bundle.path, "--device", "Galaxy Note10")
        code, text = self.run("import", *files, *more, "-o", path)
        assert code == 0 and "13 kinds of block imported; next: hwnas select" in text
        assert "p95 and memory are not known" in text
        code, text = self.run("show", path)
        assert code == 0 and "Galaxy Note10" in text and "unknown: " in text and "nan" not in text
        code, text = self.run("show", path, "--format", "json")
        shown = json.loads(text)["measurements"]
        assert len(shown) == 13 and {row["p95_ms"] for row in shown} == {None}
        for name in ("l.csv", "l.json"):
            code, text = self.run("export", path, "-o", tmp_path / name)
            assert code == 0 and "13 rows" in text
        assert json.loads((tmp_path / "l.json").read_text())["notes"]

    def test_columns(self, tmp_path: Path) -> None:
        net = make_bundle(tmp_path / "net.hwnas")
        file = tmp_path / "t.csv"
        file.write_text("depth,width,temperature,latency_ms\n2,8,40,4\n")
        words = ("import", file, "--from", "csv", "--bundle", net.path, "--device", "board")
        columns = ("--map", "depth=d", "--map", "width=layers.0")
        code, text = self.run(*words, *columns, "-o", tmp_path / "l.db", "--format", "json")
        found = json.loads(text)
        assert code == 0 and found["rows"] == 1
        assert found["notes"][-1] == "columns that say nothing of which subnet it is: temperature"

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (("--device", " "), "no name that can be shown"),
            (("--device", "\x1b[2J"), "no name that can be shown"),
            (("--device", "x", "--map", "d"), "is no COLUMN=NAME"),
            (("--device", "x", "--map", "a=d", "--map", "a=e"), "mapped already"),
        ],
    )
    def test_usage(self, tmp_path: Path, bundle: Bundle, more: tuple[str, ...], said: str) -> None:
        file = tmp_path / "t.csv"
        file.write_text("subnet,latency_ms\nmax,4\n")
        words = ("import", file, "--from", "csv", "--bundle", bundle.path, *more)
        code, text = self.run(*words, "-o", tmp_path / "l.db")
        assert code != 0 and said in text and not (tmp_path / "l.db").exists()

    def test_an_export_that_is_missing_is_named(self, tmp_path: Path, bundle: Bundle) -> None:
        words = ("--from", "ofa-yaml", "--bundle", bundle.path, "--device", "x")
        code, text = self.run("import", tmp_path / "none.yaml", *words, "-o", tmp_path / "l.db")
        assert code != 0 and "cannot read" in text
