"""The suites that a profiler or a kind of target must pass. Needs pytest.

Subclass in a test module of your distribution, with one fixture::

    from hwnas.testing.conformance import ProfilerConformance

    class TestMyProfiler(ProfilerConformance):
        @pytest.fixture
        def profiler(self):
            return MyProfiler()

The distribution must be installed, since agents find plug-ins by entry point.
"""

# A test's name says what it holds.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hwnas import plugins
from hwnas.agent.events import End, Event, ItemDone, ItemFailed, Loaded, Sit, Start
from hwnas.agent.inputs import make_inputs
from hwnas.agent.job import Document
from hwnas.agent.protocol import Job, Profiler, Runner, RuntimeInfo, Tensor, load_profiler
from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError
from hwnas.profile.collect import Collector
from hwnas.profile.package import Package, make_package, reference_outputs
from hwnas.profile.protocol import Target, load_target
from hwnas.profile.record import Record
from hwnas.testing.processes import descendants, running, wait_until

__all__ = [
    "ProfilerConformance",
    "TargetConformance",
    "example_job",
    "quick_settings",
]

Inputs = Mapping[str, NDArray[Any]]

_END_S = 10.0


def quick_settings() -> Settings:
    """Settings that end soon: for what is measured here, values do not matter."""
    return Settings(
        min_rounds=6,
        max_rounds=8,
        turn_s=0.0005,
        sample_time_s=0.5,
        time_limit_s=60.0,
        warmup_window_s=0.0,
        warmup_time_s=0.1,
        sittings=1,
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
        inputs=(Tensor("x", "float32", (rows, columns)),),
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
        """Where agents run; this machine by default."""
        return load_target("cpu")

    @pytest.fixture
    def inputs(self, job: Job, settings: Settings) -> Inputs:
        """What an agent gives to :meth:`hwnas.agent.protocol.Profiler.load`."""
        return make_inputs(job.inputs, settings.seed)

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

    def test_runs(self, profiler: Profiler, job: Job, settings: Settings, inputs: Inputs) -> None:
        profiler.prepare(settings)
        runner = profiler.load(job, settings, inputs)
        assert isinstance(runner, Runner)
        times = []
        for _ in range(5):
            runner.refresh()
            times += [runner.run() for _ in range(4)]
        runner.close()
        assert {type(ns) for ns in times} == {int}
        assert min(times) > 0

    def test_outputs_are_copies_and_follow_from_the_inputs(
        self, profiler: Profiler, job: Job, settings: Settings, inputs: Inputs
    ) -> None:
        runner = profiler.load(job, settings, inputs)
        first = _outputs(runner)
        kept = {name: value.copy() for name, value in first.items()}
        again = _outputs(runner)
        runner.close()
        zeros = {name: np.zeros_like(value) for name, value in inputs.items()}
        other = profiler.load(job, settings, zeros)
        of_zeros = _outputs(other)
        other.close()
        assert list(first) == list(again) == list(of_zeros)
        for name, value in first.items():
            np.testing.assert_array_equal(value, kept[name], "what was read has changed since")
            np.testing.assert_array_equal(value, again[name])
        different = [not np.array_equal(first[name], of_zeros[name]) for name in first]
        assert not first or any(different), "outputs do not follow from the inputs"

    def test_several_are_alive_at_once(
        self, profiler: Profiler, job: Job, settings: Settings, inputs: Inputs
    ) -> None:
        runners = [profiler.load(job, settings, inputs) for _ in range(3)]
        found = [_outputs(runner) for runner in runners]
        for runner in runners:
            runner.refresh()
            assert runner.run() > 0
        runners[0].close()
        for runner in runners[1:]:
            for name, value in _outputs(runner).items():
                np.testing.assert_array_equal(value, found[0][name])
            runner.close()

    def test_loads_again_after_close(
        self, profiler: Profiler, job: Job, settings: Settings, inputs: Inputs
    ) -> None:
        for _ in range(2):
            runner = profiler.load(job, settings, inputs)
            runner.run()
            runner.close()

    def test_refuses_a_broken_model(
        self, profiler: Profiler, job: Job, settings: Settings, inputs: Inputs
    ) -> None:
        with pytest.raises(Exception) as caught:
            profiler.load(replace(job, model=b"\x00not a model"), settings, inputs)
        assert str(caught.value)

    def test_refuses_other_inputs(self, profiler: Profiler, job: Job, settings: Settings) -> None:
        other = tuple(replace(tensor, name=f"other {tensor.name}") for tensor in job.inputs)
        with pytest.raises(HwnasError):
            profiler.load(replace(job, inputs=other), settings, make_inputs(other, settings.seed))

    def test_measures_in_an_agent(
        self, profiler: Profiler, target: Target, job: Job, settings: Settings
    ) -> None:
        package = make_package([job], profiler.name, settings, reference_outputs)
        events, [record] = _measure(target, package)
        assert ItemDone(0) in events
        assert record.outputs_ok is not False, record.reasons
        _check_turns(record, settings)

    def test_a_broken_model_is_an_error_in_one_line(
        self, profiler: Profiler, target: Target, job: Job, settings: Settings
    ) -> None:
        broken = replace(job, model=b"\x00not a model")
        package = make_package([broken, job], profiler.name, settings, reference_outputs)
        events, records = _measure(target, package)
        [failed] = [event for event in events if isinstance(event, ItemFailed)]
        assert failed.item == 0 and failed.error
        assert "\n" not in failed.error and "Traceback" not in failed.error
        assert ItemDone(1) in events and len(records) == 1, "the other one is measured"


class TargetConformance(_Conformance):
    """What every kind of target does. Override :meth:`target`.

    Attributes:
        local: measures in processes of this machine, which end with whoever asked. Set it to
            ``False`` for a device that goes on by itself.
    """

    local: ClassVar[bool] = True

    @pytest.fixture
    def target(self) -> Target:
        """The target under test, made from a descriptor; override this."""
        raise NotImplementedError("override the fixture 'target'")

    @pytest.fixture
    def profiler(self) -> str:
        """Name of what measures there; ONNX Runtime by default."""
        return "onnxruntime"

    @pytest.fixture
    def package(self, job: Job, profiler: str, settings: Settings) -> Package:
        """The job, packed."""
        return make_package([job], profiler, settings, reference_outputs)

    def test_is_registered_under_its_kind(self, target: Target) -> None:
        assert isinstance(target, Target)
        assert plugins.load(plugins.TARGETS, target.descriptor.kind) is type(target)

    def test_is_made_from_a_descriptor(self, target: Target) -> None:
        descriptor = target.descriptor.model_copy(update={"name": "another"})
        assert target.name == target.descriptor.name
        other: Target = type(target)(descriptor)  # type: ignore[call-arg]
        assert (other.name, other.descriptor) == ("another", descriptor)

    def test_describes_its_device(self, target: Target, profiler: str, settings: Settings) -> None:
        first = target.fingerprint(profiler, settings)
        assert first.machine != "unknown" and first.cpu and first.governor
        assert first.threads == settings.threads
        assert first.affinity and len(first.affinity) <= first.cores
        assert first.differences(target.fingerprint(profiler, settings)) == []

    def test_pins(self, target: Target, profiler: str, settings: Settings) -> None:
        cores = target.cores()
        assert cores == tuple(sorted(set(cores)))
        core = cores[-1]
        pinned = target.fingerprint(profiler, replace(settings, affinity=(core,)))
        assert pinned.affinity == (core,)

    def test_refuses_a_core_that_is_not_there(
        self, target: Target, profiler: str, settings: Settings, job: Job
    ) -> None:
        wrong = replace(settings, affinity=(999,))
        with pytest.raises(HwnasError, match="999"):
            target.fingerprint(profiler, wrong)
        package = make_package([job], profiler, wrong)
        with pytest.raises(HwnasError, match="999"):
            list(target.measure(package))
        target.forget(package.id)

    def test_errors_keep_their_type(
        self, target: Target, profiler: str, settings: Settings
    ) -> None:
        wrong = replace(settings, provider="NoSuchProvider")
        with pytest.raises(HwnasError, match="NoSuchProvider") as caught:
            target.fingerprint(profiler, wrong)
        assert type(caught.value) is not HwnasError
        assert caught.value.fix

    def test_measures(
        self, target: Target, package: Package, profiler: str, settings: Settings
    ) -> None:
        events, [record] = _measure(target, package)
        start = events[0]
        assert isinstance(start, Start) and start.job == package.id
        told = target.fingerprint(profiler, settings)
        assert start.fingerprint["runtime_version"] == told.runtime_version
        assert any(isinstance(event, Loaded) for event in events)
        assert record.key == "example"
        _check_turns(record, settings)
        target.forget(package.id)
        assert target.resume(package.id) is None, "it was forgotten"

    def test_what_it_does_not_know_cannot_be_resumed(self, target: Target) -> None:
        unknown = "0" * 64
        assert target.resume(unknown) is None
        target.forget(unknown)

    def test_reading_that_is_cut_off(self, target: Target, package: Package) -> None:
        before = set(descendants())
        with closing(target.measure(package)) as events:
            assert any(isinstance(event, Sit) for event in events)
            started = set(descendants()) - before
        if not self.local:
            again = target.resume(package.id)
            assert again is not None, "the device goes on by itself"
            _, records = _read(package, list(again))
            assert len(records) == 1
            target.forget(package.id)
            return
        assert started, "it measures in processes of its own"
        wait_until(lambda: not any(map(running, started)), _END_S, "its processes to end")

    def test_closes(self, target: Target, profiler: str, settings: Settings) -> None:
        target.fingerprint(profiler, settings)
        target.close()

    def test_shell_runs_scripts_if_there_is_one(self, target: Target) -> None:
        shell = target.shell()
        if shell is None:
            return
        assert shell.name
        word = 'it\'s $HOME; "quoted"\n\t*'
        with closing(shell):
            result = shell.run('printf %s "$1"; cat; echo no >&2; exit 3', word, stdin=b"\0in")
            assert (result.code, result.stdout) == (3, word.encode() + b"\0in")
            assert shell.run("true").code == 0


def _outputs(runner: Runner) -> Inputs:
    runner.refresh()
    runner.run()
    return runner.outputs()


def _measure(target: Target, package: Package) -> tuple[list[Event], list[Record]]:
    return _read(package, list(target.measure(package)))


def _read(package: Package, events: list[Event]) -> tuple[list[Event], list[Record]]:
    """``events`` in the order in which an agent may say them, and the records that follow."""
    collector = Collector(Document.decode(package.document))
    records = []
    for event in events:
        records += [found for found in collector.add(event) if isinstance(found, Record)]
    assert isinstance(events[-1], End), events[-1]
    return events, records


def _check_turns(record: Record, settings: Settings) -> None:
    sittings = {turn.sitting for turn in record.turns}
    assert len(sittings) == settings.sittings
    for sitting in sittings:
        turns = [turn for turn in record.turns if turn.sitting == sitting]
        assert settings.min_rounds <= len(turns) <= settings.max_rounds
    assert all(min(turn.ns) > 0 for turn in record.turns)
