"""The lookup table: raw turns, verdicts and errors, and the device that they come from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas._version import __version__
from hwnas.errors import OtherDevice, ProfileError, TableError, UsageError, shorten
from hwnas.files import atomic_file
from hwnas.profile import Fingerprint, Settings
from hwnas.profile.record import Record, Scope
from hwnas.table import owner
from hwnas.table.file import connect, translated
from hwnas.table.imports import UNCHECKED, is_imported
from hwnas.table.packing import (
    COLUMNS,
    measurement_values,
    round_values,
    turn_values,
)
from hwnas.table.reader import Reader
from hwnas.table.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from hwnas.table.upgrade import upgrade

if TYPE_CHECKING:
    from hwnas.profile.package import Package

__all__ = ["Lut", "new_table"]


class Lut(Reader):
    """An opened lookup table. Used by one thread; a context manager; also a ``profile.Sink``.

    Made by :meth:`create` or :meth:`resume` to write, by :meth:`open` to read. Writing methods
    have written when they return: a process that is killed loses what was not yet handed over.

    Every method raises :class:`TableError` where the file turns out to be damaged, and writing
    ones :class:`ProfileError` where it cannot be written (full disk, read-only, in use).

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        super().__init__(path, db)
        self._run: int | None = None

    @classmethod
    def create(cls, path: str | Path, fingerprint: Fingerprint, settings: Settings) -> Lut:
        """Make a new table for one device.

        Raises:
            UsageError: there is a file already.
            ProfileError: it cannot be written.
        """
        file = Path(path)
        if file.exists():
            raise UsageError(
                f"{file} exists: a profile, or something else",
                "go on with it by --resume, or name another file with -o",
            )
        with (
            atomic_file(file) as temporary,
            translated(file, writing=True),
            new_table(temporary, fingerprint),
        ):
            pass
        return cls.resume(file, fingerprint, settings)

    @classmethod
    def resume(cls, path: str | Path, fingerprint: Fingerprint, settings: Settings) -> Lut:
        """Open a table to go on with; one of an older schema becomes one of the present schema.

        Raises:
            TableError, NewerSchema: as :meth:`open`.
            OtherDevice: it was measured on another device; says what differs.
            ProfileError: another process is writing it, or it cannot be written.
        """
        lut = cls._open(Path(path))
        try:
            if is_imported(lut.fingerprint):
                raise OtherDevice(
                    f"{path} holds imported numbers, and what is measured is never mixed with them",
                    "name another file with -o for what is measured",
                )
            differences = fingerprint.differences(lut.fingerprint)
            if differences:
                raise OtherDevice(
                    f"{path} was measured on another device: {'; '.join(differences)}",
                    "name another file with -o for this device, or measure on that one",
                )
            lut._begin_run(fingerprint, settings)
        except BaseException:
            lut.close()
            raise
        return lut

    def _begin_run(self, fingerprint: Fingerprint, settings: Settings) -> None:
        with self._writing() as db:
            for (mark,) in db.execute("SELECT owner FROM run WHERE owner IS NOT NULL").fetchall():
                if mark != owner.here() and owner.alive(mark):
                    raise ProfileError(
                        f"process {owner.process_id(mark)} is measuring into {self.path}",
                        "wait for it or stop it, or name another file with -o",
                    )
            db.execute("UPDATE run SET owner = NULL")
            if self._version() < SCHEMA_VERSION:
                upgrade(self.path, db)
            text = _canonical(fingerprint)
            db.execute("INSERT OR IGNORE INTO device (fingerprint) VALUES (?)", (text,))
            cursor = db.execute(
                "INSERT INTO run (device, hwnas, settings, owner, started) "
                "SELECT id, ?, ?, ?, ? FROM device WHERE fingerprint = ?",
                (__version__, settings.to_json(), owner.here(), _now(), text),
            )
            self._run = cursor.lastrowid

    def close(self) -> None:
        """Close the file; whoever reads or resumes it next need not wait."""
        try:
            if self._run is not None:
                with self._writing() as db:
                    db.execute("UPDATE run SET owner = NULL WHERE id = ?", (self._run,))
        except (ProfileError, TableError, sqlite3.ProgrammingError):
            # On a full disk the mark stays, and is stale once this process has ended.
            pass
        finally:
            self._run = None
            self._db.close()

    def record(self, record: Record) -> None:
        """Write one finished item with all its raw turns, in one transaction.

        Raises:
            ValueError: it has no runs.
        """
        values = measurement_values(record)
        with self._writing() as db:
            cursor = db.execute(
                f"INSERT INTO measurement (run, status, finished, {COLUMNS}) "
                f"VALUES (?, 'ok', ?{', ?' * len(values)})",
                (self._run, _now(), *values),
            )
            db.executemany(
                "INSERT INTO turn VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(cursor.lastrowid, i, *turn_values(t)) for i, t in enumerate(record.turns)],
            )
            db.executemany(
                "INSERT INTO round VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(cursor.lastrowid, *round_values(one)) for one in record.rounds],
            )

    def fail(self, key: str, scope: Scope, label: str, error: str) -> None:
        """Write that an item could not be measured, with the error in one line."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO measurement (run, key, scope, label, status, error, reasons, finished)"
                " VALUES (?, ?, ?, ?, 'error', ?, '[]', ?)",
                (self._run, key, scope, label, error, _now()),
            )

    def clear_failures(self) -> int:
        """Forget failed and invalid attempts, so that they are tried again; returns how many."""
        with self._writing() as db:
            query = "DELETE FROM measurement WHERE status = 'error' OR verdict = 'invalid'"
            return db.execute(query).rowcount

    def notes(self) -> list[str]:
        """What whoever uses this table must know of it, one line each."""
        if not is_imported(self.fingerprint):
            return super().notes()
        listed = [
            part
            for (file,) in self.raw("SELECT file FROM imported ORDER BY measurement")
            for part in file.split(", ")
        ]
        return [f"imported from {shorten(dict.fromkeys(listed))}: {UNCHECKED}", *super().notes()]

    def open_job(self, package: Package, target: str) -> None:
        """Note that ``package`` is about to be measured on ``target``; again is no harm."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?)",
                (package.id, package.document, target, _now()),
            )

    def close_job(self, job_id: str) -> None:
        """Note that the job of this id was read to its end, or given up."""
        with self._writing() as db:
            db.execute("DELETE FROM job WHERE id = ?", (job_id,))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, written when the block has ended well, undone otherwise."""
        with translated(self.path, writing=True):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                # After a full disk SQLite may have rolled back by itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


@contextmanager
def new_table(path: Path, fingerprint: Fingerprint) -> Iterator[sqlite3.Connection]:
    """Make a table at ``path`` for one device, in one transaction that the block is part of."""
    db = connect(path, "rwc")
    try:
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute("BEGIN")
        for statement in SCHEMA:
            db.execute(statement)
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        values = [("hwnas", __version__), ("created", _now())]
        db.executemany("INSERT INTO meta VALUES (?, ?)", values)
        db.execute("INSERT INTO device VALUES (1, ?)", (_canonical(fingerprint),))
        yield db
        db.execute("COMMIT")
    finally:
        db.close()


def _canonical(fingerprint: Fingerprint) -> str:
    return fingerprint.model_dump_json()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
