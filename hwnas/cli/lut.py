"""``hwnas lut``: look into lookup tables, compare, merge, import and export them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hwnas.cli import lut_import, lut_tables
from hwnas.cli.output import format_option, print_json, print_table, quote, verdict
from hwnas.errors import UsageError
from hwnas.files import refuse_overlap
from hwnas.profile.record import VERDICTS
from hwnas.table import Lut, merge
from hwnas.table.compare import compare, device_spread
from hwnas.table.export import write_samples, write_statistics

__all__ = ["command"]

_TABLE = click.Path(path_type=Path)


@click.group("lut")
def command() -> None:
    """Show, compare, merge, import and export lookup tables."""


command.add_command(lut_import.command)


@command.command("show")
@click.argument("table", type=_TABLE)
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice([*VERDICTS, "failed"]),
    help="Only measurements with this verdict; may be given again.",
)
@format_option
def show(table: Path, verdicts: tuple[str, ...], output: str) -> None:
    """Show what TABLE holds: its device, and each kind with its verdict and the reasons."""
    with Lut.open(table) as lut:
        found = lut_tables.content(lut, verdicts)
    if output == "json":
        print_json(found)
    else:
        lut_tables.print_content(found)


@command.command("diff")
@click.argument("first", type=_TABLE)
@click.argument("second", type=_TABLE)
@format_option
def diff(first: Path, second: Path, output: str) -> None:
    """Compare the kinds that FIRST and SECOND both hold: SECOND's median over FIRST's.

    A ratio is marked with * if its 95% interval does not hold 1.
    """
    with Lut.open(first) as a, Lut.open(second) as b:
        found = compare(a, b)
    if output == "json":
        print_json(lut_tables.comparison(found))
    else:
        lut_tables.print_comparison(found)


@command.command("merge")
@click.argument("tables", type=_TABLE, nargs=-1, required=True)
@click.option("-o", "--output", "path", type=_TABLE, required=True, help="The table to write.")
@click.option(
    "--force", is_flag=True, help="Merge tables of devices that differ; the result says so."
)
@format_option
def merge_command(tables: tuple[Path, ...], path: Path, force: bool, output: str) -> None:
    """Merge TABLES of devices of one type, and show how far these are apart.

    The devices must not differ in what is compared: CPU, threads, runtime, provider.
    """
    refuse_overlap(path, list(tables))
    sources = merge(tables, path, force=force)
    with Lut.open(path) as lut:
        spread, notes = device_spread(lut), lut.notes()
    found = {
        "path": str(path),
        "sources": [lut_tables.source(one) for one in sources],
        "notes": notes,
        "kinds": [vars(one) for one in spread],
    }
    if output == "json":
        print_json(found)
        return
    rows = [
        [one.label, one.scope, one.devices, _ms(one.least_ms), _ms(one.greatest_ms), _share(one)]
        for one in spread
    ]
    print_table(["kind", "scope", "devices", "least ms", "greatest ms", "apart"], rows)
    lut_tables.print_notes(notes)
    verdict(f"{path}: {len(sources)} tables merged", quote("hwnas", "lut", "show", path))


def _ms(value: float) -> str:
    return f"{value:.4f}"


def _share(one: Any) -> str:
    return "-" if one.devices < 2 else f"{one.spread:.1%}"


@command.command("export")
@click.argument("table", type=_TABLE)
@click.option(
    "-o", "--output", "path", type=_TABLE, required=True, help="A file.csv or file.json to write."
)
@click.option(
    "--samples", type=click.Choice(["raw"]), help="One row for each run instead of each kind."
)
def export(table: Path, path: Path, samples: str | None) -> None:
    """Write what TABLE holds as CSV or JSON, for other tools."""
    refuse_overlap(path, [table])
    if path.suffix not in (".csv", ".json"):
        raise UsageError(
            f"{path} ends neither in .csv nor in .json", "name the output file.csv or file.json"
        )
    with Lut.open(table) as lut:
        rows = (write_samples if samples else write_statistics)(lut, path)
        notes: Sequence[str] = lut.notes()
    lut_tables.print_notes(notes)
    verdict(f"{path}: {rows} rows")
