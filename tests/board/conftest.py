"""The boards: started once, as new for each test. ``run.py`` calls pytest; nothing else can."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.board.machines import Board, Phone, register_qemu
from tests.board.recipe import QEMU, cache_folder
from tests.board.using import runtime_wheel, write_descriptor
from tests.support.bundles import make_bundle

if "HWNAS_BOARD" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

_STATE = Path("/media/hwnas")


@pytest.fixture(scope="session")
def host() -> Iterator[Path]:
    """The user's home on this machine, for these tests only: a file system in memory."""
    home = _STATE / "user"
    ssh = home / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    register_qemu(Path(os.environ["HWNAS_BOARD"], "tools", QEMU))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # ssh looks for its files in the home that the accounts name, whatever HOME says.
    accounts = _STATE / "passwd"
    own = pwd.getpwuid(os.geteuid())
    lines = Path("/etc/passwd").read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] != own.pw_name]
    mine = f"{own.pw_name}:x:{own.pw_uid}:{own.pw_gid}::{home}:/bin/sh"
    accounts.write_text("\n".join([mine, *kept, ""]))
    subprocess.run(["mount", "--bind", accounts, "/etc/passwd"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_folder()))
        patch.setenv("HOME", str(home))
        patch.setenv("ORT_DISABLE_TELEMETRY", "1")
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield home
    subprocess.run(["umount", "/etc/passwd"], check=True)


@pytest.fixture(scope="session")
def board_with_power(host: Path) -> Iterator[Board]:
    rootfs = Path(os.environ["HWNAS_BOARD"], "board")
    board = Board(rootfs, _STATE / "board", host / ".ssh")
    board.power_on()
    yield board
    board.close()


@pytest.fixture(scope="session")
def phone_with_power(host: Path) -> Iterator[Phone]:
    rootfs = Path(os.environ["HWNAS_BOARD"], "phone")
    phone = Phone(rootfs, _STATE / "phone")
    phone.power_on()
    yield phone
    phone.adb("kill-server")
    phone.close()


@pytest.fixture
def new_board(board_with_power: Board) -> Board:
    """The board with an empty disk."""
    board_with_power.reset()
    return board_with_power


@pytest.fixture
def board(board_with_power: Board) -> Board:
    """The board with an empty disk, but for files that hwnas keeps by content between jobs."""
    board_with_power.reset(".cache/hwnas/blobs")
    return board_with_power


@pytest.fixture
def phone(phone_with_power: Phone) -> Phone:
    """The phone, as ``board``."""
    phone_with_power.reset("hwnas/blobs")
    return phone_with_power


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle: few kinds, short runs."""
    path = tmp_path_factory.mktemp("net") / "net.hwnas"
    make_bundle(path, depth=1, widths=(8,), dim=16)
    return path


@pytest.fixture
def native_board(board: Board, tmp_path: Path) -> Path:
    """A descriptor of the board whose agent is the native one."""
    runtime = {"agent": "native", "library": str(runtime_wheel())}
    return write_descriptor(
        tmp_path,
        "native",
        kind="ssh",
        transport={"host": "board"},
        device={"architecture": "aarch64"},
        runtime=runtime,
    )


@pytest.fixture
def native_phone(phone: Phone, tmp_path: Path) -> Path:
    """A descriptor of the phone, which has no Python."""
    runtime = {"agent": "native", "library": str(runtime_wheel())}
    transport = {"serial": phone.serial}
    return write_descriptor(tmp_path, "phone", kind="adb", transport=transport, runtime=runtime)
