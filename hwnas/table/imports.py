"""How a table says that its numbers were imported: nobody can measure on such a device."""

from __future__ import annotations

from hwnas._version import __version__
from hwnas.profile import Fingerprint

__all__ = ["UNCHECKED", "imported_fingerprint", "is_imported"]

UNCHECKED = (
    "p50 is the mean that was given, p95 and memory are not known, and nothing says how it was "
    "measured"
)
_RUNTIME = "imported"
_UNKNOWN = "unknown"


def imported_fingerprint(device: str, threads: int = 1) -> Fingerprint:
    """The fingerprint of a table of imported numbers.

    Args:
        device: what the numbers are said to be of.
        threads: of one inference, as far as is known.
    """
    return Fingerprint(
        machine=_UNKNOWN,
        cpu=device,
        flags=(),
        threads=threads,
        runtime=_RUNTIME,
        runtime_version=_UNKNOWN,
        provider=_UNKNOWN,
        cores=threads,
        affinity=(),
        governor=_UNKNOWN,
        system=_UNKNOWN,
        kernel=_UNKNOWN,
        hwnas=__version__,
    )


def is_imported(fingerprint: Fingerprint) -> bool:
    """Whether it was made by :func:`imported_fingerprint`."""
    return fingerprint.runtime == _RUNTIME
