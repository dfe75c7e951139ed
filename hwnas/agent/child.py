"""A forked child that measures, and what its parent can tell of it if it crashes or hangs.

The child shares a page with its parent in which it notes what it is at and since when: that costs
no system call while it measures. After each event it waits until the parent has stored it, so that
nothing is written to disk while something is timed.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

from hwnas.agent.events import Event
from hwnas.agent.wire import encode_event, parse_event
from hwnas.processes import die_with_parent

__all__ = ["Child", "Lost", "Voice"]

_ITEM, _SINCE, _WRITTEN = range(3)
"""The item, since when in ns, and how much had been written to standard error before, in bytes:
64-bit numbers that are each stored at once. (``struct.pack_into`` blanks all of them first, and the
other side may look just then.)"""

_NOBODY = -1
_ACKNOWLEDGED = b"."
_LONGEST_SHOWN = 300
_SIGNALS = {number.value: number.name for number in signal.Signals}


class Lost(Exception):
    """A child has ended or was killed in the midst of its work.

    Attributes:
        item: what it was at; ``None`` if at nothing in particular.
        error: how it ended, in one line.
    """

    def __init__(self, item: int | None, error: str) -> None:
        super().__init__(error)
        self.item, self.error = item, error


class Voice:
    """The child's side: say what it is at, and what it has found."""

    def __init__(self, place: memoryview, events: int, answers: int) -> None:
        self._place, self._events, self._answers = place, events, answers

    def at(self, item: int | None) -> None:
        """From now on at ``item``; the time limit begins anew."""
        number = _NOBODY if item is None else item
        # The time first: whoever looks in between must not hold the old one against this item.
        self._place[_SINCE] = time.monotonic_ns()
        self._place[_WRITTEN] = os.fstat(2).st_size
        self._place[_ITEM] = number

    def say(self, event: Event) -> None:
        """Tell the parent, and wait until it has stored that."""
        left = memoryview(encode_event(event))
        while left:
            left = left[os.write(self._events, left) :]
        if os.read(self._answers, 1) != _ACKNOWLEDGED:
            os._exit(1)


class Child:
    """The parent's side of a child that runs ``work``. Used by one thread; closed once.

    Args:
        work: called in the child with its voice; what it raises is up to it to report.
        limit_s: how long the child may be at the same item.
    """

    def __init__(self, work: Callable[[Voice], None], limit_s: float) -> None:
        self._limit_s = limit_s
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._place = memoryview(self._page).cast("q")
        self._place[_ITEM] = _NOBODY
        self._granted = time.monotonic_ns()
        self._said = os.memfd_create("stderr", os.MFD_CLOEXEC)
        self._events, events = os.pipe()
        answers, self._answers = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python warns of forking where other threads may hold locks; here are none.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            for descriptor in (self._events, self._answers):
                os.close(descriptor)
            _become(work, Voice(self._place, events, answers), self._said)
        with suppress(OSError):  # the child does it too, whoever is first
            os.setpgid(self._pid, self._pid)
        os.close(events)
        os.close(answers)
        self._group = self._pid
        self._buffer = b""

    def events(self) -> Iterator[Event]:
        """What the child says; ends when it has ended well.

        Raises:
            Lost: it ended otherwise, was at one item for too long, or talks nonsense.
        """
        while True:
            line = self._line()
            if not line:
                break
            try:
                event = parse_event(line)
            except ValueError as error:
                raise Lost(self._item(), f"what it says is not an event: {error}") from error
            yield event
            with suppress(BrokenPipeError):
                os.write(self._answers, _ACKNOWLEDGED)
            # Until now it has waited for whoever stores its events: that is no fault of its own.
            self._granted = time.monotonic_ns()
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if status:
            raise Lost(self._item(), self._ended(status))

    def close(self) -> None:
        """Kill the child with all that it has started, and release what belongs to it."""
        # Until its leader is waited for, the group's number cannot belong to another.
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        for descriptor in (self._events, self._answers, self._said):
            os.close(descriptor)
        self._place.release()
        self._page.close()

    def _line(self) -> bytes:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return line
            since = max(self._place[_SINCE], self._granted)
            left_s = max(0.0, self._limit_s - (time.monotonic_ns() - since) / 1e9)
            # What it has said already counts, however late this side comes to read it.
            if select.select([self._events], [], [], left_s)[0]:
                found = os.read(self._events, 1 << 20)
                if not found:
                    return b""
                self._buffer += found
            elif left_s == 0:
                raise Lost(self._item(), f"killed at the time limit of {self._limit_s:g} s")

    def _item(self) -> int | None:
        number = self._place[_ITEM]
        return None if number == _NOBODY else int(number)

    def _ended(self, status: int) -> str:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            how = f"killed by {_SIGNALS.get(number, number)}"
            how += " (out of memory?)" if number == signal.SIGKILL else ""
        else:
            how = f"ended with exit code {os.WEXITSTATUS(status)}"
        # What others in the sitting have printed is not why this one ended.
        start = max(self._place[_WRITTEN], os.fstat(self._said).st_size - 4096)
        tail = os.pread(self._said, 4096, start).decode(errors="replace")
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
        return f"{how}: {last.strip()[:_LONGEST_SHOWN]}" if last else how


def _become(work: Callable[[Voice], None], voice: Voice, said: int) -> NoReturn:
    """The rest of the child's life."""
    status = 1
    try:
        os.setpgid(0, 0)
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Native libraries print where they like; the journal or the protocol is not there.
        os.dup2(said, 1)
        os.dup2(said, 2)
        work(voice)
        status = 0
    except BaseException as error:
        os.write(2, f"\n{type(error).__name__}: {error}\n".encode())
    finally:
        # Not through Python's exit: runtimes with threads may hang there.
        os._exit(status)
