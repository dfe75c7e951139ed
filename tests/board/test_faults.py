"""What goes wrong between here and a board: each job is done exactly once, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.board.machines import Board, wait_until
from tests.board.using import (
    QUICK,
    Journal,
    hwnas,
    judge,
    one_line,
    running,
    runtime_wheel,
    write_descriptor,
)


def _ended_well(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=240)
    return judge(process.returncode, output, errors)


def test_an_upload_that_is_cut_goes_on_where_it_stopped(
    new_board: Board, net: Path, tmp_path: Path
) -> None:
    board = new_board
    library = _library(tmp_path)
    runtime = {"agent": "native", "library": str(library)}
    transport = {"host": "board"}
    target = write_descriptor(tmp_path, "b", kind="ssh", transport=transport, runtime=runtime)
    size, before = library.stat().st_size, board.link.carried()
    board.link.cut(after=size * 3 // 4)
    table = tmp_path / "lut.db"
    words = ("profile", net, "--target", target, "-o", table, *QUICK)
    with running(*words) as process:
        wait_until(lambda: board.link.carried() - before >= size * 3 // 4, 60, "cut")
        part = max(path.stat().st_size for path in board.disk.rglob("*.part"))
        assert 0 < part < size
        board.link.mend()
        _ended_well(process)
    # All of it once, and not the three quarters again.
    assert board.link.carried() - before < size * 1.5


def _library(folder: Path) -> Path:
    """ONNX Runtime's shared library for the board, alone."""
    import zipfile

    with zipfile.ZipFile(runtime_wheel()) as wheel:
        name = next(name for name in wheel.namelist() if "/libonnxruntime.so." in name)
        return Path(wheel.extract(name, folder))


def test_the_agent_goes_on_when_hwnas_is_gone_and_resume_collects(
    board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    table, journal = tmp_path / "lut.db", Journal(board)
    words = ("profile", net, "--target", native_board, "-o", table, *QUICK)
    with running(*words) as process:
        journal.wait_for("sit")
        board.link.cut()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    journal.wait_for("end")  # with nobody there
    board.link.mend()
    starts = journal.count("start")
    with running(*words, "--resume") as process:
        found = _ended_well(process)
    assert journal.done_once()
    assert journal.count("start") == starts == 1  # it was collected, not measured again
    assert found["measured"] == sum(journal.per_item("done").values())


def test_a_link_that_is_cut_while_measuring_is_mended_without_a_trace(
    board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    journal = Journal(board)
    table = tmp_path / "lut.db"
    words = ("profile", net, "--target", native_board, "-o", table, *QUICK)
    with running(*words) as process:
        journal.wait_for("sit")
        board.link.cut()
        threading.Timer(5, board.link.mend).start()
        _ended_well(process)
    assert journal.done_once()
    assert journal.count("start") == 1


def test_an_agent_that_is_killed_is_started_again_and_repeats_nothing(
    board: Board, net: Path, tmp_path: Path
) -> None:
    table, journal = tmp_path / "lut.db", Journal(board)
    words = ("profile", net, "--target", "ssh://board", "-o", table, *QUICK)
    with running(*words) as process:
        journal.wait_for("sit")
        agents = board.processes(number=journal.agent())
        assert agents
        board.kill(agents)
        found = _ended_well(process)
    assert journal.done_once()
    assert journal.count("start") == 2
    assert found["measured"] == sum(journal.per_item("done").values())


def test_after_a_power_cut_the_job_goes_on(
    board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    table, journal = tmp_path / "lut.db", Journal(board)
    words = ("profile", net, "--target", native_board, "-o", table, *QUICK)
    with running(*words) as process:
        journal.wait_for("sit")
        board.power_cut()
        board.power_on()
        _ended_well(process)
    assert journal.done_once()
    assert journal.count("start") == 2


def test_a_full_disk_is_one_clear_error_and_is_gone_on_from(
    new_board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    new_board.fill_disk(left=2 << 20)
    words = ("profile", net, "--target", native_board, "-o", tmp_path / "lut.db", *QUICK)
    done = hwnas(*words)
    assert done.returncode == 1, done.stderr
    assert "space" in one_line(done.stderr)
    assert "native" in one_line(done.stderr)  # the target's name
    new_board.free_disk()
    journal = Journal(new_board)
    with running(*words, "--resume"):
        journal.wait_for("loaded")


def test_keys_that_are_not_right_are_named(board: Board, net: Path, tmp_path: Path) -> None:
    table = tmp_path / "lut.db"
    words = ("profile", net, "--target", "ssh://board", "-o", table)
    board.wrong_user_key(True)
    refused = hwnas(*words)
    board.wrong_user_key(False)
    assert refused.returncode == 5, refused.stderr
    assert "key" in one_line(refused.stderr)
    unknown = hwnas("profile", net, "--target", "ssh://stranger", "-o", table)
    assert unknown.returncode == 5, unknown.stderr
    assert "host key" in one_line(unknown.stderr)
    board.change_host_key()
    changed = hwnas(*words)
    board.change_host_key()
    assert changed.returncode == 5, changed.stderr
    assert "not the one on record" in one_line(changed.stderr)
    assert "ssh-keygen" in changed.stderr
    assert f'-R "{board.address}"' in changed.stderr
    assert not table.exists()


def test_a_board_without_power_is_named(board: Board, net: Path, tmp_path: Path) -> None:
    board.power_cut()
    done = hwnas("profile", net, "--target", "ssh://board", "-o", tmp_path / "lut.db")
    assert done.returncode == 5, done.stderr
    assert "board" in one_line(done.stderr)
