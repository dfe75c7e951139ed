"""The one thing that a transport does: run a POSIX-shell script there, bytes in and bytes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

__all__ = ["Result", "Transport"]


@dataclass(frozen=True)
class Result:
    """What a script did: its exit code, 0 to 255, and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


@runtime_checkable
class Transport(Protocol):
    """A way to a device.

    Used by one thread. Connects by itself when it is first used, and again after the link was
    lost. The caller closes it; a closed one may not be used again.
    """

    @property
    def name(self) -> str:
        """What to call the device in messages."""

    def run(
        self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
    ) -> Result:
        """Run ``script`` there with ``sh``, and wait for its end.

        Args:
            script: a constant of the program; what comes from elsewhere belongs into ``args``.
            args: become ``$1``, ``$2`` ...; may hold anything but a zero byte.
            stdin: what the script reads.
            timeout_s: wall time after which the link counts as lost, in s.

        Returns:
            What the script did. An exit code other than 0 is no error here.

        Raises:
            LinkLost: the connection ended, or timed out, before the script did. The script may
                have run in part or whole, and may go on.
            NoSuchDevice: nothing is there under this name.
            AuthenticationFailed: the device does not let this user in.
            HostKeyChanged: the device is not the one that it says it is.
            RemoteError: the device wrote more than 64 MiB.
        """

    def close(self) -> None:
        """End the connection and every process that belongs to it on this machine."""
