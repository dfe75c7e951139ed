"""Makes ``lut_v1.db``: a lookup table of schema 1, written without hwnas so that it stays one.

Run from anywhere: ``python tests/data/make_lut_v1.py``. Two kinds measured, one of them twice, one
failed, one cut off, one whole subnet; samples are made up.
"""

import json
import sqlite3
from pathlib import Path

FINGERPRINT = {
    "machine": "x86_64",
    "cpu": "AMD EPYC 25/17/1",
    "flags": ["avx2", "fma", "fpu"],
    "threads": 1,
    "runtime": "onnxruntime",
    "runtime_version": "1.32.0",
    "provider": "CPUExecutionProvider",
    "cores": 2,
    "affinity": [0, 1],
    "governor": "unknown",
    "system": "Linux",
    "kernel": "6.1.0",
    "hwnas": "0.1.0",
}
SETTINGS = {
    "provider": "",
    "threads": 1,
    "affinity": None,
    "relative_ci": 0.02,
    "confidence": 0.95,
    "min_runs": 50,
    "max_runs": 5000,
    "min_time_s": 0.05,
    "sample_time_s": 3.0,
    "time_limit_s": 120.0,
    "warmup_window_runs": 5,
    "warmup_window_s": 0.02,
    "warmup_improvement": 0.02,
    "warmup_max_runs": 20000,
    "warmup_time_s": 1.0,
    "seed": 0,
}
SCHEMA = """
PRAGMA application_id = 0x68774C54;
PRAGMA user_version = 1;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE device (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES device(id),
    hwnas TEXT NOT NULL,
    settings TEXT NOT NULL,
    owner TEXT,
    started TEXT NOT NULL
);
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
CREATE TABLE sample (
    measurement INTEGER NOT NULL REFERENCES measurement(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    ns INTEGER NOT NULL CHECK (ns > 0),
    PRIMARY KEY (measurement, position)
) WITHOUT ROWID;
"""
WHEN = "2025-11-22T18:00:00.000+00:00"
ROWS = [
    ("a" * 32, "block", "stem/base", "ok", None, 1_000_000),
    ("b" * 32, "block", "layers.0/base", "ok", None, 5_000_000),
    ("b" * 32, "block", "layers.0/base", "ok", None, 4_000_000),
    ("c" * 32, "block", "head/base", "error", "killed by SIGSEGV", None),
    ("d" * 32, "block", "head/wide", "running", None, 9_000_000),
    ("e" * 32, "subnet", "d1", "ok", None, 5_500_000),
]


def main() -> None:
    path = Path(__file__).with_name("lut_v1.db")
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO meta VALUES ('created', ?)", (WHEN,))
        db.execute("INSERT INTO meta VALUES ('hwnas', '0.1.0')")
        db.execute("INSERT INTO device VALUES (1, ?)", (json.dumps(FINGERPRINT),))
        db.execute(
            "INSERT INTO run VALUES (1, 1, '0.1.0', ?, NULL, ?)", (json.dumps(SETTINGS), WHEN)
        )
        for number, (key, scope, label, status, error, ns) in enumerate(ROWS, 1):
            good = status == "ok"
            db.execute(
                "INSERT INTO measurement VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(number, key, scope, label, status, error),
                    *(("converged", 40, "steady", 4_000_000, 500_000) if good else [None] * 5),
                    *(WHEN, None if status == "running" else WHEN),
                ),
            )
            if ns is not None:
                db.executemany(
                    "INSERT INTO sample VALUES (?, ?, ?)",
                    [(number, i, ns + 1000 * (i - 50)) for i in range(101)],
                )
    db.close()


if __name__ == "__main__":
    main()
