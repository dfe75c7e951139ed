"""What a search has done so far, in one SQLite file, so that it can be cut off and go on.

    settings    what the search was started with; another search is refused the file
    batch       which subnets were chosen to be evaluated, batch by batch, before they are
    evaluated   what was found of each, kept before the next is asked for

Nothing else is needed to go on: see :mod:`hwnas.select.search.protocol`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from hwnas.errors import HwnasError, NewerSchema, UsageError

__all__ = ["State"]

_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x68776E73
"""``hwns`` in ASCII: tells this file from any other SQLite file."""

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER NOT NULL, position INTEGER NOT NULL, subnet TEXT NOT NULL UNIQUE,
    PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evaluated (subnet TEXT PRIMARY KEY, quality REAL NOT NULL) WITHOUT ROWID;
"""


class State:
    """An open file; made by :meth:`open`. One search at a time, in one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path | None, settings: Mapping[str, JsonValue]) -> Iterator[State]:
        """Open the file at ``path``, or make it; None keeps everything in memory.

        Args:
            path: of the file.
            settings: of the search, by name.

        Raises:
            UsageError: the file is of a search with other settings; names them.
            NewerSchema: written by a newer hwnas.
            HwnasError: not such a file, damaged, in use, or it cannot be written.
        """
        shown = "the search in memory" if path is None else str(path)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                ":memory:" if path is None else path, timeout=1.0, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(shown, error) from error
        try:
            _prepare(connection, shown)
            _check(connection, shown, settings)
            yield cls(connection)
        except sqlite3.Error as error:
            raise _unusable(shown, error) from error
        finally:
            connection.close()

    def batches(self) -> list[list[str]]:
        """Full specs of the subnets of each batch that was begun, in their order."""
        found: list[list[str]] = []
        rows = self._connection.execute("SELECT number, subnet FROM batch ORDER BY 1, position")
        for number, subnet in rows:
            if number == len(found):
                found.append([])
            found[-1].append(subnet)
        return found

    def begin(self, number: int, specs: Sequence[str]) -> None:
        """Write down the next batch."""
        self._connection.execute("BEGIN")
        rows = [(number, position, spec) for position, spec in enumerate(specs)]
        self._connection.executemany("INSERT INTO batch VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def evaluated(self) -> dict[str, float]:
        """Full spec to quality, of all that were evaluated."""
        return dict(self._connection.execute("SELECT subnet, quality FROM evaluated"))

    def put(self, spec: str, quality: float) -> None:
        """Keep what was found of one subnet."""
        self._connection.execute("INSERT OR REPLACE INTO evaluated VALUES (?, ?)", (spec, quality))


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    # Held until the connection is closed: two searches must not take turns in one file.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if tables and application != _APPLICATION_ID:
        raise _unusable(path, "it is another kind of SQLite file")
    if version > _SCHEMA_VERSION:
        raise NewerSchema(path, version, _SCHEMA_VERSION)
    for statement in filter(str.strip, _TABLES.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    connection.execute("COMMIT")
    # Each result survives the end of this process at once, and that of the machine soon.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _check(connection: sqlite3.Connection, path: str, settings: Mapping[str, JsonValue]) -> None:
    given = {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
    known: dict[str, str] = dict(connection.execute("SELECT name, value FROM settings"))
    if not known:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO settings VALUES (?, ?)", given.items())
        connection.execute("COMMIT")
        return
    other = [name for name in {**known, **given} if known.get(name) != given.get(name)]
    if other:
        listed = "; ".join(
            f"{name} {_short(known.get(name))} there, {_short(given.get(name))} here"
            for name in other
        )
        raise UsageError(
            f"{path} is of another search: {listed}",
            "start it as it was started before, or name another file for this one",
        )


def _short(text: str | None) -> str:
    if text is None:
        return "not given"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unusable(path: str, reason: object) -> HwnasError:
    in_use = "locked" in str(reason)
    return HwnasError(
        f"the search's file {path} cannot be used: "
        f"{'another search is at work in it' if in_use else reason}",
        "wait for it to end, or name another file"
        if in_use
        else "free some space if the disk is full; else name another file",
    )
