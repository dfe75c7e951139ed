"""Results of quality functions, kept in one SQLite file.

A result is found again only for the same function reference, the same source file of the
function, the same bundle (weights included, by the hash of its manifest) and the same subnet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasError, NewerSchema

__all__ = ["CacheKey", "QualityCache"]

_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x68776E71
"""``hwnq`` in ASCII: tells this file from any other SQLite file."""

_TABLE = """
CREATE TABLE IF NOT EXISTS quality (
    function TEXT NOT NULL,
    source_sha256 TEXT NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    subnet TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (function, source_sha256, bundle_sha256, subnet)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class CacheKey:
    """What a result belongs to, but for the subnet."""

    function: str
    source_sha256: str
    bundle_sha256: str


class QualityCache:
    """The file at ``path``, made on first use. Each result is on disk before the next is asked."""

    def __init__(self, path: Path, key: CacheKey) -> None:
        self._path = path
        self._key = (key.function, key.source_sha256, key.bundle_sha256)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one batch of calls.

        Raises:
            NewerSchema: written by a newer hwnas.
            HwnasError: not such a file, damaged, or it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._prepare(connection)
            yield connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            raise self._unusable("it is another kind of SQLite file")
        if version > _SCHEMA_VERSION:
            raise NewerSchema(self._path, version, _SCHEMA_VERSION)
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def get(self, connection: sqlite3.Connection, subnet: str) -> float | None:
        """The result for the subnet of that spec, if there is one."""
        row = connection.execute(
            "SELECT value FROM quality WHERE function = ? AND source_sha256 = ?"
            " AND bundle_sha256 = ? AND subnet = ?",
            (*self._key, subnet),
        ).fetchone()
        return None if row is None else float(row[0])

    def put(self, connection: sqlite3.Connection, subnet: str, value: float) -> None:
        """Keep a result; one that another process has just put is replaced."""
        connection.execute(
            "INSERT OR REPLACE INTO quality VALUES (?, ?, ?, ?, ?)", (*self._key, subnet, value)
        )

    def _unusable(self, reason: object) -> HwnasError:
        return HwnasError(
            f"the cache of qualities {self._path} cannot be used: {reason}",
            "free some space if the disk is full; else remove that file (it holds only what can be "
            "evaluated again) or name another one",
        )
