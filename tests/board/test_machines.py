"""The machines themselves, past hwnas: what other tests rest on."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.board.machines import Board, Phone

EVERY_BYTE = bytes(range(256)) * 4000


def test_the_board_is_arm64_with_a_kernel_and_a_name_of_its_own(board: Board) -> None:
    done = board.ssh("uname -m; uname -r; hostname; id -un; nproc")
    machine, kernel, name, user, _ = done.stdout.decode().split()
    assert (machine, kernel, name, user) == ("aarch64", "6.6.31-v8", "board", "pi")


def test_bytes_cross_a_late_and_lossy_link_whole(board: Board) -> None:
    board.link.delay(0.1)
    board.link.loss(0.05)
    begun = time.monotonic()
    part = EVERY_BYTE[:100_000]
    assert board.ssh("cat", part).stdout == part
    assert time.monotonic() - begun > 0.6  # at least three round trips for a connection


def test_a_cut_link_carries_nothing_and_a_mended_one_does(board: Board) -> None:
    board.link.cut()
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["ssh", "-o", "BatchMode=yes", "board", "true"], timeout=2)
    board.link.mend()
    assert board.ssh("true").returncode == 0


def test_a_power_cut_ends_everything_and_keeps_the_disk(board: Board) -> None:
    board.ssh("echo kept > file; setsid sleep 1000 >/dev/null 2>&1 &")
    assert board.processes("sleep")
    board.power_cut()
    board.power_on()
    assert not board.processes("sleep")
    assert board.ssh("cat file").stdout == b"kept\n"


def test_a_full_disk_says_so(board: Board) -> None:
    board.fill_disk(left=100_000)
    assert b"No space left on device" in board.ssh("cat > file", EVERY_BYTE).stderr
    board.free_disk()
    assert board.ssh("cat > file", EVERY_BYTE).returncode == 0


def test_a_changed_host_key_and_a_wrong_key_are_refused(board: Board) -> None:
    known = board.known_hosts.read_text()
    board.change_host_key()
    assert b"HOST IDENTIFICATION HAS CHANGED" in board.ssh("true").stderr
    board.change_host_key()
    assert board.known_hosts.read_text() == known
    board.wrong_user_key(True)
    assert b"Permission denied (publickey)" in board.ssh("true").stderr
    board.wrong_user_key(False)
    assert board.ssh("true").returncode == 0


def test_the_phone_runs_scripts_and_carries_every_byte(phone: Phone) -> None:
    done = phone.adb("-s", phone.serial, "shell", "-T", "uname -m; exit 7")
    assert (done.returncode, done.stdout) == (7, b"aarch64\n")
    done = phone.adb("-s", phone.serial, "shell", "-T", "cat", stdin=EVERY_BYTE)
    assert done.stdout == EVERY_BYTE
