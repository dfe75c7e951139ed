"""The agent as a child: what crashes, hangs or lies costs its own item and nothing else."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.agent.events import End, Event, ItemDone, ItemFailed, Loaded, Round, Sat, Sit, Start
from hwnas.errors import ProfileError, UnknownName
from hwnas.profile import Package, Settings, load_target, make_package
from hwnas.profile.local import describe_locally, measure_locally
from hwnas.testing.conformance import example_job
from hwnas.testing.processes import descendants, running, wait_until
from tests.support.measuring import CUT, QUICK, faulty_package, read_records
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("example_plugins")


def measured(package: Package) -> list[Event]:
    events = list(load_target("cpu").measure(package))
    assert isinstance(events[0], Start) and isinstance(events[-1], End)
    return events


def errors(package: Package, events: list[Event]) -> dict[int, str]:
    return {event.item: event.error for event in events if isinstance(event, ItemFailed)}


class TestFailures:
    def test_each_is_said_in_one_line_and_the_others_are_measured(self, tmp_path: Path) -> None:
        labels = ["good", "raise", "abort", "exit", "negative", "chatty"]
        package = faulty_package(tmp_path, QUICK, *labels)
        events = measured(package)
        assert errors(package, events) == {
            1: "RuntimeError: this block cannot be loaded",
            2: "killed by SIGABRT: about to abort",
            3: "ended with exit code 7",
            4: "the profiler says that a run took -1 ns",
        }
        assert list(read_records(package, events)) == ["good", "chatty"]
        assert [event.items for event in events if isinstance(event, Sit)] == [(0, 5)]

    @pytest.mark.parametrize(
        ("label", "error"),
        [
            ("abort late", "killed by SIGABRT"),
            ("raise late", "RuntimeError: no more runs"),
            ("negative late", "the profiler says that a run took -1 ns"),
        ],
    )
    def test_late_ones_are_left_out_of_a_sitting_that_is_repeated(
        self, tmp_path: Path, label: str, error: str
    ) -> None:
        package = faulty_package(tmp_path, replace(QUICK, sittings=2), "good", label, "slow")
        events = measured(package)
        assert errors(package, events) == {1: error}
        sat = [event.items for event in events if isinstance(event, Sit)]
        assert sat == [(0, 1, 2), (0, 2), (0, 2)]
        assert [event.sitting for event in events if isinstance(event, Sat)] == [1, 2]
        assert [event.item for event in events if isinstance(event, ItemDone)] == [0, 2]
        for record in read_records(package, events).values():
            assert {turn.sitting for turn in record.turns} == {1, 2}, "each whole sitting once"

    def test_several_late_ones(self, tmp_path: Path) -> None:
        labels = ["abort late", "good", "raise late", "exit"]
        package = faulty_package(tmp_path, QUICK, *labels)
        events = measured(package)
        assert sorted(errors(package, events)) == [0, 2, 3]
        assert list(read_records(package, events)) == ["good"]

    def test_all_late_leaves_nothing_to_measure(self, tmp_path: Path) -> None:
        package = faulty_package(tmp_path, QUICK, "abort late")
        events = measured(package)
        assert list(errors(package, events)) == [0]
        assert read_records(package, events) == {}

    @pytest.mark.parametrize("label", ["hang", "hang late"])
    def test_a_hang_is_killed_at_the_time_limit(self, tmp_path: Path, label: str) -> None:
        settings = replace(QUICK, time_limit_s=1.0)
        package = faulty_package(tmp_path, settings, "good", label, "chatty")
        events = measured(package)
        assert errors(package, events) == {1: "killed at the time limit of 1 s"}
        assert list(read_records(package, events)) == ["good", "chatty"]

    def test_resting_does_not_count_against_the_time_limit(self, tmp_path: Path) -> None:
        settings = replace(QUICK, time_limit_s=1.0, cooldown_s=1.3)
        events = measured(faulty_package(tmp_path, settings, "good"))
        assert [event.item for event in events if isinstance(event, ItemDone)] == [0]

    def test_what_an_item_has_started_ends_with_it(self, tmp_path: Path) -> None:
        measured(faulty_package(tmp_path, QUICK, "leak"))
        helper = int((tmp_path / "helper.pid").read_text())
        wait_until(lambda: not running(helper))


class TestBatches:
    def test_are_bounded_by_number(self, tmp_path: Path) -> None:
        settings = replace(QUICK, sitting_items=2)
        events = measured(faulty_package(tmp_path, settings, "a", "b", "raise", "c", "d", "e"))
        sat = [event.items for event in events if isinstance(event, Sit)]
        assert sat == [(0, 1), (3, 4), (5,)]
        done = [event.item for event in events if isinstance(event, ItemDone)]
        assert done == [0, 1, 3, 4, 5]

    def test_are_bounded_by_time(self, tmp_path: Path) -> None:
        # 6 rounds of 3 runs of 2 ms are 36 ms an item: 80 ms are full with the third.
        settings = replace(QUICK, sitting_s=0.08)
        events = measured(faulty_package(tmp_path, settings, *"abcde"))
        assert [event.items for event in events if isinstance(event, Sit)] == [(0, 1, 2), (3, 4)]

    def test_orders_of_rounds_differ(self, tmp_path: Path) -> None:
        events = measured(faulty_package(tmp_path, QUICK, *"abcd"))
        rounds = [event for event in events if isinstance(event, Round)]
        assert len({tuple(turn.item for turn in event.turns) for event in rounds}) > 2


class TestOutputs:
    def test_those_of_lower_precision_are_caught(self, tmp_path: Path) -> None:
        labels = ["good", "rounds", "nan", "other", "unknown"]
        package = faulty_package(tmp_path, QUICK, *labels)
        records = read_records(package, measured(package))
        assert {label: found.outputs_ok for label, found in records.items()} == {
            "good": True,
            "rounds": False,
            "nan": False,
            "other": False,
            "unknown": None,
        }
        for label in ("rounds", "nan", "other"):
            assert records[label].verdict == "invalid"
            assert records[label].reasons[0].startswith("outputs are ")
        error = records["rounds"].error
        assert error is not None and 2e-3 < error < 0.1
        assert records["good"].error == pytest.approx(0.0, abs=1e-5)
        assert "outputs were not compared" in records["unknown"].reasons

    def test_a_real_runtime_is_held_to_them(self, tmp_path: Path) -> None:
        job = example_job(tmp_path)

        def reference(job: object, inputs: object) -> dict[str, object]:
            import numpy as np

            return {"y": np.zeros((4, 8), np.float32)}

        package = make_package([job], "onnxruntime", QUICK, reference)  # type: ignore[arg-type]
        [event] = [event for event in measured(package) if isinstance(event, Loaded)]
        assert event.outputs_ok is False and event.error is not None and event.error > 1


class TestEnvironment:
    def test_it_is_pinned_and_sends_no_telemetry(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        core = load_target("cpu").cores()[-1]
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        settings = replace(QUICK, affinity=(core,))
        measured(faulty_package(tmp_path, settings, "environment"))
        assert (tmp_path / "environment.txt").read_text() == f"1 1 {core}"

    def test_errors_of_the_agent_keep_their_type(self, tmp_path: Path) -> None:
        package = make_package([example_job(tmp_path)], "no such profiler", QUICK)
        with pytest.raises(UnknownName, match="no such profiler") as caught:
            list(load_target("cpu").measure(package))
        assert "onnxruntime (from hwnas)" in caught.value.fix

    def test_more_threads_than_cores(self) -> None:
        cores = len(load_target("cpu").cores())
        with pytest.raises(ProfileError, match="cannot run at once"):
            load_target("cpu").fingerprint("faulty", Settings(threads=cores + 1))


def test_nothing_is_left_when_the_iterator_is_closed(tmp_path: Path) -> None:
    before = set(descendants())
    package = faulty_package(tmp_path, CUT, "hang")
    with closing(load_target("cpu").measure(package)) as events:
        next(events)
        wait_until((tmp_path / "hang.started").exists)
        started = set(descendants()) - before
    assert len(started) == 2, "the agent and its child"
    wait_until(lambda: not any(map(running, started)), 10.0)


class TestAgentsThatAreNone:
    """``sh -c SCRIPT`` stands where the agent's Python should be started."""

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("echo hello; exec sleep 60", "does not speak the protocol"),
            ("exec head -c 30000000 /dev/zero", "does not speak the protocol"),
            ("echo no hwnas here >&2; exit 3", r"\(exit code 3\): no hwnas here"),
            ("exec 1>&-; exec sleep 60", "closed its output and went on"),
            ("kill -SEGV $$", "killed by SIGSEGV"),
            ("kill -60 $$", "killed by signal 60"),
            ("exit 0", "ended before its work did .exit code 0"),
            ('echo \'{"event": "probe", "item": 0}\'; exit 0', r"\(exit code 0\)"),
        ],
    )
    def test_each_is_a_profile_error(
        self, tmp_path: Path, script: str, error: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hwnas.profile.local._EXIT_S", 0.5)
        package = make_package([example_job(tmp_path)], "onnxruntime", QUICK)
        with pytest.raises(ProfileError, match=error) as caught:
            list(measure_locally(package, ("sh", "-c", script)))
        assert caught.value.fix
        with pytest.raises(ProfileError, match=error):
            describe_locally("onnxruntime", QUICK, ("sh", "-c", script))

    def test_one_that_cannot_be_started(self, tmp_path: Path) -> None:
        package = make_package([example_job(tmp_path)], "onnxruntime", QUICK)
        with pytest.raises(ProfileError, match="/no/such: No such file or directory"):
            list(measure_locally(package, ("/no/such",)))

    def test_a_fingerprint_that_is_none(self) -> None:
        said = 'echo \'{"event": "fingerprint", "fingerprint": {"cpu": "x"}}\''
        with pytest.raises(ProfileError, match="fingerprint that is none"):
            describe_locally("onnxruntime", QUICK, ("sh", "-c", said))
