"""Quality by a table: CSV with a header ``subnet,quality``, or JSON.

JSON is ``{"d4": 0.98, ...}`` or ``[{"subnet": "d4", "quality": 0.98}, ...]``. Other columns and
members are ignored. A subnet is written by its name or its full spec.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import UnknownName, UsageError
from hwnas.files import atomic_file
from hwnas.select.protocol import Progress
from hwnas.select.quality.text import csv_rows, finite, read_text
from hwnas.space import Space, Subnet

__all__ = ["QualityTable", "write_table"]

_SUBNET, _QUALITY = "subnet", "quality"
_HEADER = f"the first line must be the header {_SUBNET},{_QUALITY}"


_Row = tuple[str, object, object]
"""Where it stands (``line 3``), the subnet, its quality: both as they were read."""


class QualityTable:
    """Numbers that somebody measured. Immutable."""

    kind = "measured table"
    costly = False

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
            values[subnet.name] = finite(value, f"{path}, {where}: the quality of {name}")
            subnets.append(subnet)
        if not subnets:
            raise UsageError(f"{path} rates no subnet", "give it a row for each subnet that counts")
        return cls(f"{cls.kind} {path.name}", values, subnets)

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


def write_table(path: Path, values: Mapping[str, float]) -> None:
    """Write full spec to quality as CSV, as :class:`QualityTable` reads it.

    Raises:
        HwnasError: the disk is full or the place cannot be written.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow((_SUBNET, _QUALITY))
        writer.writerows((spec, repr(value)) for spec, value in values.items())


def _find(space: Space, name: object, where: str) -> Subnet:
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{where}: there is no subnet", "name it, or take the line out")
    try:
        return space.find(name.strip())
    except UnknownName as error:
        raise UsageError(f"{where}: {error.cause}", error.fix) from None


def _csv_rows(path: Path) -> Iterator[_Row]:
    for where, row in csv_rows(path, (_SUBNET, _QUALITY)):
        yield where, row.get(_SUBNET), row.get(_QUALITY)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a name that is there twice must not vanish."""


def _json_rows(path: Path) -> Iterator[_Row]:
    text = read_text(path)
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
