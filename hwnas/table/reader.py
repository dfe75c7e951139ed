"""The reading half of a lookup table."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from hwnas.errors import TableError, UsageError
from hwnas.profile import Failure, Fingerprint, Settings
from hwnas.profile.record import OpenJob, Scope
from hwnas.table.file import check, connect, damaged, translated
from hwnas.table.packing import (
    COLUMNS,
    read_measurement,
    read_shown,
    read_texts,
    turn_factors,
)
from hwnas.table.records import Measurement, Row, Source, pooled
from hwnas.table.schema import SCHEMA_VERSION
from hwnas.table.upgrade import upgraded_copy

__all__ = ["Reader"]


class Reader:
    """What can be read of an opened lookup table; see :class:`hwnas.table.Lut`.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._devices: dict[int, Fingerprint] = {}
        self._factors_of: tuple[list[Any], Mapping[int, Sequence[float]]] = ([], {})

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a table to read; one of an older schema is read as if it were of the present one.

        Raises:
            TableError: missing, damaged, or not a lookup table.
            NewerSchema: written by a newer hwnas.
        """
        lut = cls._open(Path(path))
        if lut._version() < SCHEMA_VERSION:
            with translated(lut.path):
                lut._db = upgraded_copy(lut.path, lut._db)
        lut._db.execute("PRAGMA query_only=ON")
        return lut

    @classmethod
    def _open(cls, path: Path) -> Self:
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
        return cls(path, db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
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
        return self._fingerprint("SELECT fingerprint FROM device ORDER BY id LIMIT 1")

    def _device(self, run: int) -> Fingerprint:
        if run not in self._devices:
            query = (
                "SELECT fingerprint FROM device WHERE id = (SELECT device FROM run WHERE id = ?)"
            )
            self._devices[run] = self._fingerprint(query, (run,))
        return self._devices[run]

    def _fingerprint(self, query: str, values: Sequence[Any] = ()) -> Fingerprint:
        found = self.raw(query, values)
        if not found:
            raise damaged(self.path, "it names no device")
        try:
            return Fingerprint.model_validate_json(found[0][0])
        except ValidationError as error:
            raise damaged(self.path, f"fingerprint: {error.errors()[0]['msg']}") from error

    @property
    def settings(self) -> Settings:
        """The settings of the latest run; defaults where there was none."""
        found = self.raw("SELECT settings FROM run ORDER BY id DESC LIMIT 1")
        try:
            return Settings.from_json(found[0][0]) if found else Settings()
        except UsageError as error:
            raise damaged(self.path, error.cause) from error

    def done(self, key: str, scope: Scope) -> bool:
        """Whether ``key`` was measured, or failed, or is invalid: see :meth:`clear_failures`."""
        query = "SELECT 1 FROM measurement WHERE key = ? AND scope = ? LIMIT 1"
        return bool(self.raw(query, (key, scope)))

    def measurement(self, key: str, scope: Scope, *, invalid: bool = False) -> Measurement | None:
        """The latest good measurement of ``key``; ``None`` if there is none.

        In a merged table, the latest of each source, pooled.

        Args:
            key: a block's kind or a whole subnet's kind.
            scope: which of the two.
            invalid: where there is no good one, give the latest invalid one.
        """
        found = self.each(key, scope)
        if not found and invalid:
            found = self._read("key = ? AND scope = ? AND verdict = 'invalid'", (key, scope))[-1:]
        return pooled(found) if found else None

    def each(self, key: str, scope: Scope) -> list[Measurement]:
        """The latest good measurement of ``key`` from each source: one, unless merged."""
        return self._read(
            "id IN (SELECT max(id) FROM measurement WHERE key = ? AND scope = ? "
            "AND status = 'ok' AND verdict <> 'invalid' GROUP BY source)",
            (key, scope),
        )

    def _read(self, where: str, values: Sequence[Any]) -> list[Measurement]:
        rows = self.raw(
            f"SELECT id, run, (SELECT file FROM source WHERE id = m.source), {COLUMNS} "
            f"FROM measurement AS m WHERE {where} ORDER BY id",
            values,
        )
        factors = self._factors()
        return [
            read_measurement(
                self.path,
                self._device(run),
                row,
                self.raw(
                    "SELECT sitting, round, cold, wall, cpu, switches, ns FROM turn "
                    "WHERE measurement = ? ORDER BY position",
                    (identity,),
                ),
                self.raw(
                    "SELECT sitting, round, canary_before, canary_after, throttled, readings "
                    "FROM round WHERE measurement = ? ORDER BY sitting, round",
                    (identity,),
                ),
                factors.get(identity, ()),
                str(source or ""),
                self.raw(
                    "SELECT mean_ms, std_ms, count, file, entry FROM imported "
                    "WHERE measurement = ?",
                    (identity,),
                ),
            )
            for identity, run, source, *row in rows
        ]

    def _factors(self) -> Mapping[int, Sequence[float]]:
        """For each measurement the factors of its turns' rounds, over all items of each round."""
        # A round is known by its run and canary too: sittings are numbered anew in each job.
        state: list[Any] = [*self.raw("PRAGMA data_version"), self._db.total_changes]
        if self._factors_of[0] != state:
            rows = self.raw(
                "SELECT t.measurement, r.sitting, r.round, r.canary_before, r.canary_after, m.run, "
                "t.ns, t.wall, t.cpu FROM turn AS t "
                "JOIN measurement AS m ON m.id = t.measurement LEFT JOIN round AS r ON "
                "r.measurement = t.measurement AND r.sitting = t.sitting AND r.round = t.round "
                "ORDER BY t.measurement, t.position"
            )
            threads = {run: self._device(run).threads for run in {row[5] for row in rows}}
            rows = [(*row, threads[row[5]]) for row in rows]
            self._factors_of = state, turn_factors(self.path, rows)
        return self._factors_of[1]

    def keys(self, scope: Scope, *, invalid: bool = False) -> list[str]:
        """Keys with a good measurement, in the order in which they were first measured.

        Args:
            scope: of blocks or of whole subnets.
            invalid: with those too that have only an invalid one.
        """
        rows = self.raw(
            "SELECT key FROM measurement WHERE scope = ? AND status = 'ok' "
            "AND (? OR verdict <> 'invalid') GROUP BY key ORDER BY min(id)",
            (scope, invalid),
        )
        return [key for (key,) in rows]

    def failures(self) -> list[Failure]:
        """Why each key without a good measurement has none: its latest error or invalidity."""
        rows = self.raw(
            "SELECT key, scope, label, error, reasons FROM measurement AS m WHERE id IN "
            "(SELECT max(id) FROM measurement WHERE status = 'error' OR verdict = 'invalid' "
            "GROUP BY key, scope) "
            "AND NOT EXISTS (SELECT 1 FROM measurement WHERE key = m.key AND scope = m.scope "
            "AND status = 'ok' AND verdict <> 'invalid') ORDER BY id"
        )
        return [
            Failure(
                read_shown(self.path, key),
                scope,
                read_shown(self.path, label),
                read_shown(self.path, error)
                if error
                else f"invalid: {'; '.join(read_texts(self.path, reasons)) or 'no reason'}",
            )
            for key, scope, label, error, reasons in rows
        ]

    def rows(self) -> list[Row]:
        """All attempts in order, for listing."""
        rows = self.raw(
            "SELECT key, scope, label, status, error, "
            "(SELECT coalesce(sum(length(ns)), 0) / 8 FROM turn WHERE measurement = m.id), "
            "verdict, finished FROM measurement AS m ORDER BY id"
        )
        return [
            Row(
                read_shown(self.path, key),
                scope,
                read_shown(self.path, label),
                status,
                None if error is None else read_shown(self.path, error),
                *others,
            )
            for key, scope, label, status, error, *others in rows
        ]

    def sources(self) -> list[Source]:
        """The tables that were merged into this one; none if it was not merged."""
        return [source for _, source in self.numbered_sources()]

    def numbered_sources(self) -> list[tuple[int, Source]]:
        """:meth:`sources` with their row numbers."""
        rows = self.raw("SELECT id, file, sha256, fingerprint, forced, differences FROM source")
        return [
            (number, Source(file, sha256, text, bool(forced), read_texts(self.path, differences)))
            for number, file, sha256, text, forced, differences in rows
        ]

    def notes(self) -> list[str]:
        """What whoever uses this table must know of it, one line each."""
        return [
            f"{source.file} was merged by force, though its device differs: "
            f"{'; '.join(source.differences)}"
            for source in self.sources()
            if source.forced
        ]

    def open_jobs(self) -> list[OpenJob]:
        """The jobs that were opened and not closed, the oldest first."""
        rows = self.raw("SELECT id, document, target FROM job ORDER BY opened, id")
        for identity, document, target in rows:
            if (type(identity), type(document), type(target)) != (str, bytes, str):
                raise damaged(self.path, "a job that is open on a device cannot be read")
        return [OpenJob(*row) for row in rows]

    def _version(self) -> int:
        [(version,)] = self.raw("PRAGMA user_version")
        return int(version)

    def raw(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query of the schema; for the modules of this package."""
        with translated(self.path):
            return self._db.execute(query, values).fetchall()
