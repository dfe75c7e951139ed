"""The journal on real disks: what was appended is there, half a line never is."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.agent.events import End, Event, ItemDone, ItemFailed, Probe, Sit
from hwnas.agent.journal import Journal, lock, process_start
from hwnas.agent.wire import encode_event
from hwnas.errors import ProfileError

SAID: list[Event] = [Probe(0), Sit(0, (0, 1)), ItemDone(0), ItemFailed(1, "no"), End()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path, *events: Event) -> None:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    journal.close()


def read(path: Path) -> list[Event]:
    journal = Journal(path)
    try:
        return list(journal.replay())
    finally:
        journal.close()


def test_what_was_said_is_read_in_order_and_gone_on_with(path: Path) -> None:
    write(path, *SAID[:2])
    write(path, *SAID[2:])
    assert read(path) == SAID
    assert path.stat().st_mode & 0o777 == 0o600


def test_appending_before_reading_does_not_overwrite(path: Path) -> None:
    write(path, *SAID)
    journal = Journal(path)
    journal.append(Probe(7))
    replay = journal.replay()
    assert next(replay) == SAID[0]
    journal.append(Probe(8))
    journal.close()
    assert read(path) == [*SAID, Probe(7), Probe(8)]


@pytest.mark.parametrize("length", [1, 20, 65_535, 65_536, 65_537, 200_000])
def test_a_torn_last_line_is_cut_off(path: Path, length: int) -> None:
    write(path, *SAID)
    whole = path.read_bytes()
    with path.open("ab") as stream:
        stream.write(b"x" * length)
    assert read(path) == SAID
    assert path.read_bytes() == whole


def test_a_first_line_that_is_torn(path: Path) -> None:
    path.write_bytes(b"x" * 100_000)
    assert read(path) == []
    assert path.read_bytes() == b""


def test_a_whole_line_that_is_no_event_is_named(path: Path) -> None:
    write(path, *SAID)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"done"', b'"d\x00ne"'))
    with pytest.raises(ProfileError, match=r"journal.jsonl, line 3, is not an event") as caught:
        read(path)
    assert "remove" in caught.value.fix


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_journal_is_read_or_refused(path: Path, data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(encode_event, SAID)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "insert"])):
            case "byte":
                whole[place] = data.draw(st.integers(0, 255))
            case "cut":
                del whole[place : place + data.draw(st.integers(0, 40))]
            case "insert":
                whole[place:place] = data.draw(st.binary(max_size=8))
        whole = whole or bytearray(b"x")
    path.write_bytes(whole)
    try:
        found = read(path)
    except ProfileError:
        return
    assert path.read_bytes() == whole[: whole.rfind(b"\n") + 1]
    assert len(found) == path.read_bytes().count(b"\n")


LIMITED = """
import resource, sys
from pathlib import Path
from hwnas.agent.events import Probe
from hwnas.agent.journal import Journal
from hwnas.errors import ProfileError
path = Path(sys.argv[1])
journal = Journal(path)
journal.append(Probe(0))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
try:
    journal.append(Probe(1))
except ProfileError as error:
    print(error.cause, path.read_bytes().count(b"\\n"), path.read_bytes()[-1:])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.append(Probe(2))
journal.close()
"""


def test_a_full_disk_leaves_whole_lines_and_can_be_gone_on_with(path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0
    done = subprocess.run(
        [sys.executable, "-P", "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the journal cannot be written: File too large 1 b'\\n'\n"
    assert read(path) == [Probe(0), Probe(2)]


class TestLock:
    def test_names_its_process(self, tmp_path: Path) -> None:
        with lock(tmp_path / "lock"):
            pid, start = (tmp_path / "lock").read_text().split()
            assert int(pid) == os.getpid() and start == process_start(os.getpid())

    def test_is_one_agents(self, tmp_path: Path) -> None:
        with (
            lock(tmp_path / "lock"),
            pytest.raises(ProfileError, match=f"process {os.getpid()}"),
        ):
            lock(tmp_path / "lock")
        lock(tmp_path / "lock").close()

    def test_what_a_dead_agent_left_is_no_hindrance(self, tmp_path: Path) -> None:
        (tmp_path / "lock").write_text("123456789012 1\nnonsense\n")
        lock(tmp_path / "lock").close()
        assert len((tmp_path / "lock").read_text().splitlines()) == 1

    def test_no_process_has_no_start(self) -> None:
        assert process_start(1 << 30) == ""
        assert int(process_start(1)) >= 0


def held_by(path: Path, owner: str, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that holds the lock of ``path`` for a while, in which ``owner`` stands."""
    path.write_text(owner)
    code = (
        "import fcntl, sys, time\n"
        "held = open(sys.argv[1])\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, str(path), str(seconds)]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    return holder


def test_the_child_of_an_agent_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    with held_by(tmp_path / "lock", "999999999 1\n", 0.3):
        lock(tmp_path / "lock").close()
    assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())


def test_one_that_stays_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.agent.journal._LOCK_WAIT_S", 0.1)
    with held_by(tmp_path / "lock", "", 60) as holder:
        with pytest.raises(ProfileError, match="process unknown"):
            lock(tmp_path / "lock")
        holder.kill()
