"""What ``hwnas lut`` prints."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import click

from hwnas.cli.output import human_bytes, print_fields, print_table, verdict
from hwnas.errors import shorten
from hwnas.table import Lut, Source
from hwnas.table.compare import Comparison
from hwnas.table.export import measurements, statistics_row

__all__ = ["comparison", "content", "print_comparison", "print_content", "print_notes", "source"]

_LONGEST = 60
"""Characters of a label in a table; JSON has them all."""


def content(lut: Lut, verdicts: Collection[str] = ()) -> dict[str, Any]:
    """What a table holds, as plain values; with ``verdicts``, only those and ``failed``."""
    rows = [statistics_row(one) for one in measurements(lut)]
    failed = [f for f in lut.failures() if not f.error.startswith("invalid: ")]
    fingerprint = lut.fingerprint
    return {
        "path": str(lut.path),
        "device": fingerprint.model_dump(mode="json"),
        "summary": fingerprint.summary(),
        "settings": lut.settings.to_dict(),
        "sources": [source(one) for one in lut.sources()],
        "open_jobs": [{"id": job.id, "target": job.target} for job in lut.open_jobs()],
        "notes": lut.notes(),
        "measurements": [row for row in rows if not verdicts or row["verdict"] in verdicts],
        "failed": [asdict(one) for one in failed if not verdicts or "failed" in verdicts],
    }


def source(one: Source) -> dict[str, Any]:
    """A source without its whole fingerprint."""
    return {
        "file": one.file,
        "sha256": one.sha256,
        "forced": one.forced,
        "differences": list(one.differences),
    }


def print_notes(notes: Sequence[str]) -> None:
    """Print what whoever uses a table must know."""
    for note in notes:
        click.echo(f"note: {note}")


def print_content(found: dict[str, Any]) -> None:
    """Print a :func:`content` for people."""
    fields = {"device": found["summary"], "settings": _settings(found["settings"])}
    if found["sources"]:
        fields["merged from"] = ", ".join(one["file"] for one in found["sources"])
    print_fields(fields)
    rows = found["measurements"]
    energy = any(row["joules"] is not None for row in rows)
    head = ["kind", "scope", "p50 ms", "+-", "p95 ms", "cold ms", "apart", "memory"]
    print_table(
        [*head, *(["J"] if energy else []), "runs", "verdict"], [_row(row, energy) for row in rows]
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["reasons"]:
            why = row["verdict"], "; ".join(row["reasons"])
            reasons.setdefault(why, []).append(_cut(row["label"]))
    for (judged, text), labels in reasons.items():
        click.echo(f"{judged}: {shorten(labels, 6)}: {text}")
    for one in found["failed"]:
        click.echo(f"failed: {_cut(one['label'])}: {one['error']}")
    for job in found["open_jobs"]:
        click.echo(f"open: a job on {job['target']} has not been read to its end")
    print_notes(found["notes"])
    counts: dict[str, int] = {}
    for name in [*(row["verdict"] for row in rows), *("failed" for _ in found["failed"])]:
        counts[name] = counts.get(name, 0) + 1
    listed = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing measured"
    verdict(f"{found['path']}: {listed}")


def _settings(settings: dict[str, Any]) -> str:
    names = ("provider", "threads", "relative_ci", "sittings", "min_rounds", "max_rounds")
    return ", ".join(f"{name} {settings[name]}" for name in names if settings[name] != "")


def _cut(label: str) -> str:
    """A subnet's spec may have hundreds of characters, and the other columns count too."""
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 3]}..."


def _row(row: dict[str, Any], energy: bool) -> list[object]:
    low, high, p50 = row["p50_low_ms"], row["p50_high_ms"], row["p50_ms"]
    memory = None if None in (row["load_bytes"], row["run_bytes"]) else 0
    if memory is not None:
        memory = row["load_bytes"] + row["run_bytes"]
    return [
        _cut(row["label"]),
        row["scope"],
        f"{p50:.4f}",
        "-" if low is None else f"{(high - low) / 2 / p50:.1%}",
        "-" if row["p95_ms"] is None else f"{row['p95_ms']:.4f}",
        "-" if row["cold_p50_ms"] is None else f"{row['cold_p50_ms']:.4f}",
        "-" if row["spread"] is None else f"{row['spread']:.1%}",
        "-" if memory is None else human_bytes(memory),
        *(["-" if row["joules"] is None else f"{row['joules']:.4g}"] if energy else []),
        row["runs"],
        row["verdict"],
    ]


def comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    ratios = [{**asdict(one), "significant": one.significant} for one in found.ratios]
    return {**asdict(found), "ratios": ratios}


def print_comparison(found: Comparison) -> None:
    """Print a comparison for people."""
    rows = [
        [
            _cut(one.label),
            one.scope,
            f"{one.first_ms:.4f}",
            f"{one.second_ms:.4f}",
            f"{one.ratio:.3f}{'*' if one.significant else ''}",
            "-" if one.interval is None else "{:.3f} to {:.3f}".format(*one.interval),
            "-" if one.joules is None else f"{one.joules:.3f}",
        ]
        for one in found.ratios
    ]
    print_table(["kind", "scope", "first ms", "second ms", "ratio", "95% interval", "J"], rows)
    for text in found.differences:
        click.echo(f"another device: {text}")
    for text in found.changes:
        click.echo(f"changed: {text}")
    for which, labels in (("first", found.only_first), ("second", found.only_second)):
        if labels:
            click.echo(f"only in the {which}: {', '.join(labels)}")
    if not found.ratios:
        verdict("the tables have no kind in common")
        return
    ratios = [one.ratio for one in found.ratios]
    marked = sum(one.significant for one in found.ratios)
    verdict(
        f"{len(ratios)} in common, {marked} differ; the median ratio is {median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f}"
    )
