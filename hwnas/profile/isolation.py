"""The parent's side of a worker: start it, listen, and make a crash or a hang into data."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from hwnas.errors import ProfileError
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.protocol import Job, Profiler, Target
from hwnas.profile.settings import Settings
from hwnas.profile.wire import (
    LONGEST_LINE,
    Described,
    Done,
    Event,
    Failed,
    Request,
    encode_request,
    parse_event,
    rebuild_error,
)

__all__ = ["describe", "measure"]

_EXIT_S = 5.0
"""How long a worker that has closed its output may take to end."""

_DESCRIBE_S = 60.0
_SIGNALS = {number.value: number.name for number in signal.Signals}
_STDERR_LINES = 20
_LONGEST_STDERR = 4096
_LONGEST_SHOWN = 300


def measure(job: Job, target: Target, profiler: Profiler, settings: Settings) -> Generator[Event]:
    """Measure ``job`` in a worker of its own, yielding what the worker says as it comes.

    The last event is :class:`~hwnas.profile.wire.Done` or :class:`~hwnas.profile.wire.Failed`: a
    worker that crashes, hangs beyond ``settings.time_limit_s`` or talks nonsense gives the
    latter. The worker and its process group are gone when the iterator has ended or was closed.

    Raises:
        ProfileError: the worker cannot be started.
        UnreachableDevice: the device does not answer.
    """
    request = Request("measure", profiler.name, settings, job)
    with _worker(target, settings) as worker:
        yield from worker.ask(request, settings.time_limit_s)


def describe(target: Target, profiler: Profiler, settings: Settings) -> Fingerprint:
    """The fingerprint of the device, read by a worker there under ``settings``.

    Raises:
        HwnasError: what the worker raised: an unknown profiler or provider, no such core.
        ProfileError: the worker cannot be started, crashed, or talks nonsense.
        UnreachableDevice: the device does not answer.
    """
    with _worker(target, settings) as worker:
        for event in worker.ask(Request("describe", profiler.name, settings), _DESCRIBE_S):
            if isinstance(event, Failed):
                raise rebuild_error(event)
            if isinstance(event, Described):
                try:
                    return Fingerprint.model_validate(event.fingerprint)
                except ValidationError as error:
                    raise ProfileError(
                        f"target {target.name!r} sent a fingerprint that is none: {error}",
                        "install the same hwnas on the device",
                    ) from error
    raise ProfileError(
        f"target {target.name!r} did not describe its device", "install the same hwnas there"
    )


@contextmanager
def _worker(target: Target, settings: Settings) -> Iterator[_Worker]:
    try:
        process = target.start_worker(settings)
    except OSError as error:
        raise ProfileError(
            f"target {target.name!r} cannot start a worker: {error}",
            "check that hwnas is installed there",
        ) from error
    worker = _Worker(process)
    try:
        yield worker
    finally:
        worker.stop()


class _TimeUp(Exception):
    pass


class _Worker:
    """One worker process. Threads move bytes, so that a deadline holds whatever it does."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            process.kill()
            raise ProfileError("the target gave a worker without pipes", "update the target")
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._said: deque[bytes] = deque(maxlen=_STDERR_LINES)
        self._threads = [_start(self._read_events), _start(self._read_stderr)]

    def ask(self, request: Request, limit_s: float) -> Iterator[Event]:
        """Send ``request`` and yield events up to the last one."""
        deadline = time.monotonic() + limit_s
        self._threads.append(_start(self._write, encode_request(request)))
        while True:
            try:
                line = self._line(deadline)
                event: Event = self._crash() if not line else parse_event(line)
            except _TimeUp:
                event = Failed(f"killed at the time limit of {limit_s:g} s")
            except (ValueError, RecursionError) as error:
                event = Failed(f"the worker does not speak the protocol: {error}")
            yield event
            if isinstance(event, Done | Failed | Described):
                return

    def stop(self) -> None:
        """Kill the process group and release all that belongs to it."""
        # The group first: until its leader is waited for, its number cannot belong to another.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in self._threads:
            thread.join(_EXIT_S)
        if any(thread.is_alive() for thread in self._threads):
            # Something left the group and holds a pipe: closing it under a reader would block.
            return
        for stream in (self._stdin, self._stdout, self._stderr):
            with suppress(OSError):
                stream.close()

    def _line(self, deadline: float) -> bytes:
        """The next line; empty at the end of the worker's output."""
        try:
            return self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise _TimeUp from None

    def _crash(self) -> Failed:
        """How a worker ended that did not say so itself."""
        end = time.monotonic() + _EXIT_S
        status = None
        while status is None and time.monotonic() < end:
            status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if status is None:
                time.sleep(0.01)
        if status is None:
            how = "closed its output and went on"
        elif status.si_code == os.CLD_EXITED:
            how = f"ended with exit code {status.si_status}"
        else:
            how = f"killed by {_SIGNALS.get(status.si_status, status.si_status)}"
            if status.si_status == signal.SIGKILL:
                how += " (out of memory?)"
        self._threads[1].join(timeout=1.0)
        last = next((line for line in reversed(self._said) if line.strip()), b"")
        text = last.decode(errors="replace").strip()[:_LONGEST_SHOWN]
        return Failed(f"{how}: {text}" if text else how)

    def _write(self, data: bytes) -> None:
        with suppress(OSError):
            self._stdin.write(data)
            self._stdin.flush()

    def _read_events(self) -> None:
        while line := self._stdout.readline(LONGEST_LINE):
            self._lines.put(line)
        self._lines.put(b"")

    def _read_stderr(self) -> None:
        while line := self._stderr.readline(_LONGEST_STDERR):
            self._said.append(line)


def _start(run: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=run, args=args, daemon=True)
    thread.start()
    return thread
