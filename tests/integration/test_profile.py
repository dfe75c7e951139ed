"""Measuring for real: child processes, ONNX Runtime, SQLite, crashes, hangs."""

from __future__ import annotations

import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import ProfileError, UnknownName
from hwnas.link import whole
from hwnas.profile import (
    Fingerprint,
    Job,
    Profiler,
    Progress,
    Settings,
    block_jobs,
    load_profiler,
    load_target,
    profile,
    subnet_job,
)
from hwnas.profile.isolation import measure
from hwnas.profile.wire import Failed
from hwnas.table import CostModel, Lut
from hwnas.testing.conformance import example_job
from hwnas.testing.null import null_ns
from tests.support.bundles import make_bundle
from tests.support.measuring import CUT, QUICK, named, running, wait_until
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture
from tests.support.tables import fingerprint


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "net.hwnas", depth=2, dim=256, widths=(256, 4096))


class TestOnnxRuntime:
    def test_a_bundle_is_measured_and_priced(self, tmp_path: Path, bundle: Bundle) -> None:
        target, profiler = load_target("cpu"), load_profiler("onnxruntime")
        device = target.fingerprint(profiler, QUICK)
        assert device.runtime == "onnxruntime" and device.provider == "CPUExecutionProvider"
        jobs = block_jobs(bundle)
        largest = bundle.manifest.space.largest()
        jobs.append(subnet_job(bundle, largest, whole(bundle, largest).SerializeToString()))
        said: list[Progress] = []
        with Lut.create(tmp_path / "lut.db", device, QUICK) as lut:
            summary = profile(jobs, lut, target, profiler, QUICK, said.append)
            assert (summary.measured, summary.skipped, summary.failures) == (5, 0, ())
            wide = lut.measurement(bundle.manifest.blocks["layers.0/h4096"].kind, "block")
            narrow = lut.measurement(bundle.manifest.blocks["layers.0/h256"].kind, "block")
            model = CostModel(bundle, lut)
            assert model.measured(largest) is not None
            assert model.describe()[0].startswith("p50: calibrated on 1 whole subnet")
            again = profile(jobs, lut, target, profiler, QUICK)
            assert (again.measured, again.skipped) == (0, 5)
        assert wide is not None and narrow is not None
        assert wide.statistics.runs >= QUICK.min_runs and wide.p50_ms > 0
        weights = 2 * 256 * 4096 * 4
        assert wide.load_bytes is not None and narrow.load_bytes is not None
        assert 0.8 * weights < wide.load_bytes < 2.2 * weights
        assert narrow.load_bytes < wide.load_bytes
        assert [p.status for p in said] == ["begin", "ok"] * 5
        assert [p.done for p in said if p.status == "ok"] == [1, 2, 3, 4, 5]
        assert said[0].seconds_left is None and said[-1].seconds_left == 0
        assert all((p.seconds_left or 0) > 0 for p in said[2:-1])

    def test_unknown_provider_lists_the_known_ones(self) -> None:
        with pytest.raises(UnknownName, match="NoProvider") as caught:
            load_target("cpu").fingerprint(
                load_profiler("onnxruntime"), Settings(provider="NoProvider")
            )
        assert "CPUExecutionProvider" in caught.value.fix

    def test_integer_and_dynamic_models(self, tmp_path: Path) -> None:
        from onnx import TensorProto, helper

        from hwnas.program import TensorSpec

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
        specs = (
            TensorSpec(name="ids", dtype="int64", shape=(1, 7)),
            TensorSpec(name="mask", dtype="bool", shape=(1, 7)),
        )
        job = Job("k", "block", "ids", model.SerializeToString(), tmp_path, specs)
        profiler = load_profiler("onnxruntime")
        runner = profiler.load(job, QUICK)
        assert runner.run() > 0
        runner.close()
        wrong = replace(job, inputs=(specs[0].model_copy(update={"dtype": "int32"}), specs[1]))
        events = list(measure(wrong, load_target("cpu"), profiler, QUICK))
        [failed] = events
        assert isinstance(failed, Failed)
        assert "'ids'" in failed.error and "int32" in failed.error


class TestNull:
    def test_known_answers_through_the_whole_pipeline(
        self,
        tmp_path: Path,
        bundle: Bundle,
        example_plugins: Path,  # noqa: F811
    ) -> None:
        target, profiler = load_target("cpu"), load_profiler("null")
        device = target.fingerprint(profiler, QUICK)
        jobs = block_jobs(bundle, [bundle.manifest.space.find("d2-h256")])
        assert [job.label for job in jobs] == ["stem/base", "layers.0/h256", "head/base"]
        with Lut.create(tmp_path / "lut.db", device, QUICK) as lut:
            profile(jobs, lut, target, profiler, QUICK)
            for job in jobs:
                found = lut.measurement(job.key, "block")
                assert found is not None
                assert found.p50_ms == pytest.approx(null_ns(job.model) / 1e6, rel=0.01)
                assert found.stopped_by == "converged"


class TestFaults:
    @pytest.fixture
    def faulty(self, example_plugins: Path) -> Profiler:  # noqa: F811
        return load_profiler("faulty")

    def test_failures_are_rows_and_the_run_goes_on(self, tmp_path: Path, faulty: Profiler) -> None:
        labels = ["good", "raise", "abort", "exit", "abort late", "negative", "chatty"]
        settings = CUT
        said: list[Progress] = []
        with Lut.create(tmp_path / "lut.db", fingerprint(), settings) as lut:
            summary = profile(
                named(tmp_path, *labels), lut, load_target("cpu"), faulty, settings, said.append
            )
            errors = {f.label: f.error for f in lut.failures()}
            rows = {row.label: row for row in lut.rows()}
            assert summary.failures == tuple(lut.failures())
        assert [rows[label].status for label in labels] == ["ok", *["error"] * 5, "ok"]
        assert errors == {
            "raise": "RuntimeError: this block cannot be loaded",
            "abort": "killed by SIGABRT: about to abort",
            "exit": "ended with exit code 7",
            "abort late": "killed by SIGABRT",
            "negative": "the profiler says that a run took -1 ns",
        }
        assert rows["good"].runs == rows["chatty"].runs == 400
        assert 0 < rows["abort late"].runs < 400, "what came before the crash is kept"
        assert [p.error for p in said if p.status == "error"] == list(errors.values())
        assert said[-1].failed == 5

    def test_a_hang_is_killed_and_the_run_goes_on(self, tmp_path: Path, faulty: Profiler) -> None:
        jobs = named(tmp_path, "hang", "raise")
        settings = replace(QUICK, time_limit_s=2.0)
        with Lut.create(tmp_path / "lut.db", fingerprint(), settings) as lut:
            failures = profile(jobs, lut, load_target("cpu"), faulty, settings).failures
        assert [f.error for f in failures] == [
            "killed at the time limit of 2 s",
            "RuntimeError: this block cannot be loaded",
        ]

    def test_retry_after_clearing(self, tmp_path: Path, faulty: Profiler) -> None:
        target, jobs = load_target("cpu"), named(tmp_path, "raise")
        with Lut.create(tmp_path / "lut.db", fingerprint(), QUICK) as lut:
            assert len(profile(jobs, lut, target, faulty, QUICK).failures) == 1
            assert profile(jobs, lut, target, faulty, QUICK).skipped == 1
            assert lut.clear_failures() == 1
            assert len(profile(jobs, lut, target, faulty, QUICK).failures) == 1

    def test_helpers_of_a_worker_are_killed_with_it(self, tmp_path: Path, faulty: Profiler) -> None:
        [job] = named(tmp_path, "leak")
        list(measure(job, load_target("cpu"), faulty, QUICK))
        helper = int((tmp_path / "helper.pid").read_text())
        wait_until(lambda: not running(helper))

    def test_the_child_is_pinned_and_sends_no_telemetry(
        self, tmp_path: Path, faulty: Profiler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        core = load_target("cpu").cores()[-1]
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        settings = replace(QUICK, affinity=(core,))
        list(measure(named(tmp_path, "environment")[0], load_target("cpu"), faulty, settings))
        assert (tmp_path / "environment.txt").read_text() == f"1 1 {core}"

    def test_more_threads_than_cores(self, faulty: Profiler) -> None:
        cores = len(load_target("cpu").cores())
        with pytest.raises(ProfileError, match="cannot run at once"):
            load_target("cpu").fingerprint(faulty, Settings(threads=cores + 1))


class _Fake:
    """A target whose workers are some other command."""

    name = "fake"

    def __init__(self, *command: str) -> None:
        self._command = command

    def cores(self) -> tuple[int, ...]:
        return (0,)

    def fingerprint(self, profiler: Profiler, settings: Settings) -> Fingerprint:
        raise NotImplementedError

    def start_worker(self, settings: Settings) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )


class TestWorkersThatAreNone:
    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("echo hello; sleep 60", "does not speak the protocol"),
            ("head -c 30000000 /dev/zero; sleep 60", "does not speak the protocol"),
            ("echo no hwnas here >&2; exit 3", "ended with exit code 3: no hwnas here"),
            ("exec 1>&-; sleep 60", "closed its output and went on"),
            ("kill -SEGV $$", "killed by SIGSEGV"),
            ("sleep 60", "killed at the time limit of 1 s"),
            ("yes noise >&2", "killed at the time limit of 1 s"),
            ('echo \'{"event": "loaded", "load_bytes": 0}\'; exit 0', "ended with exit code 0"),
        ],
    )
    def test_each_is_an_error_of_the_job(
        self, tmp_path: Path, script: str, error: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hwnas.profile.isolation._EXIT_S", 0.5)
        settings = replace(QUICK, time_limit_s=1.0 if "time limit" in error else 30.0)
        # A model that does not fit into a pipe: nobody reads it.
        job = replace(example_job(tmp_path), model=b"\0" * 1_000_000)
        last = list(measure(job, _Fake("sh", "-c", script), load_profiler("onnxruntime"), settings))
        assert isinstance(last[-1], Failed)
        assert error in last[-1].error

    def test_done_without_samples_is_an_error(self, tmp_path: Path) -> None:
        done = '{"event": "done", "stopped_by": "x", "warmup_runs": 1, "warmup_stopped_by": "x"}'
        target = _Fake("sh", "-c", f"echo '{done}'; sleep 60")
        with Lut.create(tmp_path / "lut.db", fingerprint(), QUICK) as lut:
            jobs = [example_job(tmp_path)]
            [failure] = profile(jobs, lut, target, load_profiler("onnxruntime"), QUICK).failures
        assert failure.error == "the worker sent no samples"

    def test_a_worker_that_cannot_start_ends_the_run(self, tmp_path: Path) -> None:
        path = tmp_path / "lut.db"
        with Lut.create(path, fingerprint(), QUICK) as lut:
            jobs = [example_job(tmp_path)]
            with pytest.raises(ProfileError, match="'fake' cannot start a worker"):
                profile(jobs, lut, _Fake("/no/such"), load_profiler("onnxruntime"), QUICK)
        with Lut.resume(path, fingerprint(), QUICK) as lut:
            assert lut.rows() == []


def test_samples_are_written_as_they_come(
    tmp_path: Path,
    example_plugins: Path,  # noqa: F811
) -> None:
    """Another connection sees samples while the job still runs."""
    path = tmp_path / "lut.db"
    seen: list[int] = []

    class Watching(Lut):
        def add_samples(self, measurement: int, ns: object) -> None:
            super().add_samples(measurement, ns)  # type: ignore[arg-type]
            with sqlite3.connect(path) as db:
                seen.extend(db.execute("SELECT count(*) FROM sample").fetchone())
            db.close()

    with Watching.create(path, fingerprint(), CUT) as lut:
        jobs = named(tmp_path, "slow")
        profile(jobs, lut, load_target("cpu"), load_profiler("faulty"), CUT)
    assert len(seen) >= 2 and seen == sorted(seen) and seen[-1] == 400
