"""The target kind ``ssh``: a device that the system's own ssh reaches.

Since it is the system's, people's configuration, agent and jump hosts work. Nothing is ever asked:
no passwords, and a host key must be on record. All scripts of a session go through one connection
of its own, never through somebody else's master, which would hide that a key has changed.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

from hwnas.errors import HwnasError, LinkLost, NoSuchDevice, UsageError
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.transport import Result
from hwnas.remote.processes import end_group
from hwnas.remote.shell import ShellTransport, last_line
from hwnas.remote.target import RemoteTarget
from hwnas_targets.ssh_errors import classify

__all__ = ["SshTarget", "SshTransport"]

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlPersist": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "LogLevel": "INFO",
}
_CONNECT_S = 60.0
_LONGEST_SOCKET = 80
_CONFIG = "HWNAS_SSH_CONFIG"


class SshTransport(ShellTransport):
    """Scripts over one private connection, which is made when it is needed.

    Args:
        host: name, address or alias of the user's ssh configuration.
        port, user, jump, identity: what is not given is left to that configuration.
        name: for messages; ``host`` if not given.

    The environment's ``HWNAS_SSH_CONFIG`` names a configuration file instead of the user's own.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        user: str = "",
        jump: str = "",
        identity: str = "",
        name: str = "",
    ) -> None:
        super().__init__(name or host)
        self._where: list[str] = []
        if config := os.environ.get(_CONFIG):
            self._where += ["-F", config]
        if port is not None:
            self._where += ["-p", str(port)]
        if jump:
            self._where += ["-o", f"ProxyJump={jump}"]  # not -J: ssh-copy-id takes this too
        if identity:
            try:
                path = str(Path(identity).expanduser())
            except RuntimeError as error:
                raise UsageError(
                    f"the private key {ascii(identity)[:200]} cannot be looked for: {error}",
                    "give the whole path as transport.identity",
                ) from error
            self._where += ["-i", path, "-o", "IdentitiesOnly=yes"]
        self._host = f"{user}@{host}" if user else host
        self._master: _Master | None = None

    @property
    def by_hand(self) -> str:
        """The command by which a person connects."""
        return shlex.join(["ssh", *self._where, self._host])

    def command(self, line: str) -> list[str]:
        """See :class:`~hwnas.remote.shell.ShellTransport`; connects if there is no connection."""
        if self._master is None or not self._master.alive():
            self.close()
            self._master = self._connect()
        return [*self._ssh(self._master.socket, "no"), "--", self._host, line]

    def environment(self) -> Mapping[str, str]:
        """Without a way to ask anything."""
        kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "SSH_ASKPASS")}
        return kept | {"LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}

    def lost(self, result: Result) -> HwnasError:
        """See :class:`~hwnas.remote.shell.ShellTransport`."""
        why = last_line(self._master.said() if self._master else b"") or last_line(result.stderr)
        self.close()
        return LinkLost(
            f"the link to {self.name} was lost{': ' + why if why else ''}",
            "check the network and the device's power",
        )

    def too_slow(self, timeout_s: float) -> HwnasError:
        """See :class:`~hwnas.remote.shell.ShellTransport`."""
        self.close()
        return super().too_slow(timeout_s)

    def close(self) -> None:
        """End the connection."""
        if self._master is not None:
            self._master.end()
            self._master = None

    def _ssh(self, socket: Path, master: str) -> list[str]:
        program = shutil.which("ssh")
        if program is None:
            raise UsageError("there is no ssh on this machine", "install it: openssh-client")
        options = _OPTIONS | {"ControlPath": str(socket), "ControlMaster": master}
        given = [word for item in options.items() for word in ("-o", "=".join(item))]
        return [program, "-T", "-x", "-a", "-e", "none", *given, *self._where]

    def _connect(self) -> _Master:
        folder = Path(tempfile.mkdtemp(prefix="hwnas-"))
        if len(str(folder)) > _LONGEST_SOCKET:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="hwnas-", dir="/tmp"))
        mark = secrets.token_hex(16)
        # It ends with its stdin, so that nothing is left when this process is killed.
        line = shlex.join(["sh", "-c", 'echo "$1"; exec cat >/dev/null', "sh", mark])
        socket = folder / "s"
        try:
            command = [*self._ssh(socket, "yes"), "--", self._host, line]
            with (folder / "said").open("wb") as said:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env=self.environment(),
                    start_new_session=True,
                    bufsize=0,
                )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        master = _Master(process, folder)
        try:
            begun = master.wait_for(mark.encode(), time.monotonic() + _CONNECT_S)
        except BaseException:
            master.end()
            raise
        if not begun:
            said_all = master.said()
            timed_out = process.poll() is None
            master.end()
            if timed_out and not last_line(said_all):
                raise NoSuchDevice(
                    f"{self.name} did not let ssh in within {_CONNECT_S:g} s",
                    f"try {self.by_hand} by hand",
                )
            raise classify(said_all, self.name, self.by_hand)
        return master


class _Master:
    """The connection: an ssh process that others go through, and its private folder."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._said = folder / "said"
        self.socket = folder / "s"
        # Also when nobody closes the transport: at the latest when the interpreter ends.
        self._finalizer = weakref.finalize(self, _end, process, folder)

    def alive(self) -> bool:
        return self._process.poll() is None and self.socket.exists()

    def said(self) -> bytes:
        """What it wrote to stderr; empty once it was ended."""
        try:
            with self._said.open("rb") as stream:
                return stream.read(1 << 16)
        except OSError:
            return b""

    def wait_for(self, mark: bytes, deadline: float) -> bool:
        """Whether ``mark`` came before the end or the deadline, and the socket is there."""
        assert self._process.stdout is not None
        found = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while mark not in found:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return False
                data = os.read(self._process.stdout.fileno(), 4096)
                found = found[-64:] + data
                if not data:
                    self._process.wait()
                    return False
        return self.socket.exists()

    def end(self) -> None:
        self._finalizer()


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    end_group(process)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    shutil.rmtree(folder, ignore_errors=True)


class SshTarget(RemoteTarget):
    """A device reached by ssh; see :class:`~hwnas.remote.target.RemoteTarget`."""

    def connect(self, descriptor: Descriptor) -> SshTransport:
        """The way to the device that ``descriptor`` names."""
        given = descriptor.transport
        return SshTransport(
            given.host, given.port, given.user, given.jump, given.identity, descriptor.name
        )
