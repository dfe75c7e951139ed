"""What ``hwnas profile`` says at its end: kinds, the model, and how good predictions are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli.lut_tables import print_notes
from hwnas.cli.output import human_bytes, print_json, print_table, quote, verdict
from hwnas.profile import Job, Summary
from hwnas.space import Subnet
from hwnas.table import CostModel, Lut, Measurement, Validation, validate

__all__ = ["report"]


def report(
    source: Bundle,
    lut: Lut,
    jobs: Sequence[Job],
    checks: Sequence[Subnet],
    done: Summary,
    following: Sequence[str | Path],
    output: str,
    *,
    emulated: bool = False,
) -> int:
    """Print what is in the table of ``jobs``, as text or as JSON.

    Args:
        source: what was measured.
        lut: the table, open.
        jobs: what was to be measured.
        checks: the subnets that predictions are checked on.
        done: what happened.
        following: words of the next command, after ``hwnas select BUNDLE --lut LUT``.
        output: ``table`` or ``json``.
        emulated: whether the table is gone afterwards.

    Returns:
        How many of ``jobs`` have failed or are invalid.
    """
    keys = {(job.key, job.scope) for job in jobs}
    failures = [f for f in lut.failures() if (f.key, f.scope) in keys]
    kinds = _kinds(source, lut)
    invalid = [kind for kind in kinds if kind["verdict"] == "invalid"]
    unpriced = invalid or any(f.scope == "block" for f in failures) or done.withheld
    model, checked = None, None
    if not unpriced:
        without = CostModel(source, lut, without=checks)
        model, checked = without.describe(), validate(without, lut, checks)
    words: list[str | Path] = [
        "hwnas",
        "select",
        source.path,
        "--lut",
        lut.path,
        "--max-latency",
        "p50=50%",
    ]
    notes = lut.notes()
    if lut.settings.energy and kinds and all(kind["joules"] is None for kind in kinds):
        notes = [*notes, "energy was asked for, and could not be read; hwnas doctor says why"]
    found = {
        "path": None if emulated else str(lut.path),
        "device": lut.fingerprint.summary(),
        "measured": done.measured,
        "skipped": done.skipped,
        "withheld": done.withheld,
        "failed": [{"label": f.label, "kind": f.key, "error": f.error} for f in failures],
        "kinds": kinds,
        "model": model,
        "notes": notes,
        "check": None if checked is None else _check(checked),
        "next": None if emulated else quote(*words, *following, "-o", "plan.json"),
    }
    if output == "json":
        print_json(found)
    else:
        _print(found, checked)
    return len(failures)


def _kinds(source: Bundle, lut: Lut) -> list[dict[str, Any]]:
    blocks = source.manifest.blocks.values()
    kinds: list[dict[str, Any]] = []
    for kind, unit in source.kinds().items():
        measured = lut.measurement(kind, "block", invalid=True)
        if measured is not None:
            count = sum(block.kind == kind for block in blocks)
            kinds.append({"block": unit, "kind": kind, "blocks": count, **_values(measured)})
    return kinds


def _values(measured: Measurement) -> dict[str, Any]:
    found = measured.statistics
    return {
        "p50_ms": found.p50_ms,
        "p95_ms": found.p95_ms,
        "cold_p50_ms": found.cold_p50_ms,
        "p50_interval_ms": found.p50_interval_ms,
        "runs": found.runs,
        "stopped_by": measured.stopped_by,
        "verdict": measured.verdict,
        "reasons": list(measured.reasons),
        "memory_bytes": _sum(measured.load_bytes, measured.run_bytes),
        "joules": measured.joules,
    }


def _check(checked: Validation) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "subnets": [
            {
                "subnet": row.subnet.name,
                "predicted_ms": row.predicted_ms,
                "interval_ms": row.interval_ms,
                "measured_ms": row.measured_ms,
                "error": row.error,
            }
            for row in checked.rows
        ],
        "mape": number(checked.mape),
        "bias": number(checked.bias),
        "coverage": number(checked.coverage),
    }


def _half_width(interval: tuple[float, float], median: float) -> str:
    return f"{100 * (interval[1] - interval[0]) / 2 / median:.1f}%"


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def _print(found: dict[str, Any], checked: Validation | None) -> None:
    click.echo(f"device: {found['device']}")
    _print_kinds(found["kinds"])
    for line in found["model"] or ():
        click.echo(f"model of {line}")
    if checked is not None and checked.rows:
        rows = [
            [
                row.subnet.name,
                f"{row.predicted_ms:.4f}",
                "-" if row.interval_ms is None else "{:.4f} to {:.4f}".format(*row.interval_ms),
                f"{row.measured_ms:.4f}",
                f"{row.error:+.1%}",
            ]
            for row in checked.rows
        ]
        columns = ["not used to fit", "predicted ms", "90% interval", "measured ms", "error"]
        print_table(columns, rows)
        click.echo(f"check: {checked.summary()}")
    print_notes(found["notes"])
    failed = found["failed"]
    for failure in failed:
        click.echo(f"failed: {failure['label']}: {failure['error']}")
    done = f"{found['measured']} measured, {found['skipped']} done before, {len(failed)} failed"
    if found["withheld"]:
        verdict(
            f"the target is emulated: {found['withheld']} measured, nothing written, since its "
            "times mean nothing"
        )
    elif found["path"] is None:
        verdict(f"the target is emulated: {done}, nothing written")
    elif found["model"] is None:
        verdict(f"{found['path']}: {done}; what has failed or is invalid cannot be priced")
    else:
        verdict(f"{found['path']}: {done}", found["next"])


def _print_kinds(kinds: Sequence[dict[str, Any]]) -> None:
    rows = []
    energy = any(kind["joules"] is not None for kind in kinds)
    for kind in kinds:
        interval, memory = kind["p50_interval_ms"], kind["memory_bytes"]
        rows.append(
            [
                kind["block"],
                kind["blocks"],
                f"{kind['p50_ms']:.4f}",
                "-" if interval is None else _half_width(interval, kind["p50_ms"]),
                f"{kind['p95_ms']:.4f}",
                "-" if kind["cold_p50_ms"] is None else f"{kind['cold_p50_ms']:.4f}",
                "-" if memory is None else human_bytes(memory),
                *(["-" if kind["joules"] is None else f"{kind['joules']:.4g}"] if energy else []),
                kind["runs"],
                kind["verdict"],
            ]
        )
    columns = ["kind (first block)", "blocks", "p50 ms", "+-", "p95 ms", "cold ms", "memory"]
    print_table([*columns, *(["J"] if energy else []), "runs", "verdict"], rows)
    for kind in kinds:
        if kind["verdict"] in ("flag", "invalid"):
            click.echo(f"{kind['verdict']}: {kind['block']}: {'; '.join(kind['reasons'])}")
