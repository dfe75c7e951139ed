"""The file format of a lookup table: one SQLite file.

``PRAGMA application_id`` says that it is one, ``PRAGMA user_version`` which schema it has, apart
from the version of hwnas that wrote it. The journal is a rollback journal and not a write-ahead
log: between transactions the one file is all there is, so a copy of it is whole.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "SCHEMA", "SCHEMA_VERSION"]

APPLICATION_ID = 0x68774C54
"""``hwLT``"""

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row per distinct fingerprint (JSON). All rows of one table are comparable devices.
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE
);

-- One row per time that 'hwnas profile' wrote here. owner: the process, while it writes.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES device(id),
    hwnas TEXT NOT NULL,
    settings TEXT NOT NULL,
    owner TEXT,
    started TEXT NOT NULL
);

-- One row per attempt to measure a kind (scope 'block') or a whole subnet (scope 'subnet').
-- Bytes are NULL where the device does not tell, never 0.
CREATE TABLE measurement (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run(id),
    key TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('block', 'subnet')),
    label TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'ok', 'error')),
    error TEXT CHECK ((status = 'error') = (error IS NOT NULL)),
    stopped_by TEXT,
    warmup_runs INTEGER,
    warmup_stopped_by TEXT,
    load_bytes INTEGER,
    run_bytes INTEGER,
    started TEXT NOT NULL,
    finished TEXT
);
CREATE INDEX measurement_by_key ON measurement (key, scope, status);

-- Raw run times in ns, in order.
CREATE TABLE sample (
    measurement INTEGER NOT NULL REFERENCES measurement(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    ns INTEGER NOT NULL CHECK (ns > 0),
    PRIMARY KEY (measurement, position)
) WITHOUT ROWID;
"""
