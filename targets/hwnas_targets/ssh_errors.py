"""What ssh says when it cannot connect, as one clear error with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

from hwnas.errors import (
    AuthenticationFailed,
    HostKeyChanged,
    HwnasError,
    LinkLost,
    NoSuchDevice,
    UnreachableDevice,
)
from hwnas.remote.shell import last_line

__all__ = ["classify"]

_BY_HAND = "connect once by hand and compare the key that is shown with the device's own"


def classify(said: bytes, name: str, by_hand: str) -> HwnasError:
    """The error for a connection that did not come about.

    Args:
        said: ssh's stderr, in the C locale.
        name: of the device.
        by_hand: the command by which a person connects to it.
    """
    text = said.decode(errors="replace")
    for pattern, make in _PATTERNS:
        if found := re.search(pattern, text):
            return make(found, name, by_hand)
    why = last_line(said)
    return LinkLost(
        f"{name} closed the connection{': ' + why if why else ''}",
        f"try {by_hand} by hand",
    )


def _key_changed(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    forget = re.search(r"^\s*(ssh-keygen -f \S+ -R \S+)\s*$", found.string, re.MULTILINE)
    host = by_hand.rpartition("@")[2].rpartition(" ")[2]
    command = forget[1] if forget else f"ssh-keygen -R {host}"
    return HostKeyChanged(
        f"the host key of {name} is not the one on record: it was set up anew, or something "
        "else answers in its place",
        f"if it was set up anew: {command}, then {by_hand}: {_BY_HAND}",
    )


def _key_unknown(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return HostKeyChanged(f"no host key of {name} is on record yet", f"{by_hand}: {_BY_HAND}")


def _denied(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    copy = by_hand.replace("ssh ", "ssh-copy-id ", 1)
    fix = f"{copy} puts your key there; a key with a passphrase needs ssh-add first"
    if unsafe := re.search(r"(?:Permissions \S+ for|Load key) '?\"?([^'\"\n]+)", found.string):
        why = "is readable by others" if "too open" in found.string else "cannot be used"
        fix = f"{unsafe[1]} {why}: mend that (chmod 600), or {fix}"
    elif missing := re.search(r"Identity file (\S+) not accessible", found.string):
        fix = f"{missing[1]} cannot be read: mend that, or {fix}"
    return AuthenticationFailed(f"{name} does not accept your key ({_line(found)})", fix)


def _too_many(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return AuthenticationFailed(
        f"{name} was offered too many keys", "name the right one as identity in the target's file"
    )


def _unresolved(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return NoSuchDevice(
        f"no host is called {found[1]}", "check its spelling, or give its address instead"
    )


def _refused(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return NoSuchDevice(
        f"{name} refuses connections ({_line(found)})",
        "start the ssh server there, and check the port",
    )


def _silent(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return NoSuchDevice(
        f"{name} does not answer ({_line(found)})",
        "check that it is on and in the same network, and its address",
    )


def _settings(found: re.Match[str], name: str, by_hand: str) -> HwnasError:
    return UnreachableDevice(f"ssh cannot connect to {name}: {_line(found)}", f"try {by_hand}")


def _line(found: re.Match[str]) -> str:
    """The line that was found, whole."""
    text = found.string
    begin = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.start())
    return last_line(text[begin : end if end >= 0 else None].encode())


# In this order: a changed key is followed by lines that look like other errors.
_PATTERNS: tuple[tuple[str, Callable[[re.Match[str], str, str], HwnasError]], ...] = (
    (r"HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed", _key_changed),
    (r"REVOKED HOST KEY|revoked", _key_changed),
    (r"No \S+ host key is known for|Host key verification failed", _key_unknown),
    (r"Too many authentication failures", _too_many),
    (r"Permission denied \(|No more authentication methods|Permission denied, please", _denied),
    (r"Could not resolve hostname ([^\s:]+)", _unresolved),
    (r"Connection refused", _refused),
    (r"No route to host|Network is unreachable|Host is down|[Tt]imed out", _silent),
    (r"Bad configuration option|terminating, \d+ bad|Can't open user config", _settings),
    (r"Unable to negotiate|no matching|Bad owner or permissions on", _settings),
)
