"""Lookup tables of schemas 1 and 2 as tables of schema 3.

Schema 2 lacks only the table of what was imported.

Schema 1 has one series of runs per measurement: it becomes one turn of sitting 0, without CPU time
and without a canary, so that nothing can be said of it but its quantiles.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np

from hwnas.table.file import damaged
from hwnas.table.schema import IMPORTS, MEASUREMENTS, SCHEMA_VERSION

__all__ = ["UNJUDGED", "upgrade", "upgraded_copy"]

UNJUDGED = "measured by hwnas 0.1, without checks of the outputs, the clock or the load"
"""Why measurements of schema 1 have the verdict ``unknown``."""


def upgraded_copy(path: Path, db: sqlite3.Connection) -> sqlite3.Connection:
    """A copy of ``db`` in memory, upgraded: reading does not write. Closes ``db``."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        copy.execute("PRAGMA trusted_schema=OFF")
        db.backup(copy)
        copy.execute("BEGIN")
        upgrade(path, copy)
        copy.execute("COMMIT")
    except BaseException:
        copy.close()
        raise
    finally:
        db.close()
    return copy


def upgrade(path: Path, db: sqlite3.Connection) -> None:
    """Turn ``db``, which is of an older schema, into the present one, in the caller's transaction.

    Attempts of schema 1 that were cut off are left behind.
    """
    [(version,)] = db.execute("PRAGMA user_version")
    if version < 2:
        _give_verdicts(path, db)
    for statement in IMPORTS:
        db.execute(statement)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _give_verdicts(path: Path, db: sqlite3.Connection) -> None:
    """From schema 1 to schema 2."""
    db.execute("DROP INDEX measurement_by_key")
    db.execute("ALTER TABLE measurement RENAME TO measurement_1")
    db.execute("ALTER TABLE sample RENAME TO sample_1")
    for statement in MEASUREMENTS:
        db.execute(statement)
    reasons = json.dumps([UNJUDGED])
    db.execute(
        "INSERT INTO measurement (id, run, key, scope, label, status, error, verdict, reasons, "
        "stopped_by, warmup_runs, warmup_stopped_by, load_bytes, run_bytes, finished) "
        "SELECT id, run, key, scope, label, status, error, "
        "CASE status WHEN 'ok' THEN 'unknown' END, CASE status WHEN 'ok' THEN ? ELSE '[]' END, "
        "stopped_by, warmup_runs, warmup_stopped_by, load_bytes, run_bytes, "
        "coalesce(finished, started) FROM measurement_1 WHERE status IN ('ok', 'error')",
        (reasons,),
    )
    good = db.execute("SELECT id, label FROM measurement WHERE status = 'ok'").fetchall()
    for identity, label in good:
        rows = db.execute(
            "SELECT ns FROM sample_1 WHERE measurement = ? ORDER BY position", (identity,)
        ).fetchall()
        values = [value for (value,) in rows]
        if not values or not all(type(value) is int and value > 0 for value in values):
            raise damaged(path, f"the measurement of {label} holds something else than ns")
        db.execute(
            "INSERT INTO turn VALUES (?, 0, 0, 0, NULL, 0, 0, NULL, ?)",
            (identity, np.array(values, dtype="<i8").tobytes()),
        )
    db.execute("DROP TABLE sample_1")
    db.execute("DROP TABLE measurement_1")
