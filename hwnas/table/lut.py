"""The lookup table: raw samples and errors, and the device that they come from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError

from hwnas._version import __version__
from hwnas.errors import OtherDevice, ProfileError, TableError, UsageError
from hwnas.files import atomic_file
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.protocol import Job, Scope
from hwnas.profile.run import Failure
from hwnas.profile.settings import Settings
from hwnas.profile.wire import Done
from hwnas.table import owner
from hwnas.table.file import check, connect, damaged, translated
from hwnas.table.records import Measurement, Row
from hwnas.table.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

__all__ = ["Lut"]


class Lut:
    """An opened lookup table. Used by one thread; a context manager; also a ``profile.Sink``.

    Made by :meth:`create` or :meth:`resume` to write, by :meth:`open` to read. Writing methods
    have written when they return: a process that is killed loses what was not yet handed over.

    Every method raises :class:`TableError` where the file turns out to be damaged, and writing
    ones :class:`ProfileError` where it cannot be written (full disk, read-only, in use).

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, run: int | None) -> None:
        self.path = path
        self._db = db
        self._run = run

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
        with atomic_file(file) as temporary, translated(file, writing=True):
            db = connect(temporary, "rwc")
            try:
                db.executescript(f"PRAGMA application_id={APPLICATION_ID};BEGIN;{SCHEMA}")
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
                db.executemany(
                    "INSERT INTO meta VALUES (?, ?)", [("hwnas", __version__), ("created", _now())]
                )
                db.execute("INSERT INTO device VALUES (1, ?)", (_canonical(fingerprint),))
                db.execute("COMMIT")
            finally:
                db.close()
        return cls.resume(file, fingerprint, settings)

    @classmethod
    def open(cls, path: str | Path) -> Lut:
        """Open a table to read.

        Raises:
            TableError: missing, damaged, or not a lookup table.
            NewerSchema: written by a newer hwnas.
        """
        lut = cls._open(Path(path))
        lut._db.execute("PRAGMA query_only=ON")
        return lut

    @classmethod
    def resume(cls, path: str | Path, fingerprint: Fingerprint, settings: Settings) -> Lut:
        """Open a table to go on with, and discard what a killed run has left half-done.

        Raises:
            TableError, NewerSchema: as :meth:`open`.
            OtherDevice: it was measured on another device; says what differs.
            ProfileError: another process is writing it, or it cannot be written.
        """
        lut = cls._open(Path(path))
        try:
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

    @classmethod
    def _open(cls, path: Path) -> Lut:
        if not path.is_file():
            raise TableError(
                f"{path} does not exist" if not path.exists() else f"{path} is not a file",
                f"measure first: hwnas profile BUNDLE -o {path}",
            )
        with translated(path):
            db = connect(path, "rw")
            try:
                check(path, db)
            except BaseException:
                db.close()
                raise
        return cls(path, db, None)

    def _begin_run(self, fingerprint: Fingerprint, settings: Settings) -> None:
        with self._writing() as db:
            for (mark,) in db.execute("SELECT owner FROM run WHERE owner IS NOT NULL").fetchall():
                if mark != owner.here() and owner.alive(mark):
                    raise ProfileError(
                        f"process {owner.process_id(mark)} is measuring into {self.path}",
                        "wait for it or stop it, or name another file with -o",
                    )
            db.execute("DELETE FROM measurement WHERE status = 'running'")
            db.execute("UPDATE run SET owner = NULL")
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

    def __enter__(self) -> Lut:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def fingerprint(self) -> Fingerprint:
        """The device that the table was made for."""
        [(text,)] = self._rows("SELECT fingerprint FROM device ORDER BY id LIMIT 1")
        try:
            return Fingerprint.model_validate_json(text)
        except ValidationError as error:
            raise damaged(self.path, f"fingerprint: {error.errors()[0]['msg']}") from error

    @property
    def settings(self) -> Settings:
        """The settings of the latest run; defaults where there was none."""
        found = self._rows("SELECT settings FROM run ORDER BY id DESC LIMIT 1")
        try:
            return Settings.from_json(found[0][0]) if found else Settings()
        except UsageError as error:
            raise damaged(self.path, error.cause) from error

    def begin(self, job: Job) -> int:
        """Open a row for ``job``; returns its id."""
        with self._writing() as db:
            cursor = db.execute(
                "INSERT INTO measurement (run, key, scope, label, status, started) "
                "VALUES (?, ?, ?, ?, 'running', ?)",
                (self._run, job.key, job.scope, job.label, _now()),
            )
            return cursor.lastrowid or 0

    def add_samples(self, measurement: int, ns: Sequence[int]) -> None:
        """Append run times, in ns, in order."""
        with self._writing() as db:
            [(start,)] = db.execute(
                "SELECT coalesce(max(position) + 1, 0) FROM sample WHERE measurement = ?",
                (measurement,),
            )
            db.executemany(
                "INSERT INTO sample VALUES (?, ?, ?)",
                [(measurement, start + i, value) for i, value in enumerate(ns)],
            )

    def finish(self, measurement: int, done: Done, load_bytes: int | None) -> None:
        """Close a row as measured.

        Raises:
            ValueError: no samples were added.
        """
        with self._writing() as db:
            cursor = db.execute(
                "UPDATE measurement SET status = 'ok', stopped_by = ?, warmup_runs = ?, "
                "warmup_stopped_by = ?, load_bytes = ?, run_bytes = ?, finished = ? "
                "WHERE id = ? AND EXISTS (SELECT 1 FROM sample WHERE measurement = ?)",
                (
                    done.stopped_by,
                    done.warmup_runs,
                    done.warmup_stopped_by,
                    load_bytes,
                    done.run_bytes,
                    _now(),
                    measurement,
                    measurement,
                ),
            )
            if cursor.rowcount != 1:
                raise ValueError(f"measurement {measurement} has no samples")

    def fail(self, measurement: int, error: str) -> None:
        """Close a row with its error, in one line."""
        with self._writing() as db:
            db.execute(
                "UPDATE measurement SET status = 'error', error = ?, finished = ? WHERE id = ?",
                (error, _now(), measurement),
            )

    def done(self, key: str, scope: Scope) -> bool:
        """Whether ``key`` was measured, or failed: see :meth:`clear_failures`."""
        return bool(
            self._rows(
                "SELECT 1 FROM measurement WHERE key = ? AND scope = ? "
                "AND status IN ('ok', 'error') LIMIT 1",
                (key, scope),
            )
        )

    def clear_failures(self) -> int:
        """Forget the failed attempts, so that they are tried again; returns how many."""
        with self._writing() as db:
            return db.execute("DELETE FROM measurement WHERE status = 'error'").rowcount

    def measurement(self, key: str, scope: Scope) -> Measurement | None:
        """The latest good measurement of ``key``; ``None`` if there is none."""
        found = self._rows(
            "SELECT id, label, stopped_by, load_bytes, run_bytes FROM measurement "
            "WHERE key = ? AND scope = ? AND status = 'ok' ORDER BY id DESC LIMIT 1",
            (key, scope),
        )
        if not found:
            return None
        identity, label, stopped_by, load_bytes, run_bytes = found[0]
        rows = self._rows(
            "SELECT ns FROM sample WHERE measurement = ? ORDER BY position", (identity,)
        )
        if not rows:
            raise damaged(self.path, f"the measurement of {label} has no samples")
        values = [row[0] for row in rows]
        counts = [value for value in (load_bytes, run_bytes) if value is not None]
        if not all(type(v) is int and v > 0 for v in values) or any(
            type(v) is not int for v in counts
        ):
            raise damaged(self.path, f"the measurement of {label} holds something else than ns")
        ns = np.array(values, dtype=np.int64)
        ns.flags.writeable = False
        return Measurement(key, scope, label, ns, stopped_by or "", load_bytes, run_bytes)

    def keys(self, scope: Scope) -> list[str]:
        """Keys with a good measurement, in the order in which they were first measured."""
        rows = self._rows(
            "SELECT key FROM measurement WHERE scope = ? AND status = 'ok' "
            "GROUP BY key ORDER BY min(id)",
            (scope,),
        )
        return [key for (key,) in rows]

    def failures(self) -> list[Failure]:
        """The latest error of each key that has failed and has no good measurement."""
        rows = self._rows(
            "SELECT key, scope, label, error FROM measurement AS m WHERE id IN "
            "(SELECT max(id) FROM measurement WHERE status = 'error' GROUP BY key, scope) "
            "AND NOT EXISTS (SELECT 1 FROM measurement WHERE key = m.key AND scope = m.scope "
            "AND status = 'ok') ORDER BY id"
        )
        return [Failure(*row) for row in rows]

    def rows(self) -> list[Row]:
        """All attempts in order, for listing."""
        rows = self._rows(
            "SELECT key, scope, label, status, error, "
            "(SELECT count(*) FROM sample WHERE measurement = m.id), started "
            "FROM measurement AS m ORDER BY id"
        )
        return [Row(*row) for row in rows]

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return self._db.execute(query, values).fetchall()

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


def _canonical(fingerprint: Fingerprint) -> str:
    return fingerprint.model_dump_json()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
