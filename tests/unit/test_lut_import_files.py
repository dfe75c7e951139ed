"""Files that others measured: what is read of YAML and CSV, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import MissingExtra, MissingMeasurements, TableError, UnknownName, UsageError
from hwnas.table import CostModel, Lut
from hwnas.table.importing import (
    Entry,
    import_subnets,
    read_ofa_yaml,
    read_subnets,
    write_imported,
)
from hwnas.table.imports import imported_fingerprint
from tests.support.bundles import make_bundle


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("chain") / "net.hwnas")


class TestYaml:
    KEY = "expanded_conv-input:8x8x16"

    def read(self, tmp_path: Path, text: str) -> dict[str, Entry]:
        path = tmp_path / "t.yaml"
        path.write_text(text)
        return read_ofa_yaml(path)

    def test_both_ways_of_writing_mappings(self, tmp_path: Path) -> None:
        found = self.read(
            tmp_path,
            f"{self.KEY}:\n  count: 31\n  mean: 1.5\n  std: 0\nConv_1:\n  {{mean: 2.5e-1}}\n",
        )
        assert found[self.KEY] == Entry(self.KEY, 1.5, 0.0, 31, "t.yaml")
        assert found["Conv_1"] == Entry("Conv_1", 0.25, None, None, "t.yaml")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "no mapping of layers"),
            ("- a\n", "no mapping of layers"),
            ("{}", "holds no layer"),
            ("k: 1.5", "line 1: k is not a mapping with mean"),
            ("k: {count: 3}", "line 1: k has no mean"),
            ("k: {mean: [1]}", "not a mapping of numbers"),
            ("k: {mean: 1, p50: 2}", "field 'p50' is not one of count, mean, std"),
            ("k: {mean: 1, mean: 2}", "field 'mean' is twice"),
            ("a: {mean: 1}\nk: {mean: 0}", "line 2: the mean of k is '0', and must be a number ab"),
            ("k: {mean: -1}", "above 0"),
            ("k: {mean: .nan}", "above 0"),
            ("k: {mean: nan}", "above 0"),
            ("k: {mean: .inf}", "above 0"),
            ("k: {mean: 1e300}", "no run takes"),
            ("k: {mean: fast}", "above 0"),
            ("k: {mean: 1, std: -2}", "not below 0"),
            ("k: {mean: 1, count: 2.5}", "no whole number"),
            ("k: {mean: 1, count: 0}", "above 0"),
            ("k: {mean: 1}\nk: {mean: 2}", "line 2: k is there twice"),
            ("a: &x {mean: 1}\nb: *x", "line 1: aliases and anchors are not read"),
            ("a: {mean: *x}", "line 1"),
            ("k: !!python/object/apply:os.system [ls]", "the tag 'tag:yaml.org,2002:python/obje"),
            ("k: {mean: 1}\n---\nk: {mean: 1}", "more than one document"),
            ("k: {mean: 1", "is no YAML"),
            ("k: {mean: 1}\n\tj: 2", "line 2 is no YAML"),
            ('"a\\e[2J": {mean: 1}', "cannot be shown"),
            ("? [a]\n: {mean: 1}", "the name of a layer is no text"),
            ("[" * 3000, "no mapping of layers"),
            ("k: " + "{a: " * 3000, "not a mapping of numbers"),
        ],
    )
    def test_anything_else_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(TableError) as caught:
            self.read(tmp_path, text)
        assert said in str(caught.value) and caught.value.fix

    def test_files_that_cannot_be_such_tables(self, tmp_path: Path) -> None:
        with pytest.raises(TableError, match="cannot read"):
            read_ofa_yaml(tmp_path / "none.yaml")
        (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(TableError, match="no text in UTF-8"):
            read_ofa_yaml(tmp_path / "b.yaml")
        with (tmp_path / "large.yaml").open("wb") as file:
            file.truncate(50_000_001)
        with pytest.raises(TableError, match="at most 50,000,000"):
            read_ofa_yaml(tmp_path / "large.yaml")

    def test_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(MissingExtra) as caught:
            self.read(tmp_path, "k: {mean: 1}")
        assert caught.value.fix == "pip install 'hwnas[ofa]'"


HAT = (
    "encoder_embed_dim,encoder_layer_num,encoder_ffn_embed_dim_avg,latency_mean_encoder,"
    "latency_mean_decoder,latency_std_encoder,latency_std_decoder\n"
)


class TestSubnets:
    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "t.csv"
        path.write_text(text)
        return path

    def test_hardware_aware_transformers(self, tmp_path: Path, chain: Bundle) -> None:
        path = self.write(tmp_path, HAT + "640,2,16.0,10.5,70.25,0.3,0.4\n512,3,8,9,60,0,0\n")
        first, _ = read_subnets(path, hat=True)
        assert first.entry == Entry("line 2", 80.75, 0.5, None, "t.csv")
        assert first.features["encoder_layer_num"] == "2" and len(first.features) == 3
        columns = {"encoder_layer_num": "d", "encoder_ffn_embed_dim_avg": "layers.0"}
        rows, ignored = import_subnets(chain, [path], columns, hat=True)
        assert [(row.label, row.value.mean_ms) for row in rows] == [
            ("d2-h16", 80.75),
            ("d3-h8", 69),
        ]
        assert ignored == ["encoder_embed_dim"]
        device = imported_fingerprint("Raspberry Pi 4", threads=4)
        write_imported(tmp_path / "l.db", device, rows, [path], "hat-csv")
        with Lut.open(tmp_path / "l.db") as lut:
            subnet = chain.manifest.space.find("d2-h16")
            whole = lut.measurement(chain.subnet_kind(subnet), "subnet")
            assert whole is not None and whole.p50_ms == 80.75 and math.isnan(whole.p95_ms)
            assert (whole.verdict, whole.statistics.runs, whole.threads) == ("unknown", 0, 4)
            assert lut.settings.threads == 4
            with pytest.raises(MissingMeasurements) as caught:
                CostModel(chain, lut)
            assert "hwnas lut import" in caught.value.fix

    def test_a_mean_over_layers_that_differ_names_no_subnet(
        self, tmp_path: Path, chain: Bundle
    ) -> None:
        path = self.write(tmp_path, HAT + "640,2,13.33,10,70,0.3,0.4\n")
        columns = {"encoder_layer_num": "d", "encoder_ffn_embed_dim_avg": "layers.0"}
        with pytest.raises(TableError, match=r"layers\.0 is 13\.33, a mean over layers that diff"):
            import_subnets(chain, [path], columns, hat=True)

    @pytest.mark.parametrize(
        ("text", "labels"),
        [
            ("subnet,latency_ms\nd2-h16,4\nmax,8\n", {"d2-h16": 4.0, "d3-h16": 8.0}),
            ("d,layers.1,latency_us\n2,h8,4000\n", {"d2-h8": 4.0}),
            ("d,layers.0,latency_s,std_s,count\n1,16,.004,0,9\n", {"d1-h16": 4.0}),
        ],
    )
    def test_columns_named_as_the_space(
        self, tmp_path: Path, chain: Bundle, text: str, labels: dict[str, float]
    ) -> None:
        rows, ignored = import_subnets(chain, [self.write(tmp_path, text)])
        assert {row.label: row.value.mean_ms for row in rows} == pytest.approx(labels)
        assert ignored == []

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "holds no row"),
            ("subnet,latency_ms\n", "holds no row"),
            ("subnet,latency\nmax,4\n", "the unit of 'latency' is not known; name it one of"),
            ("subnet,latency_cycles\nmax,4\n", "the unit of 'latency_cycles' is not known"),
            ("subnet,ms\nmax,4\n", "no column of latencies"),
            ("subnet,latency_ms,latency_s\nmax,4,4\n", "several latencies"),
            ("subnet,subnet,latency_ms\nmax,max,4\n", "the column 'subnet' is there twice"),
            ("subnet,,latency_ms\nmax,,4\n", "a column has no name"),
            ("subnet,latency_ms\nmax\n", "line 2: 1 cells under 2 columns"),
            ("subnet,latency_ms\nmax,-4\n", "line 2: latency_ms is '-4'"),
            ("subnet,latency_ms\nmax,nan\n", "latency_ms is 'nan'"),
            ("subnet,latency_ms\nmax,0\n", "latency_ms is '0'"),
            ("subnet,latency_ms,std_ms\nmax,4,-1\n", "std_ms is '-1'"),
            ("subnet,latency_ms\nd9,4\n", "line 2 does not say which subnet it is: unknown subnet"),
            ("d,latency_ms\n2,4\n", "does not say which subnet it is: unknown choice at layers.0"),
            (
                "subnet,latency_ms\nmax,4\nd3-h16,5\n",
                "line 3: d3-h16 was there before, t.csv, line 2",
            ),
            ('subnet,latency_ms\n"max,4\n', "is no CSV"),
            ("subnet,latency_ms,\x1b[2J\nmax,4,1\n", r"the column '\x1b[2J' cannot be shown"),
            ("subnet,latency_ms,count\nmax,4,2.5\n", "count is '2.5', no whole number"),
            ("subnet,d,latency_ms\nmax,1,4\n", "d3-h16 has 3 at d, not 1"),
            ("d,layers.0,layers.1,latency_ms\n3,h8,h16,4\n", "d3-h8 has h8 at layers.1, not h16"),
        ],
    )
    def test_anything_else_is_refused(
        self, tmp_path: Path, chain: Bundle, text: str, said: str
    ) -> None:
        with pytest.raises(TableError) as caught:
            import_subnets(chain, [self.write(tmp_path, text)])
        assert said in str(caught.value) and caught.value.fix

    def test_columns_that_are_not_there(self, tmp_path: Path, chain: Bundle) -> None:
        path = self.write(tmp_path, "subnet,latency_ms\nmax,4\n")
        with pytest.raises(UsageError, match="no column 'depth'"):
            import_subnets(chain, [path], {"depth": "d"})
        with pytest.raises(UnknownName, match="part of a subnet 'width'"):
            import_subnets(chain, [path], {"depth": "width"})
        path = self.write(tmp_path, "depth,d,layers.0,latency_ms\n2,3,h8,4\n")
        with pytest.raises(UsageError, match=r"two columns of .*t\.csv say 'd'"):
            import_subnets(chain, [path], {"depth": "d"})
        odd = path.rename(tmp_path / "a\x1b[2J.csv")
        with pytest.raises(TableError, match="cannot be shown"):
            import_subnets(chain, [odd])
        with pytest.raises(TableError, match="column latency_mean_encoder of such a file is miss"):
            read_subnets(self.write(tmp_path, "subnet\n"), hat=True)
