"""What ``devices`` and ``doctor`` share: a shell on a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hwnas.errors import UsageError
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.protocol import load_target
from hwnas.profile.transport import Transport

__all__ = ["open_shell"]


@contextmanager
def open_shell(descriptor: Descriptor) -> Iterator[Transport]:
    """Yield a transport to ``descriptor``'s target, and close the target after that.

    Raises:
        UsageError: its plug-in gives none.
        UnknownName: nobody brings a plug-in for its kind.
        UnreachableDevice: it does not answer.
    """
    target = load_target(descriptor)
    try:
        shell = target.shell()
        if shell is None:
            raise UsageError(
                f"targets of the kind {descriptor.kind!r} give no shell, so that "
                f"{descriptor.name} cannot be probed",
                "look there by hand; measuring does not need one",
            )
        yield shell
    finally:
        target.close()
