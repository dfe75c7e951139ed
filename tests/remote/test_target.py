"""A remote target with the real agent: jobs done exactly once, whatever happens to the link."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import venv
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hwnas.agent.events import End, Event, ItemDone, ItemFailed, Sat, Start
from hwnas.errors import (
    DeviceFull,
    HwnasError,
    LinkLost,
    NoSuchDevice,
    RemoteError,
    UnknownName,
    UsageError,
)
from hwnas.profile.package import Package
from hwnas.profile.protocol import Target
from hwnas.remote.agents import choose_agent, runtime_library
from hwnas.testing.processes import running, wait_until
from hwnas_targets.adb import AdbTarget
from hwnas_targets.ssh import SshTarget
from tests.support.remote import LONG, QUICK, LoopTarget, describe, make_small_package
from tests.support.sshd import Sshd


@pytest.fixture
def board(sshd: Sshd, work: Path, prompt: None) -> Iterator[SshTarget]:
    target = SshTarget(describe(work, transport={"host": "127.0.0.1", "port": sshd.port}))
    yield target
    target.close()


def done(events: list[Event]) -> list[int]:
    return sorted(event.item for event in events if isinstance(event, ItemDone))


def agent_pid(work: Path, job_id: str) -> int:
    """The agent's own process, not the shell that waits for it."""
    lock = work / "jobs" / job_id / "lock"
    wait_until(lambda: lock.exists() and len(lock.read_text().split()) == 2)
    return int(lock.read_text().split()[0])


def kill_agent(work: Path, job_id: str) -> None:
    pid = agent_pid(work, job_id)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not running(pid))


def dying(work: Path, script: str) -> LoopTarget:
    """A target of which Python is a shell script."""
    python = work.parent / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return LoopTarget(describe(work, runtime={"python": str(python)}))


def test_remote_targets_are_targets(work: Path) -> None:
    for target in (SshTarget(describe(work, transport={"host": "h"})), AdbTarget(describe(work))):
        assert isinstance(target, Target)


def test_a_job_over_ssh_from_its_first_event_to_the_end(board: SshTarget, tmp_path: Path) -> None:
    package = make_small_package(tmp_path)
    assert board.cores() == tuple(sorted(os.sched_getaffinity(0)))
    fingerprint = board.fingerprint("onnxruntime", QUICK)
    events = list(board.measure(package))
    assert isinstance(events[0], Start)
    assert events[0].job == package.id
    assert events[0].fingerprint["cpu"] == fingerprint.cpu
    assert events[-1] == End()
    assert done(events) == [0, 1]
    again = board.resume(package.id)
    assert again is not None
    assert list(again) == events
    assert list(board.measure(package)) == events
    board.forget(package.id)
    assert board.resume(package.id) is None


def test_the_link_may_be_gone_for_a_while(sshd: Sshd, board: SshTarget, tmp_path: Path) -> None:
    told: list[str] = []
    board.tell = told.append
    package = make_small_package(tmp_path, 2, LONG)
    events: list[Event] = []
    for event in board.measure(package):
        events.append(event)
        if isinstance(event, Sat) and event.sitting == 1:
            sshd.stop()
            threading.Timer(1.0, sshd.start).start()
    assert done(events) == [0, 1]
    assert sum(isinstance(event, Start) for event in events) == 1
    assert len(told) == 2
    assert "trying again" in told[0]
    assert told[1] == "board answers again"


def test_when_the_link_stays_away_the_agent_goes_on_and_resume_collects(
    sshd: Sshd, board: SshTarget, tmp_path: Path, work: Path
) -> None:
    board.patience_s = 1.0
    package = make_small_package(tmp_path, 1, LONG)
    events: list[Event] = []
    with pytest.raises(LinkLost, match="the agent goes on there") as caught:
        for event in board.measure(package):
            events.append(event)
            if isinstance(event, Start):
                sshd.stop()
    assert "--resume" in caught.value.fix
    assert done(events) == []
    journal = work / "jobs" / package.id / "journal.jsonl"
    wait_until(lambda: b'{"event":"end"}' in journal.read_bytes())
    sshd.start()
    collected = board.resume(package.id)
    assert collected is not None
    assert done(list(collected)) == [0]


def test_leaving_early_leaves_the_agent_at_work(loop: LoopTarget, tmp_path: Path) -> None:
    package = make_small_package(tmp_path, 1, LONG)
    with closing(loop.measure(package)) as events:
        next(events)
    following = loop.resume(package.id)
    assert following is not None
    found = list(following)
    assert done(found) == [0]
    assert sum(isinstance(event, Start) for event in found) == 1


def test_an_agent_that_is_killed_is_started_again_and_repeats_nothing(
    loop: LoopTarget, tmp_path: Path, work: Path
) -> None:
    package = make_small_package(tmp_path, 2, LONG)
    events: list[Event] = []
    for event in loop.measure(package):
        events.append(event)
        if event == ItemDone(0):
            kill_agent(work, package.id)
    counted = Counter(type(event).__name__ for event in events)
    assert counted["ItemDone"] == 2
    assert counted["Start"] == 2
    assert done(events) == [0, 1]
    [line] = loop.told
    assert "ended before its work did (exit code 137, killed" in line
    assert "started again (1 of 3)" in line


def test_an_agent_that_always_dies_is_given_up(work: Path, tmp_path: Path) -> None:
    loop = dying(work, "echo the reason >&2\nexit 7")
    with pytest.raises(RemoteError, match=r"ended 4 times .*exit code 7: the reason") as caught:
        list(loop.measure(make_small_package(tmp_path)))
    assert "--resume" in caught.value.fix
    assert len(loop.told) == 3


def test_a_device_without_python_is_told_what_to_type(work: Path, tmp_path: Path) -> None:
    loop = LoopTarget(describe(work, runtime={"python": "no-such-python"}))
    with pytest.raises(RemoteError, match="board has no no-such-python") as caught:
        loop.fingerprint("onnxruntime", QUICK)
    assert 'agent = "native"' in caught.value.fix
    with pytest.raises(RemoteError, match="board has no no-such-python"):
        list(loop.measure(make_small_package(tmp_path)))
    assert loop.told == []


def test_a_python_without_numpy_is_told_what_to_type(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    loop = LoopTarget(describe(work, runtime={"python": python}))
    with pytest.raises(RemoteError, match=r"the Python of board .* has no numpy") as caught:
        loop.fingerprint("onnxruntime", QUICK)
    assert f"{python} -m pip install numpy" in caught.value.fix
    with pytest.raises(RemoteError, match="has no numpy"):
        list(loop.measure(make_small_package(tmp_path)))


def test_what_the_agent_refuses_has_its_own_type(loop: LoopTarget) -> None:
    with pytest.raises(UnknownName, match="board: unknown profiler 'nothing'"):
        loop.fingerprint("nothing", QUICK)


def test_nobody_is_waited_for_who_has_never_answered(sshd: Sshd, board: SshTarget) -> None:
    sshd.stop()
    with pytest.raises(NoSuchDevice, match="refuses connections"):
        board.cores()


def test_a_model_that_was_damaged_meanwhile_is_sent_again(
    loop: LoopTarget, tmp_path: Path, work: Path
) -> None:
    package = make_small_package(tmp_path, 2, LONG)
    with closing(loop.measure(package)) as events:
        next(events)
    kill_agent(work, package.id)
    for name in package.blobs:
        (work / "blobs" / name).write_bytes(b"")
    assert done(list(loop.measure(package))) == [0, 1]


def test_an_item_that_fails_is_an_event_and_the_rest_is_measured(
    loop: LoopTarget, tmp_path: Path
) -> None:
    package = make_small_package(tmp_path)
    document = json.loads(package.document)
    document["items"][0]["inputs"][0]["name"] = "other"
    changed = json.dumps(document).encode()
    odd = Package(changed, hashlib.sha256(changed).hexdigest(), package.blobs, package.data)
    events = list(loop.measure(odd))
    assert [event.item for event in events if isinstance(event, ItemFailed)] == [0]
    assert done(events) == [1]


def test_an_old_error_in_a_journal_is_no_error_of_the_next_start(
    loop: LoopTarget, tmp_path: Path, work: Path
) -> None:
    package = make_small_package(tmp_path, 1, LONG)
    with closing(loop.measure(package)) as events:
        next(events)
    kill_agent(work, package.id)
    with (work / "jobs" / package.id / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"event":"error","error":"No space left","fix":"","type":""}\n')
    following = loop.resume(package.id)
    assert following is not None
    assert done(list(following)) == [0]


def test_an_agent_that_finds_the_disk_full_says_so(work: Path, tmp_path: Path) -> None:
    loop = dying(work, "echo 'No space left on device' >&2\nexit 1")
    with pytest.raises(DeviceFull, match="no space is left on board"):
        list(loop.measure(make_small_package(tmp_path)))


@pytest.mark.parametrize(
    "allowed", ["", *(f"Cpus_allowed_list:\t{cores}" for cores in ("x", "0-99999999", "-", "5-"))]
)
def test_odd_cores_are_refused(
    loop: LoopTarget, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setattr("hwnas.remote.target._CORES", f"echo '{allowed}'")
    with pytest.raises(RemoteError, match="cores"):
        loop.cores()


def native(work: Path, library: Path | str) -> LoopTarget:
    return LoopTarget(describe(work, runtime={"agent": "native", "library": str(library)}))


def test_the_native_agent_needs_a_library_for_its_architecture(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no runtime library"):
        native(work, "").fingerprint("onnxruntime", QUICK)
    odd = tmp_path / "libonnxruntime.so"
    odd.write_bytes(b"text")
    with pytest.raises(UsageError, match="is for no system"):
        native(work, odd).fingerprint("onnxruntime", QUICK)
    machine = {"x86_64": 183, "aarch64": 62}[os.uname().machine]
    odd.write_bytes(b"\x7fELF" + bytes(14) + bytes([machine, 0]) + bytes(60))
    with pytest.raises(UsageError, match=r"is for (aarch64|x86_64), and board is"):
        native(work, odd).fingerprint("onnxruntime", QUICK)
    with pytest.raises(UsageError, match="cannot be read"):
        runtime_library(tmp_path / "missing.so")


def test_the_library_is_taken_out_of_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "onnxruntime.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/capi/libonnxruntime.so.1.32.0", b"library")
        archive.writestr("onnxruntime/capi/libonnxruntime_providers_shared.so", b"other")
    assert runtime_library(wheel) == b"library"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("onnxruntime.libs/libonnxruntime.so", b"library")
    with pytest.raises(UsageError, match="holds 2 files"):
        runtime_library(wheel)
    wheel.write_bytes(b"junk")
    with pytest.raises(UsageError, match="cannot be read"):
        runtime_library(wheel)


def test_the_native_agent_measures_through_the_same_path(work: Path, tmp_path: Path) -> None:
    import onnxruntime

    found = list(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if len(found) != 1:
        pytest.skip("onnxruntime's package here holds no libonnxruntime.so")
    library = tmp_path / "libonnxruntime.so"
    library.symlink_to(found[0])
    loop = native(work, library)
    try:
        choose_agent(loop.descriptor, os.uname().machine)
    except HwnasError as error:
        pytest.skip(f"the native agent cannot be built here: {error.cause}")
    assert loop.fingerprint("onnxruntime", QUICK).runtime == "onnxruntime"
    events = list(loop.measure(make_small_package(tmp_path)))
    assert isinstance(events[0], Start)
    assert events[0].agent == "native"
    assert done(events) == [0, 1]
