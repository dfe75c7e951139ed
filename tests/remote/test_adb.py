"""What adb says has a type; adb itself is tested against a real adbd on the emulated board."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import (
    AuthenticationFailed,
    LinkLost,
    NoSuchDevice,
    RemoteError,
    UnreachableDevice,
    UsageError,
)
from hwnas.profile.transport import Result
from hwnas_targets.adb import AdbTransport, classify


@pytest.mark.parametrize(
    ("said", "kind", "cause"),
    [
        ("adb: device 'ABC' not found", NoSuchDevice, "no such device"),
        ("error: device 'ABC' not found", NoSuchDevice, "no such device"),
        ("adb: no devices/emulators found", NoSuchDevice, "no Android device"),
        ("adb: more than one device/emulator", NoSuchDevice, "several devices"),
        ("adb: device offline", NoSuchDevice, "offline"),
        ("error: device still authorizing", NoSuchDevice, "offline"),
        ("adb: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry "
         "'adb kill-server' if that seems wrong.", AuthenticationFailed, "not allowed"),
        ("failed to authenticate to 10.0.0.2:5555", AuthenticationFailed, "not allowed"),
        ("error: insufficient permissions for device: user in plugdev group; are your udev rules "
         "wrong?", AuthenticationFailed, "may not open the USB device"),
        ("failed to connect to '10.0.0.2:5555': Connection refused", NoSuchDevice, "not answer"),
        ("* failed to start daemon\nerror: cannot connect to daemon", UnreachableDevice, "server"),
        ("error: target doesn't support PTY args -Tt", RemoteError, "too old"),
        ("error: closed", LinkLost, "was lost"),
        ("", LinkLost, "was lost"),
    ],
)  # fmt: skip
def test_what_adb_says_has_a_type(said: str, kind: type[Exception], cause: str) -> None:
    error = classify(said.encode(), "phone")
    assert type(error) is kind
    assert cause in error.cause
    assert error.fix
    assert "\n" not in error.cause + error.fix


def test_a_script_that_had_begun_was_cut_off() -> None:
    transport = AdbTransport("ABC", "phone")
    begun = transport.lost(Result(0, b"begun", b""))
    assert type(begun) is LinkLost
    not_begun = transport.lost(Result(1, b"", b"adb: device 'ABC' not found"))
    assert type(not_begun) is NoSuchDevice


def test_without_adb_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no adb on this machine") as caught:
        AdbTransport("ABC").run("echo")
    assert "apt install adb" in caught.value.fix
