"""The agent on its own with a journal, as on a device: it is killed, and goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hwnas.agent.events import AgentError, End, Event, ItemDone, ItemFailed, Sat, Sit, Start
from hwnas.agent.journal import process_start
from hwnas.agent.wire import parse_event
from hwnas.profile import Package, Settings
from hwnas.testing.processes import descendants, running, wait_until
from tests.support.measuring import CUT, QUICK, faulty_package, read_records, unpack
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("example_plugins")

LONG = replace(CUT, sittings=2, min_rounds=50, max_rounds=50)


class Device:
    """A job and its agent."""

    def __init__(self, folder: Path, package: Package) -> None:
        self.package = package
        self.job, self.blobs = unpack(package, folder)
        self.journal = self.job / "journal.jsonl"

    def command(self) -> list[str | Path]:
        words = [sys.executable, "-P", "-m", "hwnas.agent", "run"]
        return [*words, self.job, "--blobs", self.blobs]

    def run(self, before: int = 0) -> subprocess.CompletedProcess[bytes]:
        """To its end; ``before``: size of files at which a write fails, in bytes."""

        def limit() -> None:
            if before:
                resource.setrlimit(resource.RLIMIT_FSIZE, (before, before))

        return subprocess.run(
            self.command(), capture_output=True, timeout=120, check=False, preexec_fn=limit
        )

    def start(self) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.command(), stdout=quiet, stderr=quiet)

    def events(self) -> list[Event]:
        data = self.journal.read_bytes()
        assert data.endswith(b"\n")
        return [parse_event(line) for line in data.splitlines()]

    def has(self, text: bytes, times: int = 1) -> bool:
        return self.journal.exists() and self.journal.read_bytes().count(text) >= times


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    return folder


@pytest.fixture
def device(tmp_path: Path, bundle: Path) -> Device:
    return Device(tmp_path, faulty_package(bundle, LONG, "slow", "chatty", "raise", "slow again"))


def said(done: subprocess.CompletedProcess[bytes]) -> AgentError:
    """The one event on standard output, of what kept a journal from being written."""
    assert done.returncode == 1
    [event] = [parse_event(line) for line in done.stdout.splitlines()]
    assert isinstance(event, AgentError)
    return event


def all_ended(pids: list[int]) -> bool:
    return not any(map(running, pids))


def check_whole(device: Device, starts: int) -> None:
    """Each item was finished once, sittings count on, and all of it makes records."""
    events = device.events()
    assert isinstance(events[-1], End)
    assert sum(isinstance(event, Start) for event in events) == starts
    finished = [event.item for event in events if isinstance(event, (ItemDone, ItemFailed))]
    assert sorted(finished) == [0, 1, 2, 3]
    numbers = [event.sitting for event in events if isinstance(event, Sit)]
    assert numbers == list(range(len(numbers)))
    records = read_records(device.package, events)
    assert sorted(records) == ["chatty", "slow", "slow again"]
    for record in records.values():
        assert len(record.turns) == 2 * LONG.max_rounds


def test_a_job_is_measured_into_its_journal(device: Device) -> None:
    done = device.run()
    assert (done.returncode, done.stdout) == (0, b"")
    check_whole(device, starts=1)
    events = device.events()
    assert isinstance(events[0], Start)
    assert (events[0].job, events[0].agent) == (device.package.id, "python")


def test_what_has_ended_stays_as_it_is(tmp_path: Path, bundle: Path) -> None:
    device = Device(tmp_path, faulty_package(bundle, QUICK, "good", "raise"))
    assert device.run().returncode == 0
    before = device.journal.read_bytes()
    assert device.run().returncode == 0
    assert device.journal.read_bytes() == before


def test_killed_again_and_again_each_item_is_measured_once(device: Device) -> None:
    markers = [(b'"event":"round"', 20), (b'"event":"done"', 1), (b'"sitting":4', 30)]
    for number, (marker, times) in enumerate(markers, 1):
        agent = device.start()
        wait_until(partial(device.has, b'"event":"start"', number))
        wait_until(partial(device.has, marker, times))
        children = descendants(agent.pid)
        agent.kill()
        agent.wait()
        wait_until(partial(all_ended, children), 10)
        with device.journal.open("ab") as journal:
            journal.write(b'{"event":"done","item":3')
    assert device.run().returncode == 0
    check_whole(device, starts=4)


def test_what_hangs_ends_with_an_agent_that_is_killed(tmp_path: Path, bundle: Path) -> None:
    device = Device(tmp_path, faulty_package(bundle, QUICK, "hang"))
    agent = device.start()
    wait_until((device.job / "data" / "hang.started").exists)
    children = descendants(agent.pid)
    agent.kill()
    agent.wait()
    assert len(children) == 1
    wait_until(partial(all_ended, children), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_all_that_it_has_started(device: Device, number: int) -> None:
    agent = device.start()
    wait_until(lambda: device.has(b'"event":"round"'))
    children = descendants(agent.pid)
    agent.send_signal(number)
    assert agent.wait(10) == 1
    assert children and not any(map(running, children))
    assert not any(isinstance(event, AgentError) for event in device.events())


def test_it_outlives_whoever_started_it(device: Device) -> None:
    command = 'setsid "$@" </dev/null >/dev/null 2>&1 & echo $!'
    words = ["sh", "-c", command, "sh", *device.command()]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wait_until(lambda: device.has(b'"event":"end"'))
    check_whole(device, starts=1)


def test_a_second_agent_is_refused(device: Device) -> None:
    first = device.start()
    wait_until(lambda: device.has(b'"event":"sit"'))
    pid, start = (device.job / "lock").read_text().split()
    assert int(pid) == first.pid and start == process_start(first.pid)
    error = said(device.run())
    assert f"process {first.pid}" in error.error and error.fix
    assert first.wait(120) == 0
    check_whole(device, starts=1)


class TestProblems:
    @pytest.mark.parametrize("what", ["model", "data", "missing"])
    def test_a_file_that_is_not_what_was_sent_is_an_error_event(
        self, device: Device, what: str
    ) -> None:
        weights = device.job / "data" / "weights.bin"
        sha256 = next(iter(set(device.package.blobs) - set(device.package.data.values())))
        path = weights if what == "data" else device.blobs / sha256
        if what == "missing":
            path.unlink()
        else:
            data = path.read_bytes()
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        done = device.run()
        assert done.returncode == 1
        [event] = device.events()
        assert isinstance(event, AgentError) and path.name in event.error
        assert event.type == "ProfileError" and event.fix
        assert path.name.encode() in done.stderr, "for the log"

    def test_one_that_comes_up_later_loses_nothing(self, device: Device) -> None:
        agent = device.start()
        wait_until(lambda: device.has(b'"event":"done"'))
        agent.terminate()
        agent.wait()
        before = device.events()
        weights = device.job / "data" / "weights.bin"
        data = weights.read_bytes()
        weights.write_bytes(b"\0" * len(data))
        assert device.run().returncode == 1
        events = device.events()
        assert events[:-1] == before and isinstance(events[-1], AgentError)
        weights.write_bytes(data)
        assert device.run().returncode == 0
        check_whole(device, starts=2)

    @pytest.mark.parametrize("document", [None, b"", b"{}", b"\xff"])
    def test_no_job_is_an_error_event(self, device: Device, document: bytes | None) -> None:
        path = device.job / "job.json"
        if document is None:
            path.unlink()
        else:
            path.write_bytes(document)
        assert device.run().returncode == 1
        [event] = device.events()
        assert isinstance(event, AgentError) and "job.json" in event.error

    def test_a_damaged_journal_is_an_error(self, device: Device) -> None:
        device.run()
        whole = device.journal.read_bytes()
        device.journal.write_bytes(whole.replace(b'"event":"sat"', b'"event":"sit"', 1))
        done = device.run()
        assert done.returncode == 1 and b"is not an event" in done.stderr

    def test_a_journal_of_another_job_is_an_error(
        self, tmp_path: Path, bundle: Path, device: Device
    ) -> None:
        other = Device(tmp_path / "other", faulty_package(bundle, QUICK, "good"))
        assert other.run().returncode == 0
        shutil.copy(other.journal, device.journal)
        assert device.run().returncode == 1
        event = device.events()[-1]
        assert isinstance(event, AgentError) and "another job" in event.error

    def test_an_unknown_profiler_or_core(self, tmp_path: Path, bundle: Path) -> None:
        for settings, word in ((replace(QUICK, affinity=(999,)), "999"), (Settings(), "faulty")):
            package = faulty_package(bundle, settings, "good")
            if word == "faulty":
                package = replace(
                    package, document=package.document.replace(b'"faulty"', b'"no such"')
                )
            device = Device(tmp_path / word, package)
            assert device.run().returncode == 1
            [event] = device.events()
            assert isinstance(event, AgentError) and event.fix
            assert word in event.error or "no such" in event.error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted: that takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


class TestFullDisk:
    """It ends with an error, whole lines are kept, and it goes on when there is space."""

    def check(self, device: Device, done: subprocess.CompletedProcess[bytes]) -> None:
        assert done.returncode == 1
        before = device.events()
        # What is said of it is short, and may find the room that a round did not.
        said_there = [event for event in before if isinstance(event, AgentError)]
        [error] = [parse_event(line) for line in done.stdout.splitlines()] or said_there
        assert isinstance(error, AgentError)
        assert "the journal cannot be written" in error.error and "free space" in error.fix
        assert not any(isinstance(event, End) for event in before)
        assert device.run().returncode == 0
        assert device.events()[: len(before)] == before

    def test_a_limit_of_a_files_size(self, device: Device) -> None:
        self.check(device, device.run(before=20_000))
        check_whole(device, starts=2)

    def test_a_full_file_system(self, bundle: Path, small_disk: Path) -> None:
        package = faulty_package(bundle, LONG, "slow", "chatty", "raise", "slow again")
        device = Device(small_disk, package)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as stream:
            while True:
                try:
                    stream.write(bytes(4096))
                except OSError:
                    break
            stream.truncate(stream.tell() - 24_576)
        done = device.run()
        filler.unlink()
        self.check(device, done)
        assert any(isinstance(event, Sat) for event in device.events())
        check_whole(device, starts=2)
