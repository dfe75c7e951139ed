"""Lookup tables as CSV or JSON, for other tools."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hwnas._version import __version__
from hwnas.files import atomic_file
from hwnas.profile.record import Scope
from hwnas.table.lut import Lut
from hwnas.table.records import Measurement

__all__ = ["SCHEMA_VERSION", "measurements", "statistics_row", "write_samples", "write_statistics"]

SCHEMA_VERSION = 1
"""Of the JSON form."""


def measurements(lut: Lut) -> Iterator[Measurement]:
    """All good measurements and those that are only invalid, blocks first."""
    scopes: tuple[Scope, Scope] = ("block", "subnet")
    for scope in scopes:
        for key in lut.keys(scope, invalid=True):
            found = lut.measurement(key, scope, invalid=True)
            if found is not None:
                yield found


def statistics_row(one: Measurement) -> dict[str, Any]:
    """Plain values of one measurement; None where something is not known."""
    found = one.statistics
    low, high = found.p50_interval_ms or (None, None)
    return {
        "scope": one.scope,
        "label": one.label,
        "key": one.key,
        "verdict": one.verdict,
        "reasons": list(one.reasons),
        "p50_ms": found.p50_ms,
        "p50_low_ms": low,
        "p50_high_ms": high,
        "p95_ms": None if one.imported else found.p95_ms,
        "cold_p50_ms": found.cold_p50_ms,
        "spread": found.spread,
        "runs": found.runs,
        "turns": found.turns,
        "flagged": found.flagged,
        "stopped_by": one.stopped_by,
        "load_bytes": one.load_bytes,
        "run_bytes": one.run_bytes,
        "output_error": one.output_error,
        "joules": one.joules,
        "source": one.source,
    }


def write_statistics(lut: Lut, path: Path) -> int:
    """Write one row for each measurement; returns how many. The suffix says the form."""
    return _write(lut, path, [statistics_row(one) for one in measurements(lut)])


def write_samples(lut: Lut, path: Path) -> int:
    """Write one row for each run, cold ones included, in order; returns how many.

    ``factor`` is by what the round was slower than the typical one; ``flags`` is a sum of those of
    ``hwnas.profile.samples``.
    """
    return _write(lut, path, _samples(measurements(lut)))


def _samples(found: Iterable[Measurement]) -> Iterator[dict[str, Any]]:
    for one in found:
        for turn, factor, flags in zip(one.turns, one.factors, one.flags.tolist(), strict=True):
            cold = [] if turn.cold is None else [turn.cold]
            for i, ns in enumerate([*cold, *turn.ns]):
                yield {
                    "scope": one.scope,
                    "label": one.label,
                    "key": one.key,
                    "sitting": turn.sitting,
                    "round": turn.round,
                    "run": "cold" if i < len(cold) else "warm",
                    "ns": ns,
                    "factor": factor,
                    "flags": flags,
                }


def _write(lut: Lut, path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        if path.suffix == ".csv":
            writer: Any = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(out, list(row))
                    writer.writeheader()
                writer.writerow({name: _cell(value) for name, value in row.items()})
                count += 1
            return count
        head = {
            "schema_version": SCHEMA_VERSION,
            "hwnas": __version__,
            "device": lut.fingerprint.model_dump(mode="json"),
            "notes": lut.notes(),
        }
        out.write(json.dumps(head)[:-1] + ', "rows": [')
        for row in rows:
            out.write((",\n" if count else "\n") + json.dumps(row, allow_nan=False))
            count += 1
        out.write("\n]}\n")
    return count


def _cell(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, list) else value
