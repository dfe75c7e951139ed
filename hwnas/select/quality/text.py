"""Reading what people write by hand or export from a spreadsheet: CSV cells and numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hwnas.errors import UsageError

__all__ = ["LARGEST", "Cell", "csv_header", "csv_rows", "finite", "read_text"]

LARGEST = 1e100
"""No quality is larger: sums and squares of what is stay finite."""


class Cell(str):
    """Text of a CSV cell, where a number is text too; a string in JSON is not a number."""


def read_text(path: Path) -> str:
    """The text of ``path``, without a byte order mark.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot read {path}: {reason}", "check its path") from error


def finite(value: object, what: str) -> float:
    """``value`` as a finite number.

    Args:
        value: a :class:`Cell`, or what was in JSON.
        what: it is, for the message.

    Raises:
        UsageError: it is missing, no number, not finite, or larger than any quality is.
    """
    fix = "write a finite number with a decimal point, higher being better; or take the line out"
    try:
        if not isinstance(value, Cell | int | float) or isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        shown = "missing" if value is None or value == "" else f"{value!r}, not a number"
        raise UsageError(f"{what} is {shown}", fix) from None
    if not abs(number) <= LARGEST:
        raise UsageError(f"{what} is {number}", fix)
    return number


def csv_header(path: Path) -> tuple[str, ...]:
    """The cells of the first line of ``path`` that has any."""
    return next((cells for _, cells in _lines(path)), ())


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Cell]]]:
    """Where each row stands (``line 3``), and its cells by column.

    Args:
        path: of the file; columns that are not asked for, and empty lines, are passed over.
        columns: that the header must name, in any order.

    Raises:
        UsageError: it cannot be read, is empty, lacks a column or has it twice.
    """
    lines = _lines(path)
    fix = f"the first line must be the header {','.join(columns)}"
    _, header = next(lines, ("", ()))
    if not header:
        raise UsageError(f"{path} is empty", fix)
    for column in columns:
        count = header.count(column)
        if count != 1:
            raise UsageError(
                f"{path} has {count or 'no'} column{'s' if count > 1 else ''} {column!r}; "
                f"its first line is {','.join(header)!r}",
                fix,
            )
    for where, cells in lines:
        yield where, dict(zip(header, cells, strict=False))


def _lines(path: Path) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for fields in reader:
            cells = tuple(Cell(field.strip()) for field in fields)
            if any(cells):
                yield f"line {reader.line_num}", cells
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {reader.line_num}: not valid CSV: {error}", "correct that line"
        ) from error
