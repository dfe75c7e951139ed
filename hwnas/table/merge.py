"""Several tables of devices of one type as one table."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.errors import OtherDevice, UsageError
from hwnas.files import atomic_file, sha256_file
from hwnas.table.file import damaged, translated
from hwnas.table.imports import is_imported
from hwnas.table.lut import Lut, new_table
from hwnas.table.packing import COLUMNS
from hwnas.table.records import Source

__all__ = ["merge"]

_RAW = {
    "turn": "position, sitting, round, cold, wall, cpu, switches, ns",
    "round": "sitting, round, canary_before, canary_after, throttled, readings",
    "imported": "mean_ms, std_ms, count, file, entry",
}


def merge(paths: Sequence[str | Path], output: str | Path, *, force: bool = False) -> list[Source]:
    """Write a table with the measurements of ``paths``, each kind's side by side.

    The latest good measurement of a kind from each table is what counts there; failures come
    along. The device of the first table is that of the whole.

    Args:
        paths: at least two tables, of devices that do not differ in what is compared.
        output: the table to write; must not exist, and is written whole or not at all.
        force: merge tables of other devices too; each then says so, in every later use.

    Returns:
        The sources, in order.

    Raises:
        UsageError: fewer than two tables, one of them twice, or ``output`` exists.
        OtherDevice: devices differ; says in what.
        TableError, NewerSchema: one is missing, damaged, or not a lookup table.
        ProfileError: ``output`` cannot be written.
    """
    files = [Path(path) for path in paths]
    target = Path(output)
    if target.exists():
        raise UsageError(f"{target} exists", "name another file with -o")
    hashes = [sha256_file(file) if file.is_file() else str(file) for file in files]
    if len(set(hashes)) < max(2, len(files)):
        raise UsageError(
            "merging needs at least two tables that differ", "name each table once, as in A.db B.db"
        )
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    sources: list[Source] = []
    with Lut.open(files[0]) as first:
        fingerprint = first.fingerprint
    with (
        atomic_file(target) as temporary,
        translated(target, writing=True),
        new_table(temporary, fingerprint) as db,
    ):
        for file, name, digest in zip(files, names, hashes, strict=True):
            with Lut.open(file) as lut:
                differences = fingerprint.differences(lut.fingerprint)
                if is_imported(fingerprint) != is_imported(lut.fingerprint):
                    raise OtherDevice(
                        f"of {files[0]} and {file} one was measured and the other one imported",
                        "compare them with 'hwnas lut diff'; they are never merged",
                    )
                if differences and not force:
                    raise OtherDevice(
                        f"{file} is of another device than {files[0]}: {'; '.join(differences)}",
                        "measure on devices of one type, or merge all the same with --force",
                    )
                try:
                    sources += _copy(lut, db, name, digest, tuple(differences))
                except KeyError as error:
                    raise damaged(file, "a measurement names a run or source it lacks") from error
    return sources


def _copy(
    lut: Lut, db: sqlite3.Connection, name: str, digest: str, differences: tuple[str, ...]
) -> list[Source]:
    """Insert all of ``lut`` into ``db``; a merged table's sources stay those of its rows."""
    text = lut.fingerprint.model_dump_json()
    own = Source(name, digest, text, bool(differences), differences)
    given = {None: own} | {
        identity: replace(
            before,
            file=f"{name}/{before.file}",
            forced=before.forced or bool(differences),
            differences=(*differences, *before.differences),
        )
        for identity, before in lut.numbered_sources()
    }
    runs: dict[Any, int | None] = {}
    for run, *values, device in lut.raw(
        "SELECT id, hwnas, settings, started, "
        "(SELECT fingerprint FROM device WHERE id = run.device) FROM run ORDER BY id"
    ):
        db.execute("INSERT OR IGNORE INTO device (fingerprint) VALUES (?)", (device,))
        runs[run] = db.execute(
            "INSERT INTO run (hwnas, settings, started, device) "
            "SELECT ?, ?, ?, id FROM device WHERE fingerprint = ?",
            (*values, device),
        ).lastrowid
    sources: dict[Any, int | None] = {}
    columns = f"status, error, finished, {COLUMNS}"
    for identity, run, source, *values in lut.raw(
        f"SELECT id, run, source, {columns} FROM measurement ORDER BY id"
    ):
        if source not in sources:
            sources[source] = _insert_source(db, given[source])
        new = db.execute(
            f"INSERT INTO measurement (run, source, {columns}) VALUES (?, ?{', ?' * len(values)})",
            (runs[run], sources[source], *values),
        ).lastrowid
        for table, rest in _RAW.items():
            query = f"INSERT INTO {table} (measurement, {rest}) SELECT ?{', ?' * len(rest.split())}"
            rows = lut.raw(f"SELECT {rest} FROM {table} WHERE measurement = ?", (identity,))
            db.executemany(query, [(new, *row) for row in rows])
    return [given[source] for source in sources]


def _insert_source(db: sqlite3.Connection, source: Source) -> int | None:
    return db.execute(
        "INSERT INTO source (file, sha256, fingerprint, forced, differences) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            *(source.file, source.sha256, source.fingerprint, source.forced),
            json.dumps(list(source.differences)),
        ),
    ).lastrowid
