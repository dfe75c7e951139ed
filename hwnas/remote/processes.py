"""Running one program here with bytes in and out, to a deadline, leaving nothing behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, BinaryIO

from hwnas.profile.transport import Result

__all__ = ["MOST_OUTPUT", "OutOfTime", "TooMuchOutput", "communicate", "end_group"]

MOST_OUTPUT = 64 << 20
"""Bytes that a program may write to stdout; no script of hwnas comes near."""

_MOST_STDERR = 1 << 20
_CHUNK = 1 << 16
_EXIT_S = 5.0


class OutOfTime(Exception):
    """The program had not ended by its deadline."""


class TooMuchOutput(Exception):
    """The program wrote more than :data:`MOST_OUTPUT`."""


def communicate(
    command: Sequence[str],
    stdin: bytes | BinaryIO = b"",
    timeout_s: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Run ``command`` in a session of its own.

    Its process group is gone when this returns or raises, Ctrl-C included. It has no terminal, so
    that it cannot ask anything.

    Returns:
        Its exit code (negative for a signal) and what it wrote; of stderr the first MiB.

    Raises:
        OSError: it cannot be started.
        OutOfTime, TooMuchOutput: see there.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        bufsize=0,
    )
    with process:
        try:
            return _Pump(process, stdin).run(time.monotonic() + timeout_s)
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group that ``process`` leads, and wait for ``process``."""
    # The group first: until its leader is waited for, its number cannot belong to another.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Pump:
    """Moves bytes until both outputs have ended and the process too."""

    def __init__(self, process: subprocess.Popen[bytes], source: bytes | BinaryIO) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._source = source
        self._left = memoryview(source if isinstance(source, bytes) else b"")
        self._written: dict[IO[bytes], bytearray] = {
            self._stdout: bytearray(),
            self._stderr: bytearray(),
        }

    def run(self, deadline: float) -> Result:
        with selectors.DefaultSelector() as selector:
            for stream in (self._stdin, self._stdout, self._stderr):
                os.set_blocking(stream.fileno(), False)
                reads = stream is not self._stdin
                selector.register(stream, selectors.EVENT_READ if reads else selectors.EVENT_WRITE)
            open_outputs = 2
            while open_outputs:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise OutOfTime
                for key, _ in ready:
                    if key.fileobj is self._stdin:
                        if not self._write():
                            selector.unregister(self._stdin)
                            self._stdin.close()
                    elif not self._read(
                        self._stdout if key.fileobj is self._stdout else self._stderr
                    ):
                        selector.unregister(key.fileobj)
                        open_outputs -= 1
        return Result(self._wait(deadline), *(bytes(part) for part in self._written.values()))

    def _wait(self, deadline: float) -> int:
        # Not waited for yet, so that its number stays its own until its group was killed.
        deadline = max(deadline, time.monotonic() + _EXIT_S)
        how = os.WEXITED | os.WNOWAIT | os.WNOHANG
        while (status := os.waitid(os.P_PID, self._process.pid, how)) is None:
            if time.monotonic() > deadline:
                raise OutOfTime
            time.sleep(0.001)
        code = status.si_status
        return code if status.si_code == os.CLD_EXITED else -code

    def _write(self) -> bool:
        """Send some; false when there is nothing left to send, or nobody who reads it."""
        if not self._left:
            if isinstance(self._source, bytes):
                return False
            self._left = memoryview(self._source.read(_CHUNK))
            if not self._left:
                return False
        try:
            count = os.write(self._stdin.fileno(), self._left[:_CHUNK])
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._left = self._left[count:]
        return True

    def _read(self, stream: IO[bytes]) -> bool:
        """Take what there is; false at the end."""
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        found = self._written[stream]
        if stream is self._stdout and len(found) + len(data) > MOST_OUTPUT:
            raise TooMuchOutput
        found += data[: max(0, _MOST_STDERR - len(found))] if stream is self._stderr else data
        return bool(data)
