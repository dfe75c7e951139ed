"""Measuring for real, into a real table: child processes, ONNX Runtime, SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.agent.events import ItemFailed
from hwnas.bundle import Bundle
from hwnas.errors import UnknownName
from hwnas.link import whole
from hwnas.profile import (
    Job,
    Profiler,
    Progress,
    Record,
    Settings,
    Summary,
    Tensor,
    block_jobs,
    load_profiler,
    load_target,
    make_package,
    profile,
    subnet_job,
)
from hwnas.table import CostModel, Lut
from hwnas.testing.null import null_ns
from tests.support.bundles import make_bundle
from tests.support.measuring import CUT, QUICK, named
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

Said = Callable[[Progress], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "net.hwnas", depth=2, dim=256, widths=(256, 4096))


def create(path: Path, profiler: str, settings: Settings) -> Lut:
    return Lut.create(path, load_target("cpu").fingerprint(profiler, settings), settings)


def measured(jobs: list[Job], lut: Lut, profiler: str, said: Said = lambda _: None) -> Summary:
    """Measure; again where something else on this machine made it worthless, as a user would."""
    target = load_target("cpu")
    for _ in range(5):
        summary = profile(jobs, lut, target, load_profiler(profiler), lut.settings, said)
        if not summary.invalid:
            break
        lut.clear_failures()
    return summary


class TestOnnxRuntime:
    def test_a_bundle_is_measured_and_priced(self, tmp_path: Path, bundle: Bundle) -> None:
        jobs = block_jobs(bundle)
        largest = bundle.manifest.space.largest()
        jobs.append(subnet_job(bundle, largest, whole(bundle, largest).SerializeToString()))
        with create(tmp_path / "lut.db", "onnxruntime", QUICK) as lut:
            assert lut.fingerprint.provider == "CPUExecutionProvider"
            summary = measured(jobs, lut, "onnxruntime")
            assert summary.failures == () and summary.withheld == 0
            wide = lut.measurement(bundle.manifest.blocks["layers.0/h4096"].kind, "block")
            narrow = lut.measurement(bundle.manifest.blocks["layers.0/h256"].kind, "block")
            again = measured(jobs, lut, "onnxruntime")
            assert (again.measured, again.skipped) == (0, 5)
            assert CostModel(bundle, lut).measured(largest) is not None
        assert wide is not None and narrow is not None
        assert len(wide.turns) >= QUICK.min_rounds and wide.p50_ms > 0
        assert all(turn.cold for turn in wide.turns)
        assert wide.outputs_ok and wide.verdict in ("ok", "flag")
        weights = 2 * 256 * 4096 * 4
        assert wide.load_bytes is not None and narrow.load_bytes is not None
        assert 0.8 * weights < wide.load_bytes < 2.2 * weights
        assert narrow.load_bytes < wide.load_bytes

    def test_unknown_provider_lists_the_known_ones(self) -> None:
        with pytest.raises(UnknownName, match="NoProvider") as caught:
            load_target("cpu").fingerprint("onnxruntime", Settings(provider="NoProvider"))
        assert "CPUExecutionProvider" in caught.value.fix

    def test_integer_and_dynamic_models(self, tmp_path: Path) -> None:
        from onnx import TensorProto, helper

        ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 7])
        mask = helper.make_tensor_value_info("mask", TensorProto.BOOL, [1, 7])
        out = helper.make_tensor_value_info("out", TensorProto.INT64, ["found", 2])
        table = helper.make_tensor("t", TensorProto.BOOL, [2], [True, True])
        nodes = [
            helper.make_node("Gather", ["t", "ids"], ["valid"]),
            helper.make_node("And", ["valid", "mask"], ["both"]),
            helper.make_node("NonZero", ["both"], ["where"]),
            helper.make_node("Transpose", ["where"], ["out"]),
        ]
        graph = helper.make_graph(nodes, "g", [ids, mask], [out], [table])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        inputs = (Tensor("ids", "int64", (1, 7)), Tensor("mask", "bool", (1, 7)))
        job = Job("k", "block", "ids", model.SerializeToString(), tmp_path, inputs)
        wrong = replace(job, key="w", inputs=(replace(inputs[0], dtype="int32"), inputs[1]))
        with create(tmp_path / "lut.db", "onnxruntime", QUICK) as lut:
            [failure] = measured([job, wrong], lut, "onnxruntime").failures
            good = lut.measurement("k", "block")
        assert good is not None and good.outputs_ok
        assert failure.key == "w" and "'ids'" in failure.error and "int32" in failure.error


class TestNull:
    def test_known_answers_through_the_whole_pipeline(
        self,
        tmp_path: Path,
        bundle: Bundle,
        example_plugins: Path,  # noqa: F811
    ) -> None:
        jobs = block_jobs(bundle, [bundle.manifest.space.find("d2-h256")])
        assert [job.label for job in jobs] == ["stem/base", "layers.0/h256", "head/base"]
        with create(tmp_path / "lut.db", "null", QUICK) as lut:
            measured(jobs, lut, "null")
            for job in jobs:
                found = lut.measurement(job.key, "block")
                assert found is not None
                assert found.p50_ms == pytest.approx(null_ns(job.model) / 1e6, rel=0.03)
                assert found.outputs_ok is None, "it computes nothing"
                assert found.verdict in ("unknown", "flag")


class TestFaults:
    @pytest.fixture
    def faulty(self, example_plugins: Path) -> Profiler:  # noqa: F811
        return load_profiler("faulty")

    def test_failures_are_rows_and_the_run_goes_on(self, tmp_path: Path, faulty: Profiler) -> None:
        labels = ["good", "raise", "abort", "exit", "abort late", "negative", "chatty"]
        said: list[Progress] = []
        with create(tmp_path / "lut.db", "faulty", QUICK) as lut:
            summary = profile(
                named(tmp_path, *labels), lut, load_target("cpu"), faulty, QUICK, said.append
            )
            rows = {row.label: row for row in lut.rows()}
        errors = {failure.label: failure.error for failure in summary.failures}
        assert errors == {
            "raise": "RuntimeError: this block cannot be loaded",
            "abort": "killed by SIGABRT: about to abort",
            "exit": "ended with exit code 7",
            "abort late": "killed by SIGABRT",
            "negative": "the profiler says that a run took -1 ns",
        }
        assert {label: row.error for label, row in rows.items() if row.error} == errors
        assert [rows[label].status for label in labels] == ["ok", *["error"] * 5, "ok"]
        assert summary.measured == 2 and summary.skipped == 0
        told = {one.label: one.error for one in said if one.status == "error"}
        assert told == errors
        fractions = [one.fraction for one in said]
        assert fractions == sorted(fractions) and fractions[-1] == 1
        assert said[0].seconds_left is None
        assert all(one.seconds_left is None or one.seconds_left >= 0 for one in said)

    def test_wrong_outputs_are_rows_that_are_not_used(
        self, tmp_path: Path, faulty: Profiler
    ) -> None:
        jobs = named(tmp_path, "rounds", "good")
        with create(tmp_path / "lut.db", "faulty", QUICK) as lut:
            summary = profile(jobs, lut, load_target("cpu"), faulty, QUICK)
            assert "rounds" in [record.label for record in summary.invalid]
            assert lut.measurement(jobs[0].key, "block") is None
            kept = lut.measurement(jobs[0].key, "block", invalid=True)
            [failure] = [one for one in lut.failures() if one.label == "rounds"]
        assert kept is not None and kept.verdict == "invalid" and kept.turns
        assert "outputs are off by" in failure.error and "lower precision" in failure.error

    def test_a_hang_is_killed_and_the_run_goes_on(self, tmp_path: Path, faulty: Profiler) -> None:
        settings = replace(QUICK, time_limit_s=2.0)
        with create(tmp_path / "lut.db", "faulty", settings) as lut:
            jobs = named(tmp_path, "hang", "raise")
            failures = profile(jobs, lut, load_target("cpu"), faulty, settings).failures
        assert [failure.error for failure in failures] == [
            "killed at the time limit of 2 s",
            "RuntimeError: this block cannot be loaded",
        ]

    def test_retry_after_clearing(self, tmp_path: Path, faulty: Profiler) -> None:
        target, jobs = load_target("cpu"), named(tmp_path, "raise")
        with create(tmp_path / "lut.db", "faulty", QUICK) as lut:
            assert len(profile(jobs, lut, target, faulty, QUICK).failures) == 1
            assert profile(jobs, lut, target, faulty, QUICK).skipped == 1
            assert lut.clear_failures() == 1
            assert len(profile(jobs, lut, target, faulty, QUICK).failures) == 1

    def test_what_is_measured_is_written_before_the_next_begins(
        self, tmp_path: Path, faulty: Profiler
    ) -> None:
        """Another connection sees it while the agent still runs."""
        path = tmp_path / "lut.db"
        seen: list[int] = []

        def look(progress: Progress) -> None:
            if progress.status in ("ok", "error"):
                with sqlite3.connect(path) as db:
                    seen.extend(db.execute("SELECT count(*) FROM measurement").fetchone())
                db.close()

        with create(path, "faulty", CUT) as lut:
            profile(named(tmp_path, "a", "raise", "b"), lut, load_target("cpu"), faulty, CUT, look)
        assert sorted(seen) == seen == [1, 2, 3]


def test_one_package_is_one_job(tmp_path: Path, example_plugins: Path) -> None:  # noqa: F811
    """What :func:`hwnas.profile.profile` does, by hand."""
    from hwnas.agent.job import Document
    from hwnas.profile.collect import Collector

    package = make_package(named(tmp_path, "good", "raise"), "faulty", QUICK)
    collector = Collector(Document.decode(package.document))
    found = [one for event in load_target("cpu").measure(package) for one in collector.add(event)]
    assert [type(one) for one in found] == [ItemFailed, Record]
    assert collector.fraction == 1
