"""The native agent end to end: a real job, a real runtime, and what can go wrong on a device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hwnas.agent.events import (
    AgentError,
    Described,
    End,
    Energy,
    ItemDone,
    ItemFailed,
    Loaded,
    Round,
    Sat,
    Sit,
    Start,
    Stopped,
    Warm,
)
from hwnas.agent.fingerprint import collect
from hwnas.agent.protocol import RuntimeInfo, Tensor
from hwnas.agent.settings import Settings
from hwnas.agent.wire import parse_event
from tests.agent.native_support import (
    WEIGHTS,
    alive,
    build,
    child_of,
    endless,
    make,
    model,
    parse,
    quick,
    runtime_library,
    wait,
)

LONG = quick(min_rounds=100, max_rounds=100, relative_ci=1e-9, sample_time_s=100.0)
"""Settings with which there is time to break in."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("agent"))


def test_measures_a_job_and_says_so(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4, 64, 512])
    done = made.run()
    assert (done.returncode, done.stdout) == (0, b"")
    events = made.events()
    assert isinstance(events[0], Start) and events[0].agent == "native"
    assert isinstance(events[-1], End)
    loaded = [event for event in events if isinstance(event, Loaded)]
    assert [event.item for event in loaded] == [0, 1, 2]
    for event in loaded:
        assert event.outputs_ok and event.error is not None and event.error < 1e-5
        assert event.load_bytes is not None and event.run_bytes is not None
    assert [event.item for event in events if isinstance(event, ItemDone)] == [0, 1, 2]
    assert [e.items for e in events if isinstance(e, Sit)] == [(0, 1, 2)] * 2
    assert [event.sitting for event in events if isinstance(event, Sat)] == [0, 1]
    for sitting in (0, 1):
        warm = [e for e in events if isinstance(e, Warm) and e.sitting == sitting]
        assert sorted(event.item for event in warm) == [0, 1, 2]
        stopped = [e for e in events if isinstance(e, Stopped) and e.sitting == sitting]
        assert sorted(event.item for event in stopped) == [0, 1, 2]
        rounds = [e for e in events if isinstance(e, Round) and e.sitting == sitting]
        assert [event.round for event in rounds] == list(range(len(rounds)))
        turns = Counter(turn.item for event in rounds for turn in event.turns)
        assert set(turns) == {0, 1, 2} and all(6 <= count <= 8 for count in turns.values())
        for turn in (turn for event in rounds for turn in event.turns):
            assert turn.cold is not None and sum(turn.ns) <= turn.wall and turn.cpu > 0


def test_orders_of_rounds_differ(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4, 8, 16, 32])
    made.run()
    rounds = [event for event in made.events() if isinstance(event, Round)]
    orders = {tuple(turn.item for turn in event.turns) for event in rounds}
    assert len(orders) > 2


def test_measures_with_two_threads_and_without_cold_runs(agent: Path, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core")
    made = make(agent, tmp_path, [512], quick(threads=2, cold_limit_s=0.0))
    assert made.run().returncode == 0
    events = made.events()
    assert not any(isinstance(event, Energy) for event in events)
    turns = [t for event in events if isinstance(event, Round) for t in event.turns]
    assert turns and all(turn.cold is None for turn in turns)


def test_events_on_stdout_leave_no_journal(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4])
    done = made.run("--stdout")
    assert done.returncode == 0
    events = parse(done.stdout)
    assert isinstance(events[0], Start) and isinstance(events[-1], End)
    assert not made.journal.exists()


def test_describes_the_device_as_the_agent_in_python_does(agent: Path) -> None:
    settings = Settings(affinity=(max(os.sched_getaffinity(0)),))
    request = json.dumps({"profiler": "onnxruntime", "settings": settings.to_dict()})
    command = [str(agent), "describe", "--runtime", str(runtime_library())]
    done = subprocess.run(command, input=request.encode(), capture_output=True, check=True)
    event = parse_event(done.stdout)
    assert isinstance(event, Described)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, settings.affinity or ())
    try:
        provider = "CPUExecutionProvider"
        info = RuntimeInfo("onnxruntime", onnxruntime.__version__, provider)
        wanted = collect(info, settings)
    finally:
        os.sched_setaffinity(0, before)
    assert dict(event.fingerprint) == json.loads(json.dumps(wanted))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provider": "NoSuchProvider"}, "NoSuchProvider"),
        ({"affinity": [999]}, "core 999 is not available"),
        ({"threads": 900}, "900 threads"),
    ],
)
def test_settings_that_cannot_be_met_are_an_error(
    agent: Path, changes: dict[str, object], said: str
) -> None:
    settings = Settings().to_dict() | changes
    request = json.dumps({"profiler": "onnxruntime", "settings": settings})
    command = [str(agent), "describe", "--runtime", str(runtime_library())]
    done = subprocess.run(command, input=request.encode(), capture_output=True, check=False)
    event = parse_event(done.stdout)
    assert done.returncode == 1
    assert isinstance(event, AgentError) and said in event.error and event.fix


def test_other_types_and_sizes_that_are_not_known_ahead(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path)
    onnx = {"float16": 10, "float64": 11, "int64": 7, "uint8": 2, "bool": 9, "float32": 1}
    for name, kind in onnx.items():
        x = helper.make_tensor_value_info("x", kind, [3, 1400])
        y = helper.make_tensor_value_info("y", kind, [1400, 3])
        node = helper.make_node("Transpose", ["x"], ["y"])
        made.add(model([node], [x], [y]), [Tensor("x", name, (3, 1400))], lambda x: {"y": x.T})
    x = helper.make_tensor_value_info("x", TensorProto.BOOL, [5000])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [1, "found"])
    made.add(
        model([helper.make_node("NonZero", ["x"], ["y"])], [x], [y]),
        [Tensor("x", "bool", (5000,))],
        lambda x: {"y": np.stack(np.nonzero(x))},
    )
    assert made.run().returncode == 0
    loaded = [event for event in made.events() if isinstance(event, Loaded)]
    assert [event.outputs_ok for event in loaded] == [True] * 7
    assert all(event.error is not None and event.error < 1e-6 for event in loaded)


def test_wrong_outputs_are_told_and_measured_all_the_same(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4, 4, 4, 4])
    items = made.document["items"]
    items[1]["expected"][0]["rms"] *= 1.1
    items[2]["expected"][0]["shape"] = [16, 4]
    items[3]["expected"][0]["dtype"] = "float64"
    made.write()
    assert made.run().returncode == 0
    loaded = [event for event in made.events() if isinstance(event, Loaded)]
    assert [event.outputs_ok for event in loaded] == [True, False, False, False]
    assert loaded[1].error == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert loaded[2].error is None and loaded[3].error is None
    assert sum(isinstance(event, ItemDone) for event in made.events()) == 4


def test_a_value_that_is_not_finite_is_wrong(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [8]) for n in "xy")
    logarithm = model([helper.make_node("Log", ["x"], ["y"])], [x], [y])
    made.add(logarithm, [Tensor("x", "float32", (8,))], lambda x: {"y": np.log(np.abs(x))})
    made.run()
    [loaded] = [event for event in made.events() if isinstance(event, Loaded)]
    assert (loaded.outputs_ok, loaded.error) == (False, None)


def test_what_cannot_be_measured_fails_alone(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4], quick(time_limit_s=2.0))
    made.add(b"\x00not a model", [])
    made.add(*endless())
    product = made.document["items"][0]
    for changes in ({"name": "other"}, {"dtype": "float64"}, {"shape": [5, 16]}):
        wrong = {**product["inputs"][0], **changes}
        made.document["items"].append({**product, "inputs": [wrong], "expected": []})
    made.document["items"].append(product)
    made.write()
    assert made.run().returncode == 0
    events = made.events()
    failed = {event.item: event.error for event in events if isinstance(event, ItemFailed)}
    assert set(failed) == {1, 2, 3, 4, 5}
    assert "ONNX Runtime" in failed[1]
    assert failed[2] == "killed at the time limit of 2 s"
    assert failed[3] == "the model takes x, the job gives other"
    assert "not float64" in failed[4]
    assert [event.item for event in events if isinstance(event, ItemDone)] == [0, 6]
    assert isinstance(events[-1], End)


def test_a_crash_in_a_sitting_costs_one_item(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4, 4, 4], LONG)
    with made.start() as running:
        made.wait_for(b'"event":"round"', 3)
        child = child_of(running.pid)
        assert child is not None
        os.kill(child, signal.SIGSEGV)
    assert running.returncode == 0
    events = made.events()
    [failed] = [event for event in events if isinstance(event, ItemFailed)]
    assert failed.error == "killed by SIGSEGV"
    left = tuple(sorted({0, 1, 2} - {failed.item}))
    assert [event.item for event in events if isinstance(event, ItemDone)] == list(left)
    assert [e.items for e in events if isinstance(e, Sit)] == [(0, 1, 2), left, left]
    assert [event.sitting for event in events if isinstance(event, Sat)] == [1, 2]


def test_nothing_is_lost_or_done_twice_when_it_is_killed(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4, 8, 16, 32], quick(sitting_items=2))
    made.journal.touch()
    for lines in (8, 40, 15):  # in the first sitting, in the second batch, and there again
        end = made.journal.read_bytes().count(b"\n") + lines
        with made.start() as running:
            made.wait_for(b"\n", end)
            child = child_of(running.pid)
            running.kill()
        wait(lambda child=child: child is None or not alive(child), 10)  # type: ignore[misc]
        with made.journal.open("ab") as journal:
            journal.write(b'{"event":"done","item":3')
    assert made.run().returncode == 0
    events = made.events()
    done = [event.item for event in events if isinstance(event, ItemDone)]
    assert sorted(done) == [0, 1, 2, 3]
    sittings = [event.sitting for event in events if isinstance(event, Sit)]
    assert sittings == sorted(set(sittings))
    assert isinstance(events[-1], End)
    assert sum(isinstance(event, Start) for event in events) == 4
    before = made.journal.read_bytes()
    assert made.run().returncode == 0
    assert made.journal.read_bytes() == before, "what has ended stays as it is"


def test_two_agents_do_not_share_a_job(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4], LONG)
    with made.start() as first:
        made.wait_for(b'"event":"sit"')
        pid, started = (made.folder / "lock").read_text().split()
        assert int(pid) == first.pid and int(started) > 0
        second = made.run()
        [said] = parse(second.stdout)
        assert second.returncode == 1
        assert isinstance(said, AgentError) and str(first.pid) in said.error
    assert first.returncode == 0
    assert sum(isinstance(event, Start) for event in made.events()) == 1


def test_ends_with_its_parent_where_events_go_to_it(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4], LONG)
    code = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True)"
    quiet = subprocess.DEVNULL
    parent = subprocess.Popen(
        [sys.executable, "-c", f"{code}; p.wait()", *made.command("--stdout")],
        stdout=subprocess.PIPE,
        stderr=quiet,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    while b'"event":"sit"' not in parent.stdout.readline():
        pass
    wait(lambda: child_of(pid) is not None)
    child = child_of(pid)
    assert child is not None
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait(lambda: not alive(pid) and not alive(child), 10)


@pytest.mark.parametrize("what", ["model", "data", "longer", "missing"])
def test_a_file_that_is_not_what_was_sent_is_an_error(
    agent: Path, tmp_path: Path, what: str
) -> None:
    made = make(agent, tmp_path, [4])
    blob = made.blobs / made.document["items"][0]["model"]["sha256"]
    path = made.folder / "data" / WEIGHTS if what == "data" else blob
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) + b"x" * (what == "longer"))
    if what == "missing":
        path.unlink()
    assert made.run().returncode == 1
    [said] = made.events()
    assert isinstance(said, AgentError) and path.name in said.error and said.fix


def test_a_damaged_journal_or_job_is_an_error(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4])
    made.run()
    good = made.journal.read_bytes()
    made.journal.write_bytes(good.replace(b'"event":"warm"', b'"event":"wa', 1))
    done = made.run()
    [said] = parse(done.stdout)
    assert isinstance(said, AgentError) and "line" in said.error and done.returncode == 1
    made.journal.write_bytes(good)
    made.document["settings"]["seed"] = 1
    made.write()
    done = made.run()
    [said] = parse(done.stdout)
    assert isinstance(said, AgentError) and "line 1" in said.error
    assert made.journal.read_bytes() == good


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_goes_on_after_a_full_disk(agent: Path, tmp_path: Path, small_disk: Path) -> None:
    made = make(agent, small_disk, [4, 8], quick(min_rounds=20, max_rounds=20, relative_ci=1e-9))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        while True:
            try:
                stream.write(b"x" * 4096)
            except OSError:
                break
        stream.truncate(stream.tell() - 20000)
    done = made.run()
    assert done.returncode == 1
    assert b"the journal cannot be written: No space left on device" in done.stderr
    assert made.journal.read_bytes().endswith(b"\n")
    assert not any(isinstance(event, End) for event in made.events())
    filler.unlink()
    assert made.run().returncode == 0
    events = made.events()
    done_items = [event.item for event in events if isinstance(event, ItemDone)]
    assert done_items == [0, 1] and isinstance(events[-1], End)


def test_a_runtime_that_is_none_is_an_error(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4])
    empty = tmp_path / "empty.so"
    compile_ = ["cc", "-shared", "-x", "c", "/dev/null", "-o", str(empty)]
    subprocess.run(compile_, check=True)
    for runtime in [tmp_path / "nothing.so", empty]:
        made.runtime = runtime
        assert made.run().returncode == 1
        said = made.events()[-1]
        assert isinstance(said, AgentError) and runtime.name in said.error and said.fix


def test_words_that_make_no_sense_are_refused(agent: Path) -> None:
    for words in ([], ["run"], ["run", "job", "--blobs"], ["describe"], ["walk"], ["run", "-x"]):
        done = subprocess.run([str(agent), *words], capture_output=True, check=False)
        assert done.returncode == 2 and b"usage:" in done.stderr


def test_is_small(agent: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(agent)], check=True)
    assert stripped.stat().st_size < 150_000
