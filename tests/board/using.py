"""What the tests do on this machine: run hwnas, as a user does, and look at what came of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.board.machines import Machine, wait_until

__all__ = [
    "QUICK",
    "Journal",
    "hwnas",
    "judge",
    "one_line",
    "rows",
    "running",
    "runtime_wheel",
    "write_descriptor",
]

QUICK = ("--ci", "50", "--calibrate", "1", "--check", "0", "--format", "json")
"""Options of ``hwnas profile`` that stop early: latency means nothing on an emulated board."""

_LIMIT_S = 240


def _command(*words: object) -> list[str]:
    """The command line of the installed ``hwnas``."""
    return [str(Path(sys.executable).parent / "hwnas"), *map(str, words)]


def hwnas(*words: object) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        _command(*words), capture_output=True, text=True, timeout=_LIMIT_S, cwd="/"
    )


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run it beside the block, which waits for its end, or ends it; nothing stays behind."""
    process = subprocess.Popen(
        _command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def judge(code: int | None, output: str, errors: str) -> dict[str, Any]:
    """What ``hwnas profile`` with :data:`QUICK` says; fails if it measured anything in vain.

    That a clock was lowered, or that sittings differ, is true where every instruction is made up,
    and makes measurements invalid; an item that failed, or computed something else, is another
    thing.
    """
    assert code in (0, 1), output + errors
    assert output, errors
    found: dict[str, Any] = json.loads(output)
    for failed in found["failed"]:
        assert failed["error"].startswith("invalid: "), failed
        assert "output" not in failed["error"], failed
    assert code == 0 or found["failed"], errors
    return found


def one_line(text: str) -> str:
    """The one error line of a command that failed; fails if there is a traceback or more."""
    lines = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def write_descriptor(
    folder: Path, name: str, **sections: Mapping[str, object] | bool | str
) -> Path:
    """A target descriptor; ``transport={"host": "board"}`` is a section, others are keys."""
    top, tables = [f'schema_version = 1\nname = "{name}"\n'], []
    for key, value in sections.items():
        if isinstance(value, Mapping):
            tables.append(f"[{key}]\n")
            tables += [f"{inner} = {json.dumps(found)}\n" for inner, found in value.items()]
        else:
            top.append(f"{key} = {json.dumps(value)}\n")
    path = folder / f"{name}.toml"
    path.write_text("".join([*top, *tables]))
    return path


class Journal:
    """A job's journal as it lies on a machine's disk; kept when hwnas removes the job."""

    def __init__(self, machine: Machine, work: str = ".cache/hwnas") -> None:
        self._machine, self._work = machine, machine.disk / work
        self._kept: Path | None = None

    def wait_for(self, kind: str, count: int = 1, seconds: float = 120) -> None:
        """Wait until it has that many events of one kind."""
        wait_until(lambda: self.count(kind) >= count, seconds, f"{count} {kind!r} in the journal")

    def count(self, kind: str) -> int:
        return sum(event["event"] == kind for event in self.events())

    def per_item(self, kind: str) -> Counter[int]:
        return Counter(event["item"] for event in self.events() if event["event"] == kind)

    def events(self) -> list[dict[str, Any]]:
        """Its whole lines."""
        path = self._find()
        if path is None:
            return []
        lines = path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def done_once(self) -> bool:
        """Whether it is at its end, with every item done or failed, each once."""
        job = self.events()
        found = self.per_item("done") + self.per_item("failed")
        items = {event["item"] for event in job if event["event"] == "probe"}
        return bool(job) and job[-1]["event"] == "end" and found == Counter(items)

    def outputs_ok(self) -> bool:
        """Whether every item that was looked at computed what this machine expects."""
        looked = [event for event in self.events() if event["event"] == "loaded"]
        return bool(looked) and all(event["outputs_ok"] is True for event in looked)

    def agent(self) -> int:
        """The process that holds the job's lock, as the machine numbers it."""
        (lock,) = self._work.glob("jobs/*/lock")
        return int(lock.read_text().split()[0])

    def _find(self) -> Path | None:
        if self._kept is None:
            for path in self._work.glob("jobs/*/journal.jsonl"):
                kept = self._machine.disk / f"kept-{path.parent.name}"
                os.link(path, kept)  # another name: it outlives the job's folder
                self._kept = kept
        return self._kept


def rows(table: Path) -> list[tuple[str, str]]:
    """Key and scope of every measurement in a lookup table's file."""
    connection = sqlite3.connect(f"file:{table}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT key, scope FROM measurement").fetchall()
    finally:
        connection.close()


def runtime_wheel() -> Path:
    """The runtime's wheel for the boards, as ``runtime.library`` names it."""
    return next(Path(os.environ["HWNAS_BOARD"], "wheels").glob("onnxruntime-*.whl"))
