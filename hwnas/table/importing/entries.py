"""One entry of a file that somebody measured, and the checks that all such files share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import TableError

__all__ = ["Entry", "number", "pooled_entry", "read_bounded", "unusable", "whole_number"]

_LARGEST_BYTES = 50_000_000
"""Such files hold some 10^4 entries of 100 bytes."""

_WHOLE_MS = 1e9
"""More than that, which is eleven days, is another unit."""


@dataclass(frozen=True)
class Entry:
    """A mean over runs.

    Attributes:
        key: what the file calls it; the file and the line for one without a name.
        mean_ms: in ms, above 0.
        std_ms: over runs, in ms; ``None`` where the file does not tell.
        count: of runs; ``None`` where the file does not tell.
        file: name of the file.
    """

    key: str
    mean_ms: float
    std_ms: float | None
    count: int | None
    file: str


def read_bounded(path: Path) -> str:
    """The text of a file that is not too large to be such a table.

    Raises:
        TableError: it cannot be read, is larger than 50 MB, is not UTF-8, or has a name that
            cannot be shown: the table will name it in every use.
    """
    if not path.name.isprintable():
        raise TableError(f"the name of {str(path)!r} cannot be shown", "rename the file")
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise TableError(
                f"{path} has {size:,} bytes, and a table at most {_LARGEST_BYTES:,}",
                "name the file of latencies",
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TableError(
            f"cannot read {path}: {error.strerror or error}", "check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is no text in UTF-8", "name the file of latencies") from error


def number(text: str, where: str, what: str, *, zero: bool = False) -> float:
    """A number above 0, or not below it if ``zero``.

    Args:
        text: as the file has it.
        where: file and line, for the error.
        what: what it is.
        zero: whether 0 is possible.

    Raises:
        TableError: it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "not below 0" if zero else "above 0"
        raise unusable(f"{where}: {what} is {text!r}, and must be a number {least}")
    if value > _WHOLE_MS:
        raise unusable(f"{where}: {what} is {text!r}, which no run takes in its unit")
    return value


def whole_number(text: str, where: str, what: str) -> int:
    """A whole number above 0; arguments and errors as of :func:`number`."""
    value = number(text, where, what)
    if value != int(value):
        raise unusable(f"{where}: {what} is {text!r}, no whole number")
    return int(value)


def unusable(trouble: str) -> TableError:
    """The error for a file that does not hold what it should."""
    return TableError(trouble, "mend the file, or leave it out")


def pooled_entry(found: Sequence[Entry]) -> Entry:
    """One entry of several files' for the same thing: the mean over all their runs.

    Where one does not tell its runs, each file counts alike.
    """
    if len(found) == 1:
        return found[0]
    counts = [one.count for one in found if one.count is not None]
    complete = len(counts) == len(found)
    shares = [n / sum(counts) for n in counts] if complete else [1 / len(found)] * len(found)
    mean = math.fsum(share * one.mean_ms for share, one in zip(shares, found, strict=True))
    spread = None
    if all(one.std_ms is not None for one in found):
        squares = (
            share * ((one.std_ms or 0) ** 2 + (one.mean_ms - mean) ** 2)
            for share, one in zip(shares, found, strict=True)
        )
        spread = math.sqrt(math.fsum(squares))
    files = ", ".join(dict.fromkeys(one.file for one in found))
    return Entry(found[0].key, mean, spread, sum(counts) if complete else None, files)
