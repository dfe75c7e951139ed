"""Jobs on a device and their journals, with a shell script in the agent's place."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.agent.events import End, Event, ItemDone, ItemFailed, Probe
from hwnas.agent.wire import LONGEST_LINE, encode_event
from hwnas.errors import LinkLost, NoSuchDevice, ProfileError, RemoteError, UsageError
from hwnas.remote.device import Device
from hwnas.remote.follow import Follower, Lines, read_events
from hwnas.remote.jobs import create_job, has_job, read_ending, remove_job, start_agent
from hwnas.remote.shell import LocalTransport
from hwnas.remote.upload import upload
from hwnas.testing.processes import running, wait_until
from hwnas_targets.ssh import SshTransport
from tests.support.sshd import Sshd

DOCUMENT = b'{"a": "job"}'
ID = hashlib.sha256(DOCUMENT).hexdigest()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device with one job."""
    device = Device(LocalTransport("board"), str(tmp_path / "work"))
    upload(device, {ID: DOCUMENT})
    create_job(device, ID, {})
    return device


@pytest.fixture
def folder(device: Device, tmp_path: Path) -> Path:
    return tmp_path / "work" / "jobs" / ID


def script(device: Device, text: str) -> None:
    """Start a shell script as the job's agent, in the job's folder."""
    start_agent(device, ID, ["sh", "-c", text])


def poll_to_end(follower: Follower) -> list[Event]:
    found = follower.poll()
    while follower.alive or not follower.whole:
        found += follower.poll()
    return found


def test_a_job_is_made_of_what_is_there(tmp_path: Path) -> None:
    device = Device(LocalTransport("board"), str(tmp_path / "work"))
    weights = b"w" * 1000
    name = hashlib.sha256(weights).hexdigest()
    upload(device, {ID: DOCUMENT})
    with pytest.raises(RemoteError, match="the job cannot be made on board"):
        create_job(device, ID, {"weights.safetensors": name})
    assert not has_job(device, ID)
    upload(device, {name: weights})
    for _ in range(2):
        create_job(device, ID, {"weights.safetensors": name})
    job = tmp_path / "work" / "jobs" / ID
    assert has_job(device, ID)
    assert (job / "job.json").read_bytes() == DOCUMENT
    assert (job / "data" / "weights.safetensors").read_bytes() == weights
    assert sorted(path.name for path in job.iterdir()) == ["data", "job.json"]


@pytest.mark.parametrize("job_id", ["", "../x", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_odd_ids_never_reach_a_shell(device: Device, job_id: str) -> None:
    for act in (has_job, remove_job, read_ending):
        with pytest.raises(UsageError, match="is not the id of a job"):
            act(device, job_id)


def test_an_agent_is_started_once(device: Device, folder: Path) -> None:
    for _ in range(3):
        script(device, "echo x >> starts; sleep 30")
    assert (folder / "starts").read_text() == "x\n"
    pid, began = (folder / "started").read_text().split()
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == began
    os.killpg(int(pid), signal.SIGKILL)
    wait_until(lambda: not running(int(pid)))
    script(device, "echo x >> starts")
    wait_until((folder / "ended").exists)
    assert (folder / "starts").read_text() == "x\nx\n"


def test_a_process_number_that_is_used_again_is_no_agent(device: Device, folder: Path) -> None:
    for name in ("lock", "started"):
        (folder / name).write_text(f"{os.getpid()} 1\n")
    script(device, "echo x > ran")
    wait_until((folder / "ran").exists)


@pytest.mark.parametrize("text", ["", "\n", "x y\n", "-1 2\n", "1", "99999999999999999999 1\n"])
def test_an_odd_lock_is_nobodys(device: Device, folder: Path, text: str) -> None:
    (folder / "lock").write_text(text)
    follower = Follower(device, ID)
    follower.poll()
    assert not follower.alive


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("exit 3", 3, ""),
        ("echo one >&2; echo the reason >&2; echo '  fix: that' >&2; exit 1", 1, "the reason"),
        ("kill -9 $$", 137, ""),
    ],
)
def test_how_an_agent_ended_is_known(
    device: Device, folder: Path, text: str, code: int, said: str
) -> None:
    script(device, "echo of an older start >&2; exit 9")
    wait_until((folder / "ended").exists)
    script(device, text)
    wait_until(lambda: (folder / "ended").exists() and (folder / "ended").read_text())
    ending = read_ending(device, ID)
    assert ending.code == code
    assert said in ending.said
    assert "older" not in ending.said


def test_a_program_that_is_not_there_is_known(device: Device, folder: Path) -> None:
    start_agent(device, ID, ["no-such-python", "x"])
    wait_until(lambda: (folder / "ended").exists() and (folder / "ended").read_text())
    assert read_ending(device, ID).code == 127


def test_an_agent_outlives_the_link_and_its_journal_is_read_on(
    sshd: Sshd, ssh: SshTransport, tmp_path: Path
) -> None:
    device = Device(ssh, str(tmp_path / "work"))
    upload(device, {ID: DOCUMENT})
    create_job(device, ID, {})
    lines = [json.dumps({"event": "done", "item": item}) for item in range(8)]
    script(device, "".join(f"echo '{line}' >> journal.jsonl; sleep 0.3; " for line in lines))
    follower = Follower(device, ID)
    found = follower.poll()
    sshd.stop()
    with pytest.raises((LinkLost, NoSuchDevice)):  # refused, where the loss was noticed before
        poll_to_end(follower)
    sshd.start()
    found += poll_to_end(follower)
    assert found == [ItemDone(item) for item in range(8)]


def test_a_line_is_told_once_it_is_whole(device: Device, folder: Path) -> None:
    journal = folder / "journal.jsonl"
    follower = Follower(device, ID)
    assert follower.poll(0) == []
    line = encode_event(ItemDone(1))
    for end in (5, len(line) - 1):
        journal.write_bytes(line[:end])
        assert follower.poll(0) == []
        assert follower.whole
    journal.write_bytes(line + encode_event(ItemDone(2)) + b'{"ev')
    assert follower.poll(0) == [ItemDone(1), ItemDone(2)]
    assert follower.poll(0) == []


def test_a_poll_ends_when_there_is_something_and_when_the_agent_dies(
    device: Device, folder: Path
) -> None:
    line = encode_event(End()).decode().strip()
    script(device, f"sleep 1; echo '{line}' >> journal.jsonl; sleep 1")
    follower = Follower(device, ID)
    assert follower.poll(60) == []
    assert follower.poll(60) == [End()]
    assert follower.poll(60) == []
    assert not follower.alive


def test_a_poll_without_news_ends_at_its_time(device: Device, folder: Path) -> None:
    script(device, "sleep 30")
    follower = Follower(device, ID)
    follower.poll(1)
    assert follower.poll(1) == []
    assert follower.alive
    os.killpg(int((folder / "started").read_text().split()[0]), signal.SIGKILL)


def test_long_journals_come_in_pieces(device: Device, folder: Path) -> None:
    events: list[Event] = [ItemFailed(item, "x" * 4000) for item in range(1000)]
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode_event, events)))
    follower = Follower(device, ID)
    first = follower.poll(0)
    assert 0 < len(first) < 1000
    assert not follower.whole
    assert first + poll_to_end(follower) == events


def test_a_line_longer_than_a_piece_is_read_and_one_longer_than_allowed_is_not(
    device: Device, folder: Path
) -> None:
    items = ",".join(["123456789"] * 60_000 + [" " * 2_500_000 + "1"])
    long = f'{{"event":"sit","sitting":1,"items":[{items}]}}\n'.encode()
    assert 3_000_000 < len(long) < LONGEST_LINE
    journal = folder / "journal.jsonl"
    journal.write_bytes(encode_event(Probe(1)) + long + encode_event(End()))
    found = poll_to_end(Follower(device, ID))
    assert [type(event).__name__ for event in found] == ["Probe", "Sit", "End"]
    for size in (LONGEST_LINE + 1, 2 * LONGEST_LINE):
        journal.write_bytes(encode_event(Probe(1)) + b" " * size + b"\n")
        with pytest.raises(ProfileError, match="board: line 2 of the journal"):
            poll_to_end(Follower(device, ID))


JUNK = [b"\n", b"junk\n", b"\xff\x00\n", b'{"event":"done"}\n', b'{"event":"\x1b[2J"}\n']


@pytest.mark.parametrize("junk", [*JUNK, b"[" * 9999 + b"\n"])
def test_what_is_no_event_is_named(device: Device, folder: Path, junk: bytes) -> None:
    (folder / "journal.jsonl").write_bytes(encode_event(ItemDone(1)) + junk)
    with pytest.raises(
        ProfileError, match="board: line 2 of the journal is not an event"
    ) as caught:
        Follower(device, ID).poll(0)
    assert caught.value.cause.isprintable()


def test_a_journal_that_lost_its_end_is_told_from_where_it_differs(
    device: Device, folder: Path
) -> None:
    journal = folder / "journal.jsonl"
    before = [encode_event(ItemDone(item)) for item in range(10)]
    journal.write_bytes(b"".join(before))
    follower = Follower(device, ID)
    assert len(follower.poll(0)) == 10
    # The power was cut: the last lines are gone, and the agent has begun again.
    journal.write_bytes(b"".join(before[:6]))
    assert poll_to_end(follower) == []
    new = [encode_event(Probe(item)) for item in range(20)]
    journal.write_bytes(b"".join(before[:6] + new))
    assert poll_to_end(follower) == [Probe(item) for item in range(20)]
    journal.write_bytes(b"".join(before[:6] + new + before[6:]))
    assert poll_to_end(follower) == [ItemDone(item) for item in range(6, 10)]


def test_a_job_that_is_gone_is_an_error(device: Device, folder: Path) -> None:
    follower = Follower(device, ID)
    follower.poll(0)
    remove_job(device, ID)
    assert not folder.exists()
    assert not (folder.parents[1] / "blobs" / ID).exists()
    with pytest.raises(RemoteError, match="does not have the job"):
        follower.poll(0)
    with pytest.raises(RemoteError, match="does not have the job"):
        script(device, "true")
    remove_job(device, ID)


_EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(
        st.builds(ItemDone, st.integers(0, 99)),
        st.builds(ItemFailed, st.integers(0, 99), st.text("abc äö", min_size=1).map("e{}".format)),
    ),
    max_size=20,
)


@given(_EVENTS, st.lists(st.integers(1, 50)), st.booleans())
def test_however_bytes_are_cut_events_are_the_same(
    events: list[Event], cuts: list[int], torn: bool
) -> None:
    data = b"".join(map(encode_event, events)) + (b'{"event":"do' if torn else b"")
    pieces, begin = [], 0
    for cut in [*cuts, len(data)]:
        pieces.append(data[begin : begin + cut])
        begin += cut
    assert list(read_events(iter(pieces), "x")) == events


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_any_bytes_are_events_or_one_error(pieces: list[bytes]) -> None:
    lines = Lines("board")
    try:
        for piece in pieces:
            for line, _ in lines.feed(piece):
                assert line.endswith(b"\n")
    except ProfileError as error:
        assert error.cause.isprintable()


@settings(max_examples=15, deadline=None)
@given(_EVENTS, st.lists(st.integers(0, 600), max_size=5))
def test_however_a_journal_grows_each_event_is_told_once(
    events: list[Event], cuts: list[int]
) -> None:
    data = b"".join(map(encode_event, events))
    with tempfile.TemporaryDirectory() as name:
        device = Device(LocalTransport("board"), f"{name}/work")
        job = Path(name, "work", "jobs", ID)
        device.place()
        job.mkdir()
        (job / "job.json").write_bytes(DOCUMENT)
        follower = Follower(device, ID)
        found = []
        for cut in [*sorted(cuts), len(data)]:
            (job / "journal.jsonl").write_bytes(data[:cut])
            found += follower.poll(0)
    assert found == events
