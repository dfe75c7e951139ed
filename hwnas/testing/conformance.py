"""The suites that a profiler or a target must pass. Needs pytest.

Subclass in a test module of your distribution, with one fixture::

    from hwnas.testing.conformance import ProfilerConformance

    class TestMyProfiler(ProfilerConformance):
        @pytest.fixture
        def profiler(self):
            return MyProfiler()

The distribution must be installed, since workers find plug-ins by entry point.
"""

# A test's name says what it holds.
# ruff: noqa: D102

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from hwnas.errors import HwnasError
from hwnas.profile.isolation import describe, measure
from hwnas.profile.protocol import (
    Job,
    Profiler,
    Runner,
    RuntimeInfo,
    Target,
    load_profiler,
    load_target,
)
from hwnas.profile.settings import Settings
from hwnas.profile.wire import Done, Failed, Loaded, Samples
from hwnas.program import TensorSpec

__all__ = ["ProfilerConformance", "TargetConformance", "example_job", "quick_settings"]

_END_S = 10.0


def quick_settings() -> Settings:
    """Settings that end soon: for what is measured here, values do not matter."""
    return Settings(
        min_runs=10,
        max_runs=40,
        min_time_s=0.0,
        sample_time_s=0.5,
        time_limit_s=60.0,
        warmup_window_s=0.0,
        warmup_time_s=0.1,
    )


def example_job(folder: Path, rows: int = 4, columns: int = 8) -> Job:
    """A real job: ``y = x @ w`` with ``x[rows,columns]``, its weights in a file in ``folder``."""
    weights = np.random.default_rng(0).standard_normal((columns, columns)).astype(np.float32)
    (folder / "weights.bin").write_bytes(weights.tobytes())
    w = TensorProto(
        name="w",
        dims=weights.shape,
        data_type=TensorProto.FLOAT,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in {"location": "weights.bin", "offset": 0, "length": weights.nbytes}.items():
        w.external_data.add(key=key, value=str(value))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, columns]) for n in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return Job(
        key="example",
        scope="block",
        label="example/base",
        model=bytes(model.SerializeToString()),
        folder=folder,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(rows, columns)),),
    )


class _Conformance:
    @pytest.fixture
    def settings(self) -> Settings:
        """Override where the plug-in needs others."""
        return quick_settings()

    @pytest.fixture
    def job(self, tmp_path: Path) -> Job:
        """Override where the plug-in does not take a float32 MatMul in ONNX."""
        return example_job(tmp_path)


class ProfilerConformance(_Conformance):
    """What every profiler does. Override :meth:`profiler`; :meth:`target` where it must."""

    @pytest.fixture
    def profiler(self) -> Profiler:
        """The profiler under test; override this."""
        raise NotImplementedError("override the fixture 'profiler'")

    @pytest.fixture
    def target(self) -> Target:
        """Where workers run; this machine by default."""
        return load_target("cpu")

    def test_is_registered_under_its_name(self, profiler: Profiler) -> None:
        assert type(load_profiler(profiler.name)) is type(profiler)

    def test_tells_its_runtime(self, profiler: Profiler, settings: Settings) -> None:
        info = profiler.runtime(settings)
        assert isinstance(info, RuntimeInfo)
        assert info.name and info.version and info.provider
        assert profiler.runtime(settings) == info
        assert profiler.runtime(replace(settings, provider=info.provider)) == info

    def test_refuses_an_unknown_provider(self, profiler: Profiler, settings: Settings) -> None:
        provider = profiler.runtime(settings).provider
        with pytest.raises(HwnasError) as caught:
            profiler.runtime(replace(settings, provider="NoSuchProvider"))
        assert "NoSuchProvider" in str(caught.value)
        assert provider in str(caught.value), "the message lists the known ones"

    def test_runs(self, profiler: Profiler, job: Job, settings: Settings) -> None:
        profiler.prepare(settings)
        runner = profiler.load(job, settings)
        assert isinstance(runner, Runner)
        times = [runner.run() for _ in range(20)]
        runner.close()
        assert {type(ns) for ns in times} == {int}
        assert min(times) > 0

    def test_loads_again_after_close(
        self, profiler: Profiler, job: Job, settings: Settings
    ) -> None:
        for _ in range(2):
            runner = profiler.load(job, settings)
            runner.run()
            runner.close()

    def test_refuses_a_broken_model(self, profiler: Profiler, job: Job, settings: Settings) -> None:
        with pytest.raises(Exception) as caught:
            profiler.load(replace(job, model=b"\x00not a model"), settings)
        assert str(caught.value)

    def test_refuses_other_inputs(self, profiler: Profiler, job: Job, settings: Settings) -> None:
        other = tuple(spec.model_copy(update={"name": "other"}) for spec in job.inputs)
        with pytest.raises(HwnasError):
            profiler.load(replace(job, inputs=other), settings)

    def test_measures_in_a_worker(
        self, profiler: Profiler, target: Target, job: Job, settings: Settings
    ) -> None:
        events = list(measure(job, target, profiler, settings))
        assert isinstance(events[-1], Done), events[-1]
        assert isinstance(events[0], Loaded)
        runs = [ns for event in events if isinstance(event, Samples) for ns in event.ns]
        assert settings.min_runs <= len(runs) <= settings.max_runs

    def test_a_broken_model_is_an_error_in_one_line(
        self, profiler: Profiler, target: Target, job: Job, settings: Settings
    ) -> None:
        broken = replace(job, model=b"\x00not a model")
        [event] = list(measure(broken, target, profiler, settings))
        assert isinstance(event, Failed)
        assert "\n" not in event.error and "Traceback" not in event.error


class TargetConformance(_Conformance):
    """What every target does. Override :meth:`target`."""

    @pytest.fixture
    def target(self) -> Target:
        """The target under test; override this."""
        raise NotImplementedError("override the fixture 'target'")

    @pytest.fixture
    def profiler(self) -> Profiler:
        """What measures there; ONNX Runtime by default."""
        return load_profiler("onnxruntime")

    def test_is_registered_under_its_name(self, target: Target) -> None:
        assert type(load_target(target.name)) is type(target)

    def test_describes_its_device(
        self, target: Target, profiler: Profiler, settings: Settings
    ) -> None:
        first = target.fingerprint(profiler, settings)
        assert first.machine != "unknown" and first.cpu and first.governor
        assert first.threads == settings.threads
        assert first.affinity and len(first.affinity) <= first.cores
        assert first.differences(target.fingerprint(profiler, settings)) == []

    def test_pins(self, target: Target, profiler: Profiler, settings: Settings) -> None:
        cores = target.cores()
        assert cores == tuple(sorted(set(cores)))
        core = cores[-1]
        pinned = target.fingerprint(profiler, replace(settings, affinity=(core,)))
        assert pinned.affinity == (core,)

    def test_refuses_a_core_that_is_not_there(
        self, target: Target, profiler: Profiler, settings: Settings
    ) -> None:
        with pytest.raises(HwnasError, match="999"):
            target.fingerprint(profiler, replace(settings, affinity=(999,)))

    def test_worker_reports_errors_of_their_own_type(
        self, target: Target, profiler: Profiler, settings: Settings
    ) -> None:
        wrong = replace(settings, provider="NoSuchProvider")
        with pytest.raises(HwnasError, match="NoSuchProvider") as caught:
            describe(target, profiler, wrong)
        assert caught.value.fix

    def test_measures(
        self, target: Target, profiler: Profiler, job: Job, settings: Settings
    ) -> None:
        events = list(measure(job, target, profiler, settings))
        assert isinstance(events[0], Loaded)
        assert isinstance(events[-1], Done), events[-1]

    def test_worker_has_pipes_and_a_group_of_its_own(
        self, target: Target, settings: Settings
    ) -> None:
        worker = target.start_worker(settings)
        try:
            assert worker.stdin and worker.stdout and worker.stderr
            assert os.getpgid(worker.pid) == worker.pid != os.getpgid(0)
        finally:
            _end(worker)

    def test_worker_without_a_request_ends(self, target: Target, settings: Settings) -> None:
        worker = target.start_worker(settings)
        try:
            output, _ = worker.communicate(timeout=_END_S)
            assert output == b""
        finally:
            _end(worker)

    def test_nothing_survives_when_measuring_is_cut_off(
        self, target: Target, profiler: Profiler, job: Job, settings: Settings
    ) -> None:
        started: list[subprocess.Popen[bytes]] = []

        class Watched:
            name = target.name
            cores = target.cores
            fingerprint = target.fingerprint

            def start_worker(self, settings: Settings) -> subprocess.Popen[bytes]:
                started.append(target.start_worker(settings))
                return started[-1]

        with closing(measure(job, Watched(), profiler, settings)) as events:
            assert isinstance(next(events), Loaded)
        assert started[0].returncode is not None
        assert _gone(started[0].pid)


def _end(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    for stream in (worker.stdin, worker.stdout, worker.stderr):
        if stream is not None:
            stream.close()


def _gone(group: int) -> bool:
    """Whether no process of ``group`` is left, after a moment for the kernel to see to it."""
    end = time.monotonic() + _END_S
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
