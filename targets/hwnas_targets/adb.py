"""The target kind ``adb``: an Android device that the system's own adb reaches."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

from hwnas.errors import (
    AuthenticationFailed,
    HwnasError,
    LinkLost,
    NoSuchDevice,
    RemoteError,
    UnreachableDevice,
    UsageError,
)
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.transport import Result
from hwnas.remote.shell import ShellTransport, last_line
from hwnas.remote.target import RemoteTarget

__all__ = ["AdbTarget", "AdbTransport", "classify"]

_SERVER_S = 30.0


class AdbTransport(ShellTransport):
    """Scripts by ``adb shell -T``: no terminal, so that bytes pass as they are.

    Args:
        serial: as ``adb devices`` lists it; empty for the only device. ``host:port`` is connected
            to first.
        name: for messages.
    """

    def __init__(self, serial: str = "", name: str = "") -> None:
        super().__init__(name or serial or "the Android device")
        self._serial = serial
        self._connected = False

    def command(self, line: str) -> list[str]:
        """See :class:`~hwnas.remote.shell.ShellTransport`."""
        adb = shutil.which("adb")
        if adb is None:
            raise UsageError(
                "there is no adb on this machine",
                "install Android's platform tools (Debian and Ubuntu: apt install adb)",
            )
        if not self._connected:
            self._connect(adb)
            self._connected = True
        serial = ["-s", self._serial] if self._serial else []
        # adb joins its arguments with blanks: the line must be one, quoted already.
        return [adb, *serial, "shell", "-T", line]

    def lost(self, result: Result) -> HwnasError:
        """See :class:`~hwnas.remote.shell.ShellTransport`."""
        self._connected = False
        error = classify(result.stderr, self.name)
        if result.stdout and not isinstance(error, AuthenticationFailed):
            why = last_line(result.stderr)
            return LinkLost(
                f"the link to {self.name} was lost{': ' + why if why else ''}",
                "check the cable, and that the device is awake",
            )
        return error

    def _connect(self, adb: str) -> None:
        """Start the server, which lives on and belongs to the user, and name a device to it."""
        self._ask(adb, "start-server")
        if re.fullmatch(r"\S+:[0-9]+", self._serial):
            said = self._ask(adb, "connect", self._serial)
            if b"connected to" not in said:
                raise classify(said, self.name)

    def _ask(self, adb: str, *words: str) -> bytes:
        try:
            done = subprocess.run(
                [adb, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_SERVER_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnreachableDevice(
                f"adb {words[0]} did not end within {_SERVER_S:g} s", "adb kill-server, then again"
            ) from None
        if done.returncode and words[0] == "start-server":
            raise classify(done.stdout, self.name)
        return done.stdout


class AdbTarget(RemoteTarget):
    """A device reached by adb; see :class:`~hwnas.remote.target.RemoteTarget`."""

    def connect(self, descriptor: Descriptor) -> AdbTransport:
        """The way to the device that ``descriptor`` names."""
        return AdbTransport(descriptor.transport.serial, descriptor.name)


def classify(said: bytes, name: str) -> HwnasError:
    """The error for what adb said when it could not run a script on the device ``name``."""
    text = said.decode(errors="replace")
    for pattern, kind, cause, fix in _PATTERNS:
        if re.search(pattern, text):
            return kind(cause.format(name=name, line=last_line(said)), fix)
    why = last_line(said)
    return LinkLost(
        f"the link to {name} was lost{': ' + why if why else ''}",
        "check the cable, and that the device is awake",
    )


_PATTERNS: tuple[tuple[str, Callable[[str, str], HwnasError], str, str], ...] = (
    (
        r"device unauthorized|failed to authenticate|unauthorized",
        AuthenticationFailed,
        "{name} has not allowed this machine to debug it",
        "unlock the device and accept the question about USB debugging, then try again",
    ),
    (
        r"insufficient permissions|no permissions",
        AuthenticationFailed,
        "this user may not open the USB device of {name}",
        "apt install android-sdk-platform-tools-common (udev rules), then plug it in again",
    ),
    (
        r"more than one (device|emulator)",
        NoSuchDevice,
        "several devices are connected, and none was named",
        "name one as adb://SERIAL; adb devices lists them",
    ),
    (
        r"no devices(/emulators)? found",
        NoSuchDevice,
        "no Android device is connected to this machine",
        "plug it in, switch USB debugging on, and see what adb devices lists",
    ),
    (
        r"device '[^']*' not found|device not found",
        NoSuchDevice,
        "adb knows no such device: {name}",
        "plug it in, switch USB debugging on, and see what adb devices lists",
    ),
    (
        r"device offline|device still (connecting|authorizing)",
        NoSuchDevice,
        "{name} is connected but does not answer (offline)",
        "unplug it and plug it in again, or adb reconnect",
    ),
    (
        r"failed to connect|cannot connect to \S+:\d+: |unable to connect|failed to resolve|"
        r"Connection refused|No route to host",
        NoSuchDevice,
        "{name} does not answer ({line})",
        "check its address, and that it is on and lets adb in over the network",
    ),
    (
        r"cannot connect to daemon|failed to (start|check) (daemon|server)|smartsocket",
        UnreachableDevice,
        "the adb server on this machine cannot be started or reached ({line})",
        "adb kill-server, then try again",
    ),
    (
        r"doesn't support PTY args|only supports|shell v1",
        RemoteError,
        "{name} is too old: its adb cannot pass bytes unchanged",
        "use Android 7 or newer",
    ),
)
