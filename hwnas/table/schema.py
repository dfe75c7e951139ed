"""The file format of a lookup table: one SQLite file.

``PRAGMA application_id`` says that it is one, ``PRAGMA user_version`` which schema it has, apart
from the version of hwnas that wrote it. The journal is a rollback journal and not a write-ahead
log: between transactions the one file is all there is, so a copy of it is whole.

Schema 3 holds what others measured too; schema 2 turns, rounds and verdicts; schema 1 held one
series of runs per measurement. ``upgrade`` makes 3 of those.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "IMPORTS", "MEASUREMENTS", "SCHEMA", "SCHEMA_VERSION"]

APPLICATION_ID = 0x68774C54
"""``hwLT``"""

SCHEMA_VERSION = 3

_DEVICES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row per distinct fingerprint (JSON). All rows of one table are comparable devices, unless a
-- merge was forced (source.forced).
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
"""

_MEASUREMENTS = """
-- One row per table that was merged into this one. differences: a JSON list of what made the merge
-- need force, empty where it did not.
CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    forced INTEGER NOT NULL CHECK (forced IN (0, 1)),
    differences TEXT NOT NULL
);

-- One row per attempt to measure a kind (scope 'block') or a whole subnet (scope 'subnet').
-- Bytes are NULL where the device does not tell, never 0. reasons: a JSON list of strings.
-- output_error is relative; outputs_ok is NULL where outputs were not checked.
CREATE TABLE measurement (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run(id),
    source INTEGER REFERENCES source(id),
    key TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('block', 'subnet')),
    label TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'error')),
    error TEXT CHECK ((status = 'error') = (error IS NOT NULL)),
    verdict TEXT CHECK (verdict IN ('ok', 'flag', 'invalid', 'unknown')),
    reasons TEXT NOT NULL,
    stopped_by TEXT,
    warmup_runs INTEGER,
    warmup_stopped_by TEXT,
    load_bytes INTEGER,
    run_bytes INTEGER,
    output_error REAL,
    outputs_ok INTEGER CHECK (outputs_ok IN (0, 1)),
    joules REAL,
    energy_runs INTEGER,
    energy_s REAL,
    energy_sensor TEXT,
    finished TEXT NOT NULL,
    CHECK ((status = 'ok') = (verdict IS NOT NULL))
);
CREATE INDEX measurement_by_key ON measurement (key, scope, status);

-- The runs of one measurement in one round, in order. cold, wall, cpu in ns. ns: the warm runs as
-- little-endian 64-bit integers, since a row for each run takes twice the space and four times the
-- time to write.
CREATE TABLE turn (
    measurement INTEGER NOT NULL REFERENCES measurement(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    sitting INTEGER NOT NULL,
    round INTEGER NOT NULL,
    cold INTEGER,
    wall INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    switches INTEGER,
    ns BLOB NOT NULL,
    PRIMARY KEY (measurement, position)
) WITHOUT ROWID;

-- What was read around those turns. canary in ns a step; readings: a JSON object of numbers.
CREATE TABLE round (
    measurement INTEGER NOT NULL REFERENCES measurement(id) ON DELETE CASCADE,
    sitting INTEGER NOT NULL,
    round INTEGER NOT NULL,
    canary_before REAL NOT NULL,
    canary_after REAL NOT NULL,
    throttled INTEGER,
    readings TEXT NOT NULL,
    PRIMARY KEY (measurement, sitting, round)
) WITHOUT ROWID;

-- Jobs that were begun on a device and are not yet read to their end. document: job.json.
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    document BLOB NOT NULL,
    target TEXT NOT NULL,
    opened TEXT NOT NULL
) WITHOUT ROWID;
"""

_IMPORTS = """
-- What others measured and only summed up: a row here, with a measurement that has no turns.
-- std_ms and count are NULL where the file does not tell. entry: which of the file's entries.
CREATE TABLE imported (
    measurement INTEGER PRIMARY KEY REFERENCES measurement(id) ON DELETE CASCADE,
    mean_ms REAL NOT NULL CHECK (mean_ms >= 0),
    std_ms REAL CHECK (std_ms >= 0),
    count INTEGER CHECK (count > 0),
    file TEXT NOT NULL,
    entry TEXT NOT NULL
);
"""


def _statements(script: str) -> tuple[str, ...]:
    """One by one: SQLite's script call would end the transaction that they belong to."""
    lines = (line for line in script.splitlines() if not line.startswith("--"))
    return tuple(part.strip() for part in "\n".join(lines).split(";\n") if part.strip())


MEASUREMENTS = _statements(_MEASUREMENTS)
"""What schema 2 has and schema 1 has not."""

IMPORTS = _statements(_IMPORTS)
"""What schema 3 has and schema 2 has not."""

SCHEMA = _statements(_DEVICES) + MEASUREMENTS + IMPORTS
"""The statements that make a new table."""
