"""Transports that end in a command line for ``sh``: how scripts are sent, and how they end.

A script is a constant; everything else reaches it as positional parameters, quoted. Around it a
line with a number that is new in each call says where its output begins and, with its exit code,
where it ends. So a login shell that greets does no harm, and no end line means that the link was
lost: ssh's 255 and adb's 0 do not tell.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from hwnas.errors import HwnasError, LinkLost, RemoteError
from hwnas.profile.transport import Result
from hwnas.remote.processes import MOST_OUTPUT, OutOfTime, TooMuchOutput, communicate

__all__ = ["LocalTransport", "ShellTransport", "command_line", "last_line", "read_framed"]

# No backslash in it: some login shells give it a meaning within quotes.
_FRAME = 'n=$1 s=$2; shift 2; echo "$n"; sh -c "$s" sh "$@"; c=$?; echo; echo "$n $c"'
_LONGEST_COMMAND = 100_000
_LONGEST_SHOWN = 300


def command_line(script: str, args: Sequence[str], nonce: str) -> str:
    """One line that any login shell of the Bourne family (and fish) runs as ``script``.

    Raises:
        ValueError: an argument holds a zero byte, or the line is too long for a device.
    """
    line = shlex.join(["sh", "-c", _FRAME, "sh", nonce, script, *args])
    if "\0" in line or len(line.encode()) > _LONGEST_COMMAND:
        raise ValueError("arguments of a script are too long, or hold a zero byte")
    return line


def read_framed(output: bytes, nonce: str) -> tuple[int, bytes] | None:
    """Exit code and output of a script; ``None`` if its beginning or its end is not there."""
    mark = nonce.encode()
    _, begun, rest = output.partition(mark + b"\n")
    body, ended, end = rest.rpartition(b"\n" + mark + b" ")
    code = end.removesuffix(b"\n")
    if not begun or not ended or code == end or not re.fullmatch(rb"[0-9]{1,3}", code):
        return None
    return int(code), body


def last_line(data: bytes) -> str:
    """The last line of what a device wrote that says something, fit to be shown."""
    text = data[-4096:].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    line = "".join(c if c.isprintable() else " " for c in lines[-1]) if lines else ""
    return " ".join(line.split())[:_LONGEST_SHOWN]


class ShellTransport:
    """Base of the transports; a subclass says how a command line gets to the device.

    Attributes:
        name: of the device, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, line: str) -> list[str]:
        """The program, and its arguments, that runs the command ``line`` there.

        Connects if need be; raises as :meth:`run`.
        """
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Of that program; ``None`` for this process's own."""
        return None

    def lost(self, result: Result) -> HwnasError:
        """Why a script did not end, from what that program said.

        ``result.stdout`` is empty if the script did not even begin.
        """
        why = last_line(result.stderr)
        return LinkLost(
            f"the link to {self.name} was lost{': ' + why if why else ''}",
            "check the network and the device's power; it is tried again",
        )

    def run(
        self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
    ) -> Result:
        """See :meth:`hwnas.profile.transport.Transport.run`."""
        nonce = secrets.token_hex(16)
        command = self.command(command_line(script, args, nonce))
        try:
            result = communicate(command, stdin, timeout_s, self.environment())
        except OutOfTime:
            raise self.too_slow(timeout_s) from None
        except TooMuchOutput:
            raise RemoteError(
                f"{self.name} wrote more than {MOST_OUTPUT >> 20} MiB", "check what it runs"
            ) from None
        framed = read_framed(result.stdout, nonce)
        if framed is None:
            began = nonce.encode() in result.stdout
            raise self.lost(Result(result.code, b"begun" if began else b"", result.stderr))
        return Result(framed[0], framed[1], result.stderr)

    def too_slow(self, timeout_s: float) -> HwnasError:
        """The error for a script that had not ended after ``timeout_s``."""
        return LinkLost(
            f"{self.name} did not answer within {timeout_s:g} s",
            "check the network and whether the device is overloaded; it is tried again",
        )

    def close(self) -> None:
        """End the connection."""


class LocalTransport(ShellTransport):
    """This machine."""

    def __init__(self, name: str = "this machine") -> None:
        super().__init__(name)

    def command(self, line: str) -> list[str]:
        """See :class:`ShellTransport`."""
        return ["sh", "-c", line]
