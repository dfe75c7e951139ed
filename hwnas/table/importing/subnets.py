"""Measurements of whole networks in CSV: rows of what a network is like and how long it took.

Hardware-aware transformers (arXiv:2005.14187) come with files of ten numbers of a network, four of
them means over layers, then ``latency_mean_encoder``, ``latency_mean_decoder`` and their ``std``,
in ms. Other files have one column ``latency_ms`` (or ``_us``, ``_s``), and perhaps ``std_ms``.

Which subnet a row is of, a column ``subnet`` says, or columns named as the space's dimensions,
depth rules and slots are. A mean over layers names a subnet only where all layers are alike.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.errors import TableError, UnknownName, UsageError
from hwnas.rules import EqualChoice
from hwnas.space import Space, Subnet
from hwnas.table.importing.entries import Entry, number, read_bounded, unusable, whole_number
from hwnas.table.importing.write import ImportedRow
from hwnas.table.records import Imported

__all__ = ["HAT_LATENCY", "Whole", "import_subnets", "read_subnets"]

HAT_LATENCY = (
    "latency_mean_encoder",
    "latency_mean_decoder",
    "latency_std_encoder",
    "latency_std_decoder",
)
"""The last columns of a file of hardware-aware transformers, in ms."""

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LATENCY = re.compile(r"latency(?:_(.*))?")


@dataclass(frozen=True)
class Whole:
    """One row.

    Attributes:
        line: in the file, from 1.
        features: column to value, as written; without the latency.
        entry: its latency.
    """

    line: int
    features: Mapping[str, str]
    entry: Entry


def read_subnets(path: Path, *, hat: bool = False) -> list[Whole]:
    """The rows of one file.

    Args:
        path: CSV with a header.
        hat: of hardware-aware transformers; else there is a column ``latency_<unit>``.

    Raises:
        TableError: the file is no such table; names the line.
    """
    reader = csv.reader(io.StringIO(read_bounded(path), newline=""), strict=True)
    header: list[str] = []
    found: list[Whole] = []
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not header:
                header = [cell.strip() for cell in cells]
                columns = _latency(header, hat, where)
            elif cells:
                if len(cells) != len(header):
                    raise unusable(f"{where}: {len(cells)} cells under {len(header)} columns")
                row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
                entry = _entry(row, columns, where, path.name, reader.line_num)
                used = {name for names in columns.values() for name, _ in names}
                rest = {name: value for name, value in row.items() if name not in used}
                found.append(Whole(reader.line_num, rest, entry))
    except csv.Error as error:
        raise unusable(f"{path}, line {reader.line_num} is no CSV: {error}") from error
    if not found:
        raise unusable(f"{path} holds no row")
    return found


_Columns = dict[str, list[tuple[str, float]]]
"""For ``mean``, ``std`` and ``count``, the columns that make it up and their units in ms."""


def _latency(header: Sequence[str], hat: bool, where: str) -> _Columns:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        what = f"the column {twice[0]!r} is there twice" if twice and twice[0] else "no name"
        raise unusable(f"{where}: {what if twice else 'a column has no name'}")
    odd = [name for name in header if not name.isprintable()]
    if odd:
        raise unusable(f"{where}: the column {odd[0]!r} cannot be shown")
    if hat:
        lacking = [name for name in HAT_LATENCY if name not in header]
        if lacking:
            raise unusable(f"{where}: the column {lacking[0]} of such a file is missing")
        means, spreads = HAT_LATENCY[:2], HAT_LATENCY[2:]
        return {"mean": [(name, 1.0) for name in means], "std": [(name, 1.0) for name in spreads]}
    found = [(name, match[1]) for name in header if (match := _LATENCY.fullmatch(name))]
    known = ", ".join(f"latency_{unit}" for unit in _UNITS)
    if len(found) != 1:
        names = ", ".join(name for name, _ in found)
        what = f"several latencies: {names}" if found else "no column of latencies"
        raise unusable(f"{where}: {what}; one of {known} is needed")
    name, unit = found[0]
    if unit not in _UNITS:
        raise unusable(f"{where}: the unit of {name!r} is not known; name it one of {known}")
    columns: _Columns = {"mean": [(name, _UNITS[unit])]}
    spread = [(f"std_{unit}", size) for unit, size in _UNITS.items() if f"std_{unit}" in header]
    return columns | {"std": spread[:1], "count": [("count", 1.0)] if "count" in header else []}


def _entry(row: Mapping[str, str], columns: _Columns, where: str, file: str, line: int) -> Entry:
    means = [number(row[name], where, name) * unit for name, unit in columns["mean"]]
    spreads = [number(row[name], where, name, zero=True) * unit for name, unit in columns["std"]]
    counts = [whole_number(row[name], where, name) for name, _ in columns.get("count", [])]
    return Entry(
        key=f"line {line}",
        mean_ms=math.fsum(means),
        std_ms=math.hypot(*spreads) if spreads else None,
        count=counts[0] if counts else None,
        file=file,
    )


def import_subnets(
    bundle: Bundle,
    files: Sequence[Path],
    columns: Mapping[str, str] | None = None,
    *,
    hat: bool = False,
) -> tuple[list[ImportedRow], list[str]]:
    """What files say of whole subnets.

    Args:
        bundle: of form ``space``; its subnets.
        files: as :func:`read_subnets` takes them.
        columns: column to what it says: ``subnet``, or the name of a dimension, a depth rule or a
            slot. A column that is named so needs none.
        hat: of hardware-aware transformers.

    Returns:
        The rows, and the columns that said nothing of which subnet it is.

    Raises:
        TableError: a file is no such table, a row names no subnet, or a subnet comes twice.
        UsageError: ``columns`` names what is not there, or two columns say the same.
    """
    space = bundle.manifest.space
    given = dict(columns or {})
    places = _places(space)
    for what in given.values():
        if what not in places:
            raise UnknownName("part of a subnet", what, list(places))
    rows: dict[str, ImportedRow] = {}
    ignored: dict[str, None] = {}
    seen: set[str] = set()
    for file in files:
        for whole in read_subnets(file, hat=hat):
            said = _said(whole, given, file)
            seen |= set(whole.features)
            ignored |= {n: None for n in whole.features if given.get(n, n) not in places}
            where = f"{file}, line {whole.line}"
            subnet = _subnet(space, {k: v for k, v in said.items() if k in places}, where)
            kind = bundle.subnet_kind(subnet)
            if kind in rows:
                before = rows[kind].value
                raise unusable(
                    f"{where}: {subnet.name} was there before, {before.file}, {before.entry}"
                )
            entry = whole.entry
            value = Imported(entry.mean_ms, entry.std_ms, entry.count, entry.file, entry.key)
            rows[kind] = ImportedRow(kind, "subnet", subnet.spec, value)
    absent = sorted(set(given) - seen)
    if absent:
        raise UsageError(f"there is no column {absent[0]!r}", f"columns: {', '.join(sorted(seen))}")
    return list(rows.values()), list(ignored)


def _said(whole: Whole, given: Mapping[str, str], file: Path) -> dict[str, str]:
    """What a row says, under the names that its columns stand for."""
    said: dict[str, str] = {}
    for column, value in whole.features.items():
        name = given.get(column, column)
        if name in said:
            raise UsageError(
                f"two columns of {file} say {name!r}, one of them {column!r}",
                "map one of them, or leave the other out of the file",
            )
        said[name] = value
    return said


def _places(space: Space) -> dict[str, str]:
    """What a column may say, each with its sort."""
    depths = {r.name: "depth" for r in space.rules if not isinstance(r, EqualChoice)}
    slots = {slot.name: "slot" for slot in space.slots}
    return {
        "subnet": "subnet",
        **slots,
        **depths,
        **{d.name: "dimension" for d in space.dimensions},
    }


def _subnet(space: Space, said: Mapping[str, str], where: str) -> Subnet:
    places = _places(space)
    parts: dict[str, dict[str, int]] = {"dimension": {}, "depth": {}}
    choices = {}
    for name, text in said.items():
        if places[name] == "slot":
            choices[name] = _choice(space.slot(name).choices, text, f"{where}: {name}")
        elif name != "subnet":
            parts[places[name]][name] = _whole(text, f"{where}: {name}")
    try:
        if "subnet" in said:
            found = space.find(said["subnet"])
        else:
            found = space.compose(parts["dimension"], parts["depth"], choices)
    except UnknownName as error:
        raise TableError(
            f"{where} does not say which subnet it is: {error.cause}",
            "name columns as the space's dimensions, depth rules and slots are named (--map "
            "COLUMN=NAME), or add a column 'subnet'",
        ) from error
    own = space.parts(found)
    known: dict[str, object] = {**own.choices, **own.depths, **own.dimensions}
    for name, value in {**choices, **parts["depth"], **parts["dimension"]}.items():
        # A slot that does not run may say anything.
        if known.get(name, value) != value:
            raise unusable(
                f"{where} contradicts itself: {found.name} has {known[name]} at {name}, not {value}"
            )
    return found


def _choice(choices: Sequence[str], text: str, where: str) -> str:
    """The choice of that name, or the one whose name ends in that number: ``ffn1024`` for 1024."""
    if text in choices or not text:
        return text
    wanted = str(_whole(text, where)) if re.fullmatch(r"[0-9.eE+-]+", text) else text
    ending = [choice for choice in choices if re.search(r"[0-9]*$", choice)[0] == wanted]  # type: ignore[index]
    return ending[0] if len(ending) == 1 else text


def _whole(text: str, where: str) -> int:
    value = number(text, where, "the value", zero=True)
    if value != int(value):
        raise unusable(
            f"{where} is {text}, a mean over layers that differ: it does not say which subnet it is"
        )
    return int(value)
