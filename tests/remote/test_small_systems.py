"""The scripts on shells and tools other than this machine's own, where those are installed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hwnas.agent.events import ItemDone
from hwnas.agent.wire import encode_event
from hwnas.remote.device import Device
from hwnas.remote.follow import Follower
from hwnas.remote.jobs import (
    check_alone,
    create_job,
    read_ending,
    remove_job,
    start_agent,
    stop_agent,
)
from hwnas.remote.shell import LocalTransport, command_line, read_framed
from hwnas.remote.upload import upload
from hwnas.testing.processes import wait_until

# What a script may rely on, whatever the system: POSIX's, and a little that all of them have.
TOOLS = "cat chmod cp df head ln mkdir mv rm sha256sum setsid sleep sync tail tar uname wc env"


def find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed: apt install {program}")
    return found


@pytest.fixture(params=["busybox", "toybox and mksh", "bash"])
def small(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only these programs on the path, as on a small board or on Android."""
    box, _, shell = request.param.partition(" and ")
    program = find(box)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in [] if box == "bash" else TOOLS.split():
        (bin_folder / tool).symlink_to(program)
    (bin_folder / "sh").symlink_to(find(shell) if shell else program)
    monkeypatch.setenv("PATH", f"{bin_folder}{':' + os.environ['PATH'] if box == 'bash' else ''}")
    return bin_folder


def test_everything_works_on_a_small_system(small: Path, tmp_path: Path) -> None:
    transport = LocalTransport("board")
    device = Device(transport, str(tmp_path / "work"))
    contents = [random.Random(size).randbytes(size) for size in (0, 5, 1000, 300_000, 5_000_000)]
    blobs = {hashlib.sha256(data).hexdigest(): data for data in contents}
    upload(device, blobs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "work/blobs").iterdir()} == blobs
    for name in list(blobs)[-2:]:
        path = tmp_path / "work/blobs" / name
        (path.parent / f"{name}.part").write_bytes(path.read_bytes()[:1234])
        path.unlink()
    upload(device, blobs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "work/blobs").iterdir()} == blobs
    job = next(reversed(blobs))
    create_job(device, job, {"weights": next(iter(blobs))})
    folder = tmp_path / "work" / "jobs" / job
    text = "".join(
        f"echo '{encode_event(ItemDone(item)).decode().strip()}' >> journal.jsonl; sleep 1; "
        for item in range(2)
    )
    start_agent(device, job, ["sh", "-c", f"echo x >> starts; {text} echo bad >&2; exit 5"])
    start_agent(device, job, ["sh", "-c", "echo x >> starts"])
    check_alone(device, job)
    follower = Follower(device, job)
    found = follower.poll()
    while follower.alive:
        found += follower.poll()
    assert found == [ItemDone(0), ItemDone(1)]
    assert (folder / "starts").read_text() == "x\n"
    wait_until((folder / "ended").exists)
    assert str(read_ending(device, job)) == "exit code 5: bad"
    stop_agent(device, job)
    check_alone(device, "0" * 64)
    create_job(device, job, {"weights": list(blobs)[1]})
    assert (folder / "data" / "weights").read_bytes() == contents[1]
    remove_job(device, job)
    assert not folder.exists()


@pytest.mark.parametrize("shell", ["bash", "busybox", "dash", "fish", "mksh", "zsh"])
def test_login_shells_pass_a_script_on(shell: str, tmp_path: Path) -> None:
    words = [find(shell), *(["sh"] if shell == "busybox" else []), "-c"]
    nasty = ["", "a b", "$HOME", "`id`", "é\n!", "*", '"', "'"]
    line = command_line('for a; do echo "<$a>"; done; exit 7', nasty, "nonce")
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([*words, line], capture_output=True, env=environment)
    expected = "".join(f"<{word}>\n" for word in nasty).encode()
    assert read_framed(done.stdout, "nonce") == (7, expected)
