"""A board with sshd and a phone with adbd, each real arm64 code in name spaces of its own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.board.looks import ENVIRONMENT, write_sys

__all__ = ["Board", "Link", "Machine", "Phone", "register_qemu", "wait_until"]

_HERE = Path(__file__).parent
# Magic and mask of an ELF file for AArch64, little-endian.
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_DISK_BYTES = 256 << 20


def register_qemu(qemu: Path) -> None:
    """Let the kernel run arm64 programs; the mount and its entries end with the name space."""
    folder = Path("/proc/sys/fs/binfmt_misc")
    subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", folder], check=True)
    # F: opened now, so that it is found in any root file system. C: with the program's rights.
    # Others may be at it, and names are the machine's.
    line = f":hwnas-board-{secrets.token_hex(4)}:M::{_MAGIC}:{_MASK}:{qemu}:FC"
    (folder / "register").write_text(line)


def wait_until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for ``true``; fails naming ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds} s: not {what}"
        time.sleep(0.05)


class Link:
    """Control of what carries packets between here and one machine; see ``link.py``."""

    def __init__(self, device: str, address: str, peer: str) -> None:
        command = [sys.executable, str(_HERE / "link.py"), device, address, peer]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._answer() == "ok", "there is no link; see stderr"

    def order(self, *words: object) -> str:
        """Give an order; returns the answer."""
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        print(*words, file=pipe, flush=True)
        return self._answer()

    def cut(self, after: int = 0) -> None:
        """Drop everything, once ``after`` more bytes were carried."""
        self.order("cut-after", after) if after else self.order("cut")

    def mend(self) -> None:
        self.order("mend")

    def delay(self, seconds: float) -> None:
        self.order("delay", seconds)

    def loss(self, share: float) -> None:
        self.order("loss", share)

    def carried(self) -> int:
        """Bytes of packets in both directions since it was made."""
        return int(self.order("carried"))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return str(self._process.stdout.readline()).strip()


class Machine:
    """Something with a plug, a disk and a link. Its disk outlasts a loss of power.

    Args:
        name: Its host name, and that of its link here.
        rootfs: The root file system, which is not changed.
        folder: Where its state lies here, on a file system in memory.
        network: The first three numbers of its link's addresses; it is ``.2``.
    """

    home = "/"
    owner = 0

    def __init__(self, name: str, rootfs: Path, folder: Path, network: str) -> None:
        self.name, self.folder, self._rootfs = name, folder, rootfs
        self.address = f"{network}.2"
        self.disk = folder / "home"
        self.disk.mkdir(parents=True)
        self.settings = folder / "settings"
        self.settings.mkdir()
        size = f"size={_DISK_BYTES},uid={self.owner},gid={self.owner},mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.disk], check=True)
        write_sys(folder / "sys")
        self.link = Link(name, f"{network}.1", self.address)
        self._plug: subprocess.Popen[bytes] | None = None

    def daemon(self) -> list[str]:
        """The command that the machine runs, in its root file system."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether its daemon can be spoken to."""
        raise NotImplementedError

    def power_on(self) -> None:
        command = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child"]
        command += ["sh", str(_HERE / "power_on.sh"), self.name, str(self.folder)]
        command += [str(self._rootfs), self.home, *self.daemon()]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        tools = os.environ["PATH"] if shutil.which("ip", path=path) is None else path
        environment = {"PATH": tools, "HOME": "/root", **ENVIRONMENT}
        with (self.folder / "log").open("ab") as log:
            self._plug = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self._wait_for_network()
        self.link.order("attach", self._plug.pid)
        wait_until(self.answers, 30, f"{self.name} answers\n{self._log()}")

    def power_cut(self) -> None:
        """Everything on it ends at once; what was written to its disk stays."""
        if self._plug is not None:
            self._plug.kill()
            self._plug.wait()
            self._plug = None
            self.link.order("detach")

    def reset(self, keep: str = "") -> None:
        """As when it was new: link and power on, nothing running, an empty disk.

        Args:
            keep: A folder on its disk that stays.
        """
        for order in (("mend",), ("delay", 0), ("loss", 0)):
            self.link.order(*order)
        if self._plug is not None and self._plug.poll() is None:
            self.kill(self.processes())
        _empty(self.disk, self.disk / keep if keep else None)
        write_sys(self.folder / "sys")
        if self._plug is None or self._plug.poll() is not None:
            self.power_on()

    def processes(self, word: str = "", number: int = 0) -> list[int]:
        """Its processes, as numbered here, without the first one.

        Args:
            word: Only those whose command line holds it.
            number: Only that which the machine itself numbers so.
        """
        assert self._plug is not None
        space = _space(self._plug.pid, "pid_for_children")
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or _space(int(entry.name), "pid") != space:
                continue
            with suppress(OSError):
                status = (entry / "status").read_text()
                own = int(re.findall(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)[0])
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if own != 1 and number in (0, own) and word in line:
                    found.append(int(entry.name))
        return found

    def kill(self, processes: list[int]) -> None:
        """Kill processes, as numbered here."""
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def fill_disk(self, left: int) -> None:
        """Fill its disk up to ``left`` bytes; :meth:`free_disk` undoes it."""
        free = os.statvfs(self.disk)
        size = free.f_bavail * free.f_frsize - left
        with (self.disk / "filling").open("wb") as filling:
            os.posix_fallocate(filling.fileno(), 0, size)

    def free_disk(self) -> None:
        (self.disk / "filling").unlink()

    def close(self) -> None:
        self.power_cut()
        self.link.close()
        subprocess.run(["umount", "--lazy", self.disk], check=True)

    def _wait_for_network(self) -> None:
        plug = self._plug
        assert plug is not None
        own = _space(os.getpid(), "net")
        wait_until(lambda: _space(plug.pid, "net") not in ("", own), 10, "a network of its own")

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Board(Machine):
    """Debian with sshd and Python 3.11, and the user ``pi``, who has a key and no password."""

    home = "/home/pi"
    owner = 1000

    def __init__(self, rootfs: Path, folder: Path, ssh: Path) -> None:
        super().__init__("board", rootfs, folder, "10.90.0")
        self._ssh = ssh
        settings = self.settings
        for name in ("host", "other-host"):
            _make_key(settings / name)
        _make_key(ssh / "id_ed25519")
        _make_key(ssh / "id_wrong")
        shutil.copy(ssh / "id_ed25519.pub", settings / "authorized_keys")
        self.known_hosts = ssh / "known_hosts"
        self._host_key = "host"
        self.trust()
        (ssh / "config").write_text(
            f"Host board\n  HostName {self.address}\n  User pi\n"
            f"Host stranger\n  HostName {self.address}\n  HostKeyAlias stranger\n  User pi\n"
            f"Host board stranger\n  IdentityFile {ssh / 'id_ed25519'}\n  IdentitiesOnly yes\n"
        )
        (ssh / "config").chmod(0o600)

    def daemon(self) -> list[str]:
        environment = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
        options = {
            "HostKey": f"/etc/settings/{self._host_key}",
            "AuthorizedKeysFile": "/etc/settings/authorized_keys",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "MaxStartups": "100",
            "SetEnv": environment,
        }
        words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null"]
        return [*words, *(f"-o{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        return self.ssh("true").returncode == 0

    def ssh(self, script: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a script by the plain ``ssh`` of this machine, past hwnas."""
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        return subprocess.run(
            ["ssh", *options, "board", script], input=stdin, capture_output=True, timeout=120
        )

    def trust(self) -> None:
        """Take its key into the list of known hosts, as a user has who was there before."""
        key = (self.settings / f"{self._host_key}.pub").read_text()
        self.known_hosts.write_text(f"{self.address} {key}")

    def change_host_key(self) -> None:
        """Come back with another host key, as a board that was set up anew, or another board."""
        self._host_key = "other-host" if self._host_key == "host" else "host"
        self.power_cut()
        known = self.known_hosts.read_text()
        self.trust()
        self.power_on()
        self.known_hosts.write_text(known)

    def wrong_user_key(self, wrong: bool) -> None:
        """Let the board know another key of the user's than the one that is shown."""
        name = "id_wrong" if wrong else "id_ed25519"
        shutil.copy(self._ssh / f"{name}.pub", self.settings / "authorized_keys")


class Phone(Machine):
    """A root file system with adbd and a shell, without Python."""

    home = "/data/local/tmp"

    def __init__(self, rootfs: Path, folder: Path) -> None:
        super().__init__("phone", rootfs, folder, "10.90.1")
        self.serial = f"{self.address}:5555"

    def daemon(self) -> list[str]:
        return ["/usr/lib/android-sdk/platform-tools/adbd"]

    def answers(self) -> bool:
        self.adb("connect", self.serial)
        return self.adb("-s", self.serial, "shell", "true").returncode == 0

    def adb(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the plain ``adb`` of this machine, past hwnas."""
        return subprocess.run(["adb", *words], input=stdin, capture_output=True, timeout=60)


def _make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True)


def _empty(folder: Path, keep: Path | None) -> None:
    for entry in folder.iterdir():
        if entry == keep:
            continue
        if not entry.is_dir() or entry.is_symlink():
            entry.unlink()
        elif keep is not None and entry in keep.parents:
            _empty(entry, keep)
        else:
            shutil.rmtree(entry)


def _space(process: int, kind: str) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/{kind}").readlink())
    except OSError:
        return ""
