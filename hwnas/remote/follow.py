"""Reading a job's journal as it grows: by byte offset, whole lines, nothing twice, nothing lost.

What a device sends is untrusted: sizes are bounded, and a line that is no event is an error that
names it. A device that lost power may have lost the end of its journal, and its agent then goes on
from what is left. So every line's hash is kept: when what was read is no longer there, the journal
is read from its beginning, and only what differs is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from hwnas.agent.events import Event
from hwnas.agent.wire import LONGEST_LINE, parse_event
from hwnas.errors import ProfileError, RemoteError
from hwnas.remote.device import Device, check_id

__all__ = ["LONGEST_JOURNAL", "Follower", "Lines", "read_events"]

LONGEST_JOURNAL = 4 << 30
"""Bytes; 1000 kinds of microseconds, measured for as long as it can take, are a quarter."""

_PIECE = 1 << 20
_TAIL = 64
_HASH = 8
_MOST_LINES = 4_000_000
_NO_JOB = 69

_POLL = """cd "$1/jobs/$2" 2>/dev/null && [ -f job.json ] || exit 69
n=0
while :; do
  a=dead
  if live lock || live started; then a=alive; fi
  s=0
  if [ -f journal.jsonl ]; then s=$(wc -c < journal.jsonl) || exit 1; fi
  s=$((s))
  [ "$s" -eq "$4" ] && [ "$a" = alive ] && [ "$n" -lt "$5" ] || break
  n=$((n+1)); sleep 1
done
echo "$a $s"
[ "$s" -le "$3" ] || tail -c +$(($3+1)) journal.jsonl | head -c "$6"
"""


class Lines:
    """Cuts bytes into lines and reads them as events.

    Args:
        source: where they are from, for messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._number = 0
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Event]]:
        """Each whole line so far, and what it says.

        Raises:
            ProfileError: a line is no event, or is longer than one can be.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._number += 1
            yield line + b"\n", self._parse(line)
        if len(self._rest) > LONGEST_LINE:
            raise self._nonsense(self._number + 1, f"longer than {LONGEST_LINE >> 20} MiB")

    def _parse(self, line: bytes) -> Event:
        try:
            return parse_event(line)
        except ValueError as error:
            raise self._nonsense(self._number, str(error)) from error

    def _nonsense(self, number: int, why: str) -> ProfileError:
        shown = "".join(c if c.isprintable() else " " for c in why)[:200]
        return ProfileError(
            f"{self._source}: line {number} of the journal is not an event: {shown}",
            "install the same hwnas on both sides; if it is the same, the storage may be failing",
        )


def read_events(pieces: Iterator[bytes], source: str) -> Iterator[Event]:
    """The events of a whole journal. A last line without its end, of a power cut, is left out.

    Raises:
        ProfileError: a line is no event, or the journal is longer than one can be.
    """
    lines = Lines(source)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > LONGEST_JOURNAL:
            raise _endless(source)
        for _, event in lines.feed(piece):
            yield event


@dataclass
class Follower:
    """Reads one job's journal, call by call. Used by one thread.

    Attributes:
        device, job_id: whose journal.
        alive: whether the agent lived when :meth:`poll` last looked.
        whole: whether the last :meth:`poll` came to the end of what was there then.
    """

    device: Device
    job_id: str
    alive: bool = True
    whole: bool = False
    _offset: int = 0
    _size: int = -1
    _piece: int = _PIECE
    _tail: bytes = b""
    _hashes: bytearray = field(default_factory=bytearray)
    _lines: Lines | None = None
    _known: int = 0

    def poll(self, wait_s: int = 20) -> list[Event]:
        """Wait until the journal has grown, the agent has ended, or ``wait_s``; what is new.

        Raises:
            ProfileError: a line is no event.
            RemoteError: the job is not there any more, or cannot be read.
            UnreachableDevice: the link was lost; may be called again.
        """
        begin = max(0, self._offset - _TAIL)
        result = self.device.try_run(
            _POLL,
            self.device.place().root,
            check_id(self.job_id),
            str(begin),
            str(self._size),
            str(wait_s),
            str(self._piece + _TAIL),
            timeout_s=wait_s * 2 + 60.0,
        )
        if result.code == _NO_JOB:
            raise RemoteError(
                f"{self.device.name} does not have the job {self.job_id[:12]} any more",
                "profile without --resume",
            )
        self.device.check(result, "the journal cannot be read")
        head, _, data = result.stdout.partition(b"\n")
        self._read_head(head)
        if data[: len(self._tail)] != self._tail:
            self._start_over()
            return []
        return self._take(data[len(self._tail) :])

    def _read_head(self, head: bytes) -> None:
        words = head.split()
        if len(words) != 2 or words[0] not in (b"alive", b"dead") or not words[1].isdigit():
            raise RemoteError(f"{self.device.name} says nonsense of a journal", "check its shell")
        self.alive = words[0] == b"alive"
        self._size = int(words[1][:20])
        if self._size > LONGEST_JOURNAL:
            raise _endless(self.device.name)

    def _start_over(self) -> None:
        self._offset, self._size, self._tail, self._lines = 0, -1, b"", None
        self._known = 0
        self.whole = False

    def _take(self, data: bytes) -> list[Event]:
        end = data.rfind(b"\n") + 1
        if not end and len(data) >= self._piece:
            # Not one whole line: ask for more at once, up to what a line can be.
            if self._piece == _PIECE:
                self._piece = LONGEST_LINE + 1
                self._size, self.whole = -1, False
                return []
            end = len(data)  # not even then: the reader of lines says so
        self._piece = _PIECE
        self.whole = self._offset + len(data) >= self._size
        if not self.whole:
            self._size = -1  # there is more: do not wait for it
        if self._lines is None:
            self._lines = Lines(self.device.name)
        found = []
        for line, event in self._lines.feed(data[:end]):
            if self._is_new(line):
                found.append(event)
        self._offset += end
        self._tail = (self._tail + data[:end])[-_TAIL:]
        return found

    def _is_new(self, line: bytes) -> bool:
        """Whether a line was not told before; what follows one that differs is all new."""
        digest = hashlib.blake2b(line, digest_size=_HASH).digest()
        begin = self._known * _HASH
        self._known += 1
        if self._hashes[begin : begin + _HASH] == digest:
            return False
        if begin >= _MOST_LINES * _HASH:
            raise _endless(self.device.name)
        self._hashes[begin:] = digest
        return True


def _endless(source: str) -> ProfileError:
    return ProfileError(
        f"{source}: the journal is longer than any job's can be",
        "remove the job's folder there, and profile again",
    )
