"""``hwnas profile`` on the board and the phone, where nothing fails."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.board.machines import Board, Machine, Phone
from tests.board.using import (
    QUICK,
    Journal,
    hwnas,
    judge,
    one_line,
    rows,
    running,
    runtime_wheel,
    write_descriptor,
)

ITEMS = 4
"""Kinds of the bundle, and one subnet whole."""


def _is_clean(machine: Machine, work: str) -> bool:
    jobs = machine.disk / work / "jobs"
    return not machine.processes(f"{work}/blobs/") and not list(jobs.glob("*"))


def _measures(machine: Machine, work: str, net: Path, target: object, table: Path) -> None:
    journal = Journal(machine, work)
    with running("profile", net, "--target", target, "-o", table, *QUICK) as process:
        journal.wait_for("start")
        output, errors = process.communicate(timeout=240)
    found = judge(process.returncode, output, errors)
    assert found["measured"] == ITEMS
    assert "aarch64" in found["device"]
    assert "Linux 6.6.31-v8" in found["device"]
    assert journal.done_once()
    assert journal.outputs_ok()
    assert len(set(rows(table))) == len(rows(table)) == ITEMS
    assert _is_clean(machine, work)


def test_the_python_agent_measures_over_a_late_and_lossy_link(
    board: Board, net: Path, tmp_path: Path
) -> None:
    board.link.delay(0.05)  # in each direction: 100 ms for a question and its answer
    board.link.loss(0.05)
    _measures(board, ".cache/hwnas", net, "ssh://board", tmp_path / "lut.db")


def test_the_native_agent_measures_over_ssh(
    board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    table = tmp_path / "lut.db"
    _measures(board, ".cache/hwnas", net, native_board, table)
    again = hwnas("profile", net, "--target", native_board, "-o", table, *QUICK, "--resume")
    found = judge(again.returncode, again.stdout, again.stderr)
    assert (found["measured"], found["skipped"]) == (0, ITEMS)


def test_the_native_agent_measures_over_adb(
    phone: Phone, native_phone: Path, net: Path, tmp_path: Path
) -> None:
    _measures(phone, "hwnas", net, native_phone, tmp_path / "lut.db")


def test_an_emulated_target_is_measured_and_no_latency_is_written(
    board: Board, net: Path, tmp_path: Path
) -> None:
    runtime = {"agent": "native", "library": str(runtime_wheel())}
    target = write_descriptor(
        tmp_path, "emu", kind="ssh", emulated=True, transport={"host": "board"}, runtime=runtime
    )
    table = tmp_path / "lut.db"
    done = hwnas("profile", net, "--target", target, "-o", table, *QUICK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["measured"], found["withheld"]) == (0, ITEMS)
    assert not table.exists()


def test_a_job_is_carried_to_the_board_and_its_journal_back(
    board: Board, native_board: Path, net: Path, tmp_path: Path
) -> None:
    job, table = tmp_path / "job.tar", tmp_path / "lut.db"
    pinned = ("--affinity", "none", *QUICK)
    packed = hwnas("profile", net, "--target", native_board, "--pack", job, *pinned)
    assert packed.returncode == 0, packed.stderr
    shutil.copy(job, board.disk)  # as a stick would
    ran = board.ssh("mkdir job && tar -xf job.tar -C job && cd job/* && sh run.sh")
    assert ran.returncode == 0, ran.stderr
    journal = next(board.disk.glob("job/**/journal.jsonl"))
    words = ("--collect", journal, "-o", table, *QUICK)
    collected = hwnas("profile", net, "--target", native_board, *words)
    found = judge(collected.returncode, collected.stdout, collected.stderr)
    assert found["measured"] == ITEMS
    assert len(rows(table)) == ITEMS


def test_a_governor_is_put_back_after_the_agent_has_ended(
    board: Board, net: Path, tmp_path: Path
) -> None:
    governors = list((board.folder / "sys").glob("**/scaling_governor"))
    for path in governors:
        os.chown(path, board.owner, board.owner)
    sections = {
        "transport": {"host": "board"},
        "runtime": {"agent": "native", "library": str(runtime_wheel())},
        "policy": {"governor": "set"},
    }
    target = write_descriptor(tmp_path, "set", kind="ssh", **sections)
    journal = Journal(board)
    with running("profile", net, "--target", target, "-o", tmp_path / "lut.db", *QUICK) as process:
        journal.wait_for("sit")
        assert {path.read_text() for path in governors} == {"performance\n"}
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert board.processes(".cache/hwnas/blobs/") == [], errors
    assert list((board.disk / ".cache/hwnas/jobs").glob("*")), "it can be gone on with"
    assert {path.read_text() for path in governors} == {"powersave\n"}


def test_a_phone_without_python_is_told_of_the_native_agent(
    phone: Phone, net: Path, tmp_path: Path
) -> None:
    target = f"adb://{phone.serial}"
    done = hwnas("profile", net, "--target", target, "-o", tmp_path / "lut.db", *QUICK)
    assert done.returncode == 1, done.stderr
    assert "python3" in one_line(done.stderr)
    assert 'agent = "native"' in done.stderr


def test_a_phone_that_is_not_there_is_named(phone: Phone, net: Path, tmp_path: Path) -> None:
    table = tmp_path / "lut.db"
    done = hwnas("profile", net, "--target", "adb://10.90.1.9:5555", "-o", table)
    assert done.returncode == 5, done.stderr
    assert "10.90.1.9:5555" in one_line(done.stderr)
    assert not table.exists()
