"""Quality by a table: CSV with a header ``subnet,quality``, or JSON.

JSON is ``{"d4": 0.98, ...}`` or ``[{"subnet": "d4", "quality": 0.98}, ...]``. Other columns and
members are ignored. A subnet is written by its name or its full spec.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import UnknownName, UsageError
from hwnas.select.protocol import Progress
from hwnas.space import Space, Subnet

__all__ = ["QualityTable"]

_SUBNET, _QUALITY = "subnet", "quality"
_HEADER = f"the first line must be the header {_SUBNET},{_QUALITY}"


class _Cell(str):
    """Text of a CSV cell, where a number is text too; a string in JSON is not a number."""


_Row = tuple[str, object, object]
"""Where it stands (``line 3``), the subnet, its quality: both as they were read."""


class QualityTable:
    """Numbers that somebody measured. Immutable."""

    def __init__(self, source: str, values: dict[str, float], subnets: Sequence[Subnet]) -> None:
        self._source = source
        self._values = values
        self._subnets = tuple(subnets)

    @classmethod
    def read(cls, path: Path, space: Space) -> QualityTable:
        """Read the table at ``path``.

        Raises:
            UsageError: it is missing, empty or not readable, or a line has an unknown subnet, one
                that was there before, or something that is not a finite number; names the line.
        """
        rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
        values: dict[str, float] = {}
        subnets: list[Subnet] = []
        seen: dict[str, str] = {}
        for where, name, value in rows:
            subnet = _find(space, name, f"{path}, {where}")
            if subnet.name in seen:
                raise UsageError(
                    f"{path}, {where}: {name} was rated before, in {seen[subnet.name]}",
                    "keep one of the two",
                )
            seen[subnet.name] = where
            values[subnet.name] = _number(value, f"{path}, {where}: the quality of {name}")
            subnets.append(subnet)
        if not subnets:
            raise UsageError(f"{path} rates no subnet", "give it a row for each subnet that counts")
        return cls(f"measured table {path.name}", values, subnets)

    @property
    def source(self) -> str:
        """The table's file name, without its folder."""
        return self._source

    def rated(self) -> Sequence[Subnet]:
        """The rows, in their order."""
        return self._subnets

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Look each subnet up; takes no time, so ``progress`` hears nothing."""
        return [self._values[subnet.name] for subnet in subnets]


def _find(space: Space, name: object, where: str) -> Subnet:
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{where}: there is no subnet", "name it, or take the line out")
    try:
        return space.find(name.strip())
    except UnknownName as error:
        raise UsageError(f"{where}: {error.cause}", error.fix) from None


def _number(value: object, what: str) -> float:
    fix = "write a finite number with a decimal point, higher being better; or take the line out"
    try:
        if not isinstance(value, _Cell | int | float) or isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        shown = "missing" if value is None or value == "" else f"{value!r}, not a number"
        raise UsageError(f"{what} is {shown}", fix) from None
    if not math.isfinite(number):
        raise UsageError(f"{what} is {number}", fix)
    return number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot read {path}: {reason}", "check the path of --quality") from error


def _csv_rows(path: Path) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] | None = None
    try:
        for fields in reader:
            cells = [_Cell(field.strip()) for field in fields]
            if not any(cells):
                continue
            if header is None:
                header = _check_header(path, list(cells))
                continue
            row = dict(zip(header, cells, strict=False))
            yield f"line {reader.line_num}", row.get(_SUBNET), row.get(_QUALITY)
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {reader.line_num}: not valid CSV: {error}", "correct that line"
        ) from error
    if header is None:
        raise UsageError(f"{path} is empty", _HEADER)


def _check_header(path: Path, header: list[str]) -> list[str]:
    for column in (_SUBNET, _QUALITY):
        count = header.count(column)
        if count != 1:
            raise UsageError(
                f"{path} has {count or 'no'} column{'s' if count > 1 else ''} {column!r}; "
                f"its first line is {','.join(header)!r}",
                _HEADER,
            )
    return header


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a name that is there twice must not vanish."""


def _json_rows(path: Path) -> Iterator[_Row]:
    text = _text(path)
    try:
        data = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}", "correct it") from error
    if isinstance(data, _Pairs):
        for number, (name, value) in enumerate(data, start=1):
            yield f"entry {number}", name, value
    elif isinstance(data, list) and all(isinstance(entry, _Pairs) for entry in data):
        for number, entry in enumerate(data, start=1):
            members = dict(entry)
            yield f"entry {number}", members.get(_SUBNET), members.get(_QUALITY)
    else:
        raise UsageError(
            f"{path} holds neither an object nor a list of objects",
            'write {"d4": 0.98} or [{"subnet": "d4", "quality": 0.98}]',
        )
