"""Files to a device: sent once, resumed, checked, and what a full disk says."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.errors import DeviceFull, LinkLost, ProfileError, RemoteError, UsageError
from hwnas.profile.transport import Transport
from hwnas.remote.device import Device
from hwnas.remote.shell import LocalTransport
from hwnas.remote.upload import CHUNK, upload
from hwnas_targets.ssh import SshTransport
from tests.support.sshd import Sshd


def blob(seed: int, size: int) -> tuple[str, bytes]:
    data = random.Random(seed).randbytes(size)
    return hashlib.sha256(data).hexdigest(), data


@pytest.fixture
def device(transport: Transport, tmp_path: Path) -> Device:
    return Device(transport, str(tmp_path / "work"))


@pytest.fixture
def local(tmp_path: Path) -> Device:
    return Device(LocalTransport("board"), str(tmp_path / "work"))


def stored(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "work" / "blobs").iterdir()}


def test_files_of_all_sizes_arrive(device: Device, tmp_path: Path) -> None:
    sizes = [0, 1, 1000, 256 << 10, (256 << 10) + 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77]
    blobs = dict(blob(seed, size) for seed, size in enumerate(sizes))
    path = tmp_path / "file"
    path.write_bytes(blobs[max(blobs, key=lambda name: len(blobs[name]))])
    given: dict[str, bytes | Path] = {
        name: path if data == path.read_bytes() else data for name, data in blobs.items()
    }
    told: list[tuple[int, int]] = []
    upload(device, given, lambda done, total: told.append((done, total)))
    assert stored(tmp_path) == blobs
    assert told[-1] == (sum(sizes), sum(sizes))
    assert told == sorted(told)


def test_many_small_files_take_few_round_trips(local: Device, tmp_path: Path) -> None:
    blobs = dict(blob(seed, 3) for seed in range(600))
    calls = []
    run = local.transport.run

    class Counting(LocalTransport):
        def run(self, script, *args, **more):  # type: ignore[no-untyped-def]
            calls.append(args)
            return run(script, *args, **more)

    upload(Device(Counting(), str(tmp_path / "work")), blobs)
    assert stored(tmp_path) == blobs
    assert len(calls) == 4


def test_what_is_there_is_not_sent_again(local: Device, tmp_path: Path) -> None:
    blobs = dict(blob(seed, 1_000_000) for seed in range(3))
    upload(local, blobs)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "work/blobs").iterdir()}
    told: list[int] = []
    upload(local, blobs, lambda done, total: told.append(total))
    assert told == []
    assert {p.name: p.stat().st_ino for p in (tmp_path / "work/blobs").iterdir()} == before


def test_a_damaged_file_is_sent_again(local: Device, tmp_path: Path) -> None:
    blobs = dict([blob(1, 500_000), blob(2, 10)])
    upload(local, blobs)
    for name in blobs:
        (tmp_path / "work/blobs" / name).write_bytes(b"")
    upload(local, blobs)
    assert stored(tmp_path) == blobs


def test_an_upload_that_is_cut_goes_on_where_it_was(
    sshd: Sshd, ssh: SshTransport, tmp_path: Path
) -> None:
    name, data = blob(1, 4 * CHUNK)
    device = Device(ssh, str(tmp_path / "work"))

    connected = threading.Event()

    def keep_cutting() -> None:
        while not connected.wait(0.01):
            sshd.cut()

    thread = threading.Thread(target=keep_cutting)

    def cut(done: int, total: int) -> None:
        if done == 2 * CHUNK:
            thread.start()

    with pytest.raises(LinkLost):
        upload(device, {name: data}, cut)
    connected.set()
    thread.join()
    part = tmp_path / "work/blobs" / f"{name}.part"
    assert 2 * CHUNK <= part.stat().st_size < 4 * CHUNK
    assert not part.with_suffix("").exists()
    told: list[int] = []
    upload(device, {name: data}, lambda done, total: told.append(done))
    assert told[0] >= 2 * CHUNK
    assert stored(tmp_path) == {name: data}


@pytest.mark.parametrize("kept", [b"", b"x", b"right", b"wrong", b"longer"])
def test_any_partial_file_ends_well(local: Device, tmp_path: Path, kept: bytes) -> None:
    name, data = blob(1, CHUNK + 5)
    parts = {b"right": data[:CHUNK], b"wrong": b"w" * CHUNK, b"longer": data + b"more"}
    local.place()
    (tmp_path / "work/blobs" / f"{name}.part").write_bytes(parts.get(kept, kept))
    upload(local, {name: data})
    assert stored(tmp_path) == {name: data}


def test_bytes_still_on_their_way_from_before_a_cut_are_noticed(
    local: Device, tmp_path: Path
) -> None:
    name, data = blob(1, 3 * CHUNK)
    part = tmp_path / "work/blobs" / f"{name}.part"

    def late(done: int, total: int) -> None:
        if done == CHUNK and part.stat().st_size == CHUNK:
            with part.open("ab") as stream:
                stream.write(data[CHUNK : CHUNK + 1000])

    upload(local, {name: data}, late)
    assert stored(tmp_path) == {name: data}


def test_a_file_that_changes_while_it_is_sent_is_named(local: Device, tmp_path: Path) -> None:
    for size in (100, 1_000_000):
        path = tmp_path / f"weights{size}"
        path.write_bytes(bytes(size))
        with pytest.raises(ProfileError, match=rf"weights{size} has changed"):
            upload(local, {"0" * 64: path})
    path.unlink()
    with pytest.raises(ProfileError, match="cannot be read any more"):
        upload(local, {"0" * 64: path})
    assert stored(tmp_path) == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_too_little_space_is_said_before_anything_is_sent(small_disk: Path) -> None:
    device = Device(LocalTransport("board"), str(small_disk / "work"))
    name, data = blob(1, 5_000_000)
    with pytest.raises(
        DeviceFull, match=r"board has .* of space left .*, and 5\.0 MB are"
    ) as caught:
        upload(device, {name: data})
    assert str(small_disk) in caught.value.cause
    assert list((small_disk / "work/blobs").iterdir()) == []


@pytest.mark.parametrize("size", [2_000_000, 200_000])
def test_a_disk_that_fills_up_meanwhile_is_told_and_gone_on_after(
    small_disk: Path, size: int
) -> None:
    device = Device(LocalTransport("board"), str(small_disk / "work"))
    blobs = dict(blob(seed, size) for seed in range(2_000_000 // size))
    filler = small_disk / "filler"

    class Filling(LocalTransport):
        def run(self, script, *args, **more):  # type: ignore[no-untyped-def]
            if ("cat >>" in script or "tar -xf" in script) and not filler.exists():
                filler.write_bytes(bytes(1_500_000))
            return super().run(script, *args, **more)

    with pytest.raises(DeviceFull, match="no space is left on board"):
        upload(Device(Filling("board"), str(small_disk / "work")), blobs)
    assert not any((small_disk / "work/blobs" / name).exists() for name in blobs)
    filler.unlink()
    upload(device, blobs)
    for name, data in blobs.items():
        assert (small_disk / "work/blobs" / name).read_bytes() == data


def test_the_work_folder_is_private_and_home_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = Device(LocalTransport(), "~/.cache/hwnas").place()
    assert place.root == str(tmp_path / "home/.cache/hwnas")
    assert place.machine == os.uname().machine
    assert Path(place.root).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "work", ["", "relative", "/a/../b", "~root/x", "/a b", "/a;b", "/a\n", "~"]
)
def test_odd_work_folders_are_refused(work: str) -> None:
    with pytest.raises(UsageError, match="is no absolute path"):
        Device(LocalTransport(), work)


def test_a_work_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RemoteError, match=r"cannot be made on board: .*[Nn]ot a directory"):
        Device(LocalTransport("board"), str(tmp_path / "file" / "work")).place()


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a folder away")
    (tmp_path / "work").mkdir()
    os.chown(tmp_path / "work", 12345, 12345)
    with pytest.raises(RemoteError, match="belongs to another user"):
        Device(LocalTransport("board"), str(tmp_path / "work")).place()


@pytest.mark.parametrize("missing", ["sha256sum", "tar"])
def test_what_a_small_system_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "mkdir", "uname", "sha256sum", "tar", "sync", "mv", "rm", "wc"):
        found = shutil.which(name)
        if name != missing and found:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    blobs = dict([blob(1, 10), blob(2, 11)])
    device = Device(LocalTransport("board"), str(tmp_path / "work"))
    if missing == "tar":
        upload(device, blobs)
        assert stored(tmp_path) == blobs
        return
    with pytest.raises(RemoteError, match="neither sha256sum nor busybox") as caught:
        upload(device, blobs)
    assert "install coreutils or busybox" in caught.value.fix
