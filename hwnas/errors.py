"""Every error that hwnas raises on purpose, as one tree.

    HwnasError                      what a user can cause and can mend; ``exit_code`` 1
    ├── UsageError                  a wrong argument or value; ``exit_code`` 2
    │   ├── UnknownName             a subnet, target, profiler, family that does not exist
    │   └── MissingExtra            an optional dependency is not installed
    ├── SupernetError               a supernet cannot be imported or breaks the protocol
    │   └── SignatureError          blocks do not fit each other
    ├── BundleError                 a bundle is missing, cut off, altered or unreadable
    │   ├── NewerSchema             a file was written by a newer hwnas
    │   ├── UnsafePath              a path leaves the bundle
    │   └── OtherMachine            finalised for another type of CPU or version of the runtime
    ├── TableError                  a lookup table is missing, damaged, or lacks what is asked
    │   ├── MissingMeasurements     kinds without a usable measurement (all named)
    │   └── OtherDevice             a table of another device
    ├── PlanError                   a plan is missing, damaged, or of another bundle
    ├── ProfileError                measuring could not go on (full disk, no such core)
    │   └── RemoteError             something on a device failed there
    │       └── DeviceFull          no space is left there
    ├── InputError                  an input tensor of the wrong name, shape or dtype
    ├── Infeasible                  no subnet meets the budgets; ``exit_code`` 3
    ├── VerificationFailed          an artifact computes something else; ``exit_code`` 4
    └── UnreachableDevice           a device does not answer; ``exit_code`` 5
        ├── LinkLost                it answered and then no longer; this is tried again
        ├── NoSuchDevice            nothing is there under that name, or it refuses to talk
        ├── AuthenticationFailed    it does not let this user in
        └── HostKeyChanged          it is not, or not known to be, the device that it says it is

Each error has a ``cause`` (what is wrong, with the values seen) and a ``fix`` (what to do about
it). The command line prints both and never a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "AuthenticationFailed",
    "BundleError",
    "DeviceFull",
    "HostKeyChanged",
    "HwnasError",
    "Infeasible",
    "InputError",
    "LinkLost",
    "MissingExtra",
    "MissingMeasurements",
    "NewerSchema",
    "NoSuchDevice",
    "OtherDevice",
    "OtherMachine",
    "PlanError",
    "ProfileError",
    "RemoteError",
    "SignatureError",
    "SupernetError",
    "TableError",
    "UnknownName",
    "UnreachableDevice",
    "UnsafePath",
    "UsageError",
    "VerificationFailed",
    "shorten",
]


def shorten(names: Iterable[str], limit: int = 12) -> str:
    """Join names for a message: all of them up to ``limit``, then how many are left."""
    listed = list(names)
    text = ", ".join(listed[:limit])
    return text if len(listed) <= limit else f"{text} and {len(listed) - limit} more"


class HwnasError(Exception):
    """Base of all errors that a user can cause; see the tree in the module's docstring."""

    exit_code = 1

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.cause}\n  fix: {self.fix}" if self.fix else self.cause

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses build their message from other arguments; errors cross process borders whole.
        return _rebuild, (type(self), self.cause, self.fix)


def _rebuild(kind: type[HwnasError], cause: str, fix: str) -> HwnasError:
    error = kind.__new__(kind)
    HwnasError.__init__(error, cause, fix)
    return error


class UsageError(HwnasError):
    """A wrong argument or value on the command line or in a call."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that does not exist; the message lists those that do, the closest first."""

    def __init__(self, what: str, name: str, known: Sequence[str], fix: str = "") -> None:
        close = difflib.get_close_matches(name, known, n=3)
        ordered = close + [other for other in known if other not in close]
        hint = f"did you mean {close[0]!r}? " if close else ""
        listed = f"known: {shorten(ordered)}" if ordered else "none is known"
        super().__init__(f"unknown {what} {name!r}", fix or f"{hint}{listed}")


class MissingExtra(UsageError):
    """An optional dependency that is not installed, named by the command that brings it."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"this needs the Python package {module!r}, which is not installed",
            f"pip install 'hwnas[{extra}]'",
        )


class SupernetError(HwnasError):
    """A supernet that cannot be imported, or that does not follow the protocol."""


class SignatureError(SupernetError):
    """Blocks whose inputs and outputs do not fit; names the slot and both shapes."""


class BundleError(HwnasError):
    """A bundle that is missing, cut off, altered or unreadable."""


class NewerSchema(BundleError):
    """A file whose ``schema_version`` is newer than this hwnas can read."""

    def __init__(self, path: object, found: object, known: int) -> None:
        super().__init__(
            f"{path} has schema_version {found}, this hwnas reads up to {known}",
            "pip install --upgrade hwnas",
        )


class UnsafePath(BundleError):
    """A path in a bundle that points outside it."""


class OtherMachine(BundleError):
    """A finalised bundle on a CPU type or runtime version that it was not made for."""


class TableError(HwnasError):
    """A lookup table that is missing, damaged, or lacks what is asked of it."""


class MissingMeasurements(TableError):
    """Kinds without a usable measurement: unknown is never free."""


class OtherDevice(TableError):
    """A table measured on another device or with other settings."""


class PlanError(HwnasError):
    """A plan that is missing, cut off, altered, or was made for another bundle."""


class ProfileError(HwnasError):
    """Measuring could not go on."""


class RemoteError(ProfileError):
    """Something failed on a device that was reached; says what it printed."""


class DeviceFull(RemoteError):
    """No space is left on a device; says where and how much is needed."""


class InputError(HwnasError):
    """An input tensor of the wrong name, shape or dtype."""

    exit_code = 2


class Infeasible(HwnasError):
    """No subnet meets all budgets; names the budget that binds and the nearest feasible subnet."""

    exit_code = 3


class VerificationFailed(HwnasError):
    """An exported artifact does not compute what it should."""

    exit_code = 4


class UnreachableDevice(HwnasError):
    """A device does not answer."""

    exit_code = 5


class LinkLost(UnreachableDevice):
    """A device answered and then no longer. What it was told to do may go on there."""


class NoSuchDevice(UnreachableDevice):
    """No device is there under this name or address, or nothing there listens."""


class AuthenticationFailed(UnreachableDevice):
    """A device does not let this user in: no accepted key, or an unanswered question there."""


class HostKeyChanged(UnreachableDevice):
    """A host's key is not the one on record, or none is on record yet."""
