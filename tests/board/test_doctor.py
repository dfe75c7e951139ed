"""``hwnas doctor`` and ``hwnas devices`` on the board and the phone."""

from __future__ import annotations

import json
from pathlib import Path

from tests.board.looks import write_sys
from tests.board.machines import Board, Phone
from tests.board.using import hwnas


def _seen(output: str) -> str:
    return json.dumps(json.loads(output)).lower()


def test_the_doctor_sees_a_governor_and_throttling(board: Board) -> None:
    done = hwnas("doctor", "ssh://board", "--format", "json")
    seen = _seen(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "governor is powersave" in seen
    assert "throttled since boot: under-voltage, throttled" in seen
    assert "linux 6.6.31-v8 on aarch64" in seen
    assert "python 3.11" in seen


def test_the_doctor_is_content_with_a_board_that_is_set_up_well(
    board: Board, native_board: Path
) -> None:
    write_sys(board.folder / "sys", governor="performance", throttled=0)
    done = hwnas("doctor", native_board, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = _seen(done.stdout)
    assert "powersave" not in seen
    assert "under-voltage" not in seen
    assert "needs glibc 2.28, the device has glibc 2.36" in seen


def test_the_doctor_sees_that_a_phone_has_no_python(phone: Phone) -> None:
    done = hwnas("doctor", f"adb://{phone.serial}", "--format", "json")
    assert done.returncode == 1, done.stderr
    assert "python3 does not start" in _seen(done.stdout)
