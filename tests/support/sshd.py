"""A real sshd on this machine's loopback, with keys of its own; its links can be cut."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

__all__ = ["Sshd"]

SSHD = "/usr/sbin/sshd"


class Sshd:
    """Started by the constructor; ``stop`` ends it with all its connections."""

    def __init__(self, folder: Path) -> None:
        if not Path(SSHD).exists() or shutil.which("ssh") is None:
            pytest.skip(f"{SSHD} or ssh is missing: apt install openssh-server openssh-client")
        self.folder = folder
        self.port = _free_port()
        self.user_key = self._key("user")
        self._key("host")
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "ssh_config"
        (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
        self.trust()
        self.write_config(self.user_key)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _key(self, name: str) -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def trust(self) -> None:
        """Put the present host key on record."""
        key = (self.folder / "host.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port},[localhost]:{self.port} {key}")

    def write_config(self, identity: Path) -> None:
        self.config.write_text(
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile /dev/null\n"
            f"IdentityFile {identity}\nIdentitiesOnly yes\nIdentityAgent none\n"
        )

    def start(self, *options: str) -> None:
        settings = [
            f"Port={self.port}",
            "ListenAddress=127.0.0.1",
            f"HostKey={self.folder / 'host'}",
            f"AuthorizedKeysFile={self.folder / 'authorized_keys'}",
            "StrictModes=no",
            "UsePAM=no",
            "PidFile=none",
            "PasswordAuthentication=no",
            "PermitRootLogin=yes",
            *options,
        ]
        words = [word for setting in settings for word in ("-o", setting)]
        (self.folder / "sshd_config").touch()
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config"), *words]
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            log_text = (self.folder / "sshd.log").read_text()
            assert self._process.poll() is None, log_text
            assert time.monotonic() < end, log_text
            time.sleep(0.02)

    def new_host_key(self) -> None:
        """Begin again with another host key, as a device that was set up anew."""
        self.stop()
        self._key("host")
        self.start()

    def other_key(self) -> Path:
        """A user's key that sshd does not accept."""
        return self._key("other")

    def cut(self) -> None:
        """End every connection, as a pulled cable does; what runs behind them is not told."""
        assert self._process is not None
        for pid in _children(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Refuse connections, and end those there are."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._process.kill()
        self._process.wait()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(parent: int) -> list[int]:
    """Processes of sshd itself below ``parent``, not what they run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            if int(tail.split()[1]) == parent and "sshd" in head:
                pid = int(stat.parent.name)
                found += [pid, *_children(pid)]
    return found
