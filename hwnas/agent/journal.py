"""The journal: what an agent has said, synced to disk line by line, so that a power cut loses none.

One agent at a time writes a job's journal; it holds the lock file's lock while it lives. Its
process number and start time stand in the lock file, so that others can tell whether it lives.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hwnas.agent.events import Event
from hwnas.agent.wire import encode_event, parse_event
from hwnas.errors import ProfileError

__all__ = ["Journal", "lock", "process_start"]

_CHUNK = 1 << 16
_LOCK_WAIT_S = 2.0
_LOCK_PAUSE_S = 0.02
_START_FIELD = 19
"""``starttime`` in ``/proc/PID/stat``, counted after the command's closing bracket."""


class Journal:
    """An opened journal, at its end. Used by one thread.

    A last line without its end, of a power cut, is cut off when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if new:
            _sync_folder(path.parent)
        self._end = _whole(self._file)
        os.ftruncate(self._file, self._end)

    def replay(self) -> Iterator[Event]:
        """What was said before.

        Raises:
            ProfileError: a line is not an event.
        """
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield parse_event(line)
                except ValueError as error:
                    raise ProfileError(
                        f"{self.path.name}, line {number}, is not an event: {error}",
                        f"the storage may be failing; remove {self.path.parent} to begin again",
                    ) from error

    def append(self, event: Event) -> None:
        """Write one event; it is on the disk when this returns.

        Raises:
            ProfileError: the disk is full, or cannot be written.
        """
        left = memoryview(encode_event(event))
        end = self._end
        try:
            while left:
                written = os.pwrite(self._file, left, end)
                left, end = left[written:], end + written
            os.fsync(self._file)
        except OSError as error:
            # Half a line would not be cut off if something came after it.
            os.ftruncate(self._file, self._end)
            raise ProfileError(
                f"the journal cannot be written: {error.strerror}",
                "free space on the device, then go on with --resume",
            ) from error
        self._end = end

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def lock(path: Path) -> IO[str]:
    """Take a job's lock, until the returned file is closed or this process ends.

    Raises:
        ProfileError: another agent has it.
    """
    stream = path.open("a+")
    end = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            stream.seek(0)
            owner = stream.read(64).split()
            # A child of an agent that was killed holds the lock for the moment until it is gone.
            if _lives(owner) or time.monotonic() > end:
                stream.close()
                process = owner[0] if owner else "unknown"
                raise ProfileError(
                    f"an agent is at work on this job already (process {process})",
                    "wait for it, or stop it",
                ) from error
        time.sleep(_LOCK_PAUSE_S)
    stream.truncate(0)
    stream.write(f"{os.getpid()} {process_start(os.getpid())}\n")
    stream.flush()
    return stream


def _lives(owner: list[str]) -> bool:
    """Whether the process that a lock file names, by number and start, is there."""
    if len(owner) != 2 or not (owner[0].isascii() and owner[0].isdecimal()):
        return False
    return process_start(int(owner[0])) == owner[1]


def process_start(pid: int) -> str:
    """When a process was started, in ticks since boot; empty if there is none."""
    try:
        # Not /proc/PID/stat, which an emulator answers itself, and otherwise than others read it.
        stat = Path(f"/proc/{pid}/task/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[_START_FIELD]
    except (OSError, IndexError):
        return ""


def _whole(file: int) -> int:
    """Where the last line ends that has an end, in bytes."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _CHUNK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
