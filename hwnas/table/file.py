"""SQLite as a file that may be missing, damaged, in use, or on a full disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import NewerSchema, ProfileError, TableError
from hwnas.table.schema import APPLICATION_ID, SCHEMA_VERSION

__all__ = ["check", "connect", "damaged", "translated"]

_BUSY_S = 10.0


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect in ``mode`` (``rw``, or ``rwc`` to create); transactions are the caller's."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("PRAGMA trusted_schema=OFF")
    return db


def check(path: Path, db: sqlite3.Connection) -> None:
    """Check that ``db`` is a whole lookup table of a schema that can be read.

    Raises:
        TableError, NewerSchema: it is not.
    """
    [(application,)] = db.execute("PRAGMA application_id")
    [(version,)] = db.execute("PRAGMA user_version")
    if application != APPLICATION_ID:
        raise TableError(
            f"{path} is an SQLite file, but not a lookup table of hwnas",
            "name the file that 'hwnas profile' wrote",
        )
    if version > SCHEMA_VERSION:
        raise NewerSchema(path, version, SCHEMA_VERSION)
    foreign = "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
    for kind, name in db.execute(foreign):
        # They would run on our own reads and writes, for as long as they please.
        raise damaged(path, f"it has a {kind} of its own, {name!r}")
    [(verdict,)] = db.execute("PRAGMA quick_check(1)")
    if verdict != "ok" or version < 1:
        raise damaged(path, verdict)


@contextmanager
def translated(path: Path, writing: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into ours; which they are depends on what was being done."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProfileError(
                f"another process is using {path}", "wait for it, or stop it, and try again"
            ) from error
        if writing and code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise ProfileError(
                f"cannot write {path}: {error}", "free space, then go on with --resume"
            ) from error
        if writing and code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise ProfileError(
                f"cannot write {path}: {error}", "make the file and its folder writable"
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise TableError(
                f"{path} is not a lookup table: it is not an SQLite file",
                "name the file that 'hwnas profile' wrote",
            ) from error
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            raise
        raise damaged(path, str(error)) from error


def damaged(path: Path, how: str) -> TableError:
    """The error for a file whose content is not as it was written."""
    return TableError(
        f"{path} is damaged: {how}", "copy it again in full, or measure again into another file"
    )
