"""Writing imported numbers as a lookup table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hwnas._version import __version__
from hwnas.errors import UsageError
from hwnas.files import atomic_file, sha256_file
from hwnas.profile import Fingerprint, Settings
from hwnas.profile.record import Scope
from hwnas.table.file import translated
from hwnas.table.lut import new_table
from hwnas.table.records import Imported

__all__ = ["ImportedRow", "write_imported"]


@dataclass(frozen=True)
class ImportedRow:
    """One imported number, as :class:`hwnas.table.Measurement` has it.

    Attributes:
        key: a block's kind or a whole subnet's kind.
        scope: which of the two.
        label: the block id or the subnet's ``spec``.
        value: the number.
        note: what else to know of it.
    """

    key: str
    scope: Scope
    label: str
    value: Imported
    note: str = ""


def write_imported(
    path: Path,
    fingerprint: Fingerprint,
    rows: Sequence[ImportedRow],
    files: Sequence[Path],
    form: str,
) -> None:
    """Write a table, whole or not at all. All rows have the verdict ``unknown``.

    Args:
        path: must not exist.
        fingerprint: by ``imported_fingerprint``.
        rows: of distinct keys.
        files: where they come from; their hashes are kept.
        form: of these, such as ``ofa-yaml``.

    Raises:
        UsageError: there is a file already.
        ProfileError: it cannot be written.
    """
    if path.exists():
        raise UsageError(
            f"{path} exists: imported numbers go into a table of their own",
            "name another file with -o",
        )
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    settings = Settings(threads=fingerprint.threads).to_json()
    hashes = [{"file": file.name, "sha256": sha256_file(file)} for file in files]
    origin = json.dumps({"form": form, "files": hashes})
    with (
        atomic_file(path) as temporary,
        translated(path, writing=True),
        new_table(temporary, fingerprint) as db,
    ):
        db.execute("INSERT INTO meta VALUES ('imported', ?)", (origin,))
        run = db.execute(
            "INSERT INTO run (device, hwnas, settings, started) VALUES (1, ?, ?, ?)",
            (__version__, settings, now),
        ).lastrowid
        for row in rows:
            said = [f"imported from {row.value.file}", *([row.note] if row.note else [])]
            measurement = db.execute(
                "INSERT INTO measurement (run, key, scope, label, status, verdict, reasons, "
                "finished) VALUES (?, ?, ?, ?, 'ok', 'unknown', ?, ?)",
                (run, row.key, row.scope, row.label, json.dumps(said), now),
            ).lastrowid
            value = row.value
            db.execute(
                "INSERT INTO imported VALUES (?, ?, ?, ?, ?, ?)",
                (measurement, value.mean_ms, value.std_ms, value.count, value.file, value.entry),
            )
