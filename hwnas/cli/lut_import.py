"""``hwnas lut import``: tables that others measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from hwnas.bundle import Bundle
from hwnas.cli.lut_tables import print_notes
from hwnas.cli.output import format_option, print_fields, print_json, quote, verdict
from hwnas.errors import UsageError
from hwnas.files import refuse_overlap
from hwnas.table import Lut
from hwnas.table.importing import ImportedRow, import_ofa, import_subnets, write_imported
from hwnas.table.imports import imported_fingerprint

__all__ = ["command"]

_FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("files", type=_FILE, nargs=-1, required=True)
@click.option(
    "--from",
    "form",
    type=click.Choice(["ofa-yaml", "hat-csv", "csv"]),
    required=True,
    help="What FILES are: Once-for-All's latency tables, latencies of hardware-aware "
    "transformers, or rows of subnets with a column latency_ms (or _us, _s).",
)
@click.option("--bundle", type=_FILE, required=True, help="The space that the numbers are of.")
@click.option("--device", required=True, metavar="NAME", help="What they were measured on.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True,
              help="Threads of one inference there.")  # fmt: skip
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="COLUMN=NAME",
    help="A column of a CSV that says a dimension, a depth or a slot's choice, or 'subnet'. May "
    "be given again.",
)
@click.option("-o", "--output", "path", type=_FILE, required=True, help="The table to write.")
@format_option
def command(
    files: tuple[Path, ...],
    form: str,
    bundle: Path,
    device: str,
    threads: int,
    columns: tuple[str, ...],
    path: Path,
    output: str,
) -> None:
    """Make a lookup table of FILES that others measured.

    Layers of Once-for-All's tables become the blocks that are made of them; rows of a CSV become
    whole subnets. Such a table says in every use that it was imported, and nothing that is
    measured is ever added to it.
    """
    refuse_overlap(path, [*files, bundle])
    if len(set(files)) < len(files):
        raise UsageError("a file is named twice", "name each file once")
    if not device.strip() or not device.isprintable() or len(device) > 256:
        raise UsageError("the device has no name that can be shown", "--device 'Galaxy Note10'")
    source = Bundle.open(bundle, "space")
    ignored: list[str] = []
    if form == "ofa-yaml":
        if columns:
            raise UsageError("--map is for columns, and YAML has none", "leave --map out")
        rows = import_ofa(source, files)
    else:
        rows, ignored = import_subnets(source, files, _columns(columns), hat=form == "hat-csv")
    write_imported(path, imported_fingerprint(device, threads), rows, files, form)
    with Lut.open(path) as lut:
        notes = [*lut.notes(), *_notes(rows)]
    if ignored:
        notes.append(f"columns that say nothing of which subnet it is: {', '.join(ignored)}")
    following = quote("hwnas", "lut", "show", path)
    if form == "ofa-yaml":
        following = quote("hwnas", "select", bundle, "--lut", path, "--no-measure")
        following += " --max-latency p50=25ms --quality FILE -o plan.json"
    if output == "json":
        print_json(
            {"path": str(path), "device": device, "rows": len(rows), "notes": notes,
             "next": following}
        )  # fmt: skip
        return
    what = "kinds of block" if form == "ofa-yaml" else "whole subnets"
    print_fields({"device": device, "from": ", ".join(file.name for file in files)})
    print_notes(notes)
    verdict(f"{path}: {len(rows)} {what} imported", following)


def _columns(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        column, equals, name = text.partition("=")
        if not equals or not column or not name:
            raise UsageError(f"{text!r} is no COLUMN=NAME", "--map encoder_layer_num=d")
        if column in found or name in found.values():
            raise UsageError(f"--map {text}: that is mapped already", "map each column once")
        found[column] = name
    return found


def _notes(rows: Sequence[ImportedRow]) -> list[str]:
    """What to know of single rows, each said once."""
    return list(dict.fromkeys(f"{row.label}: {row.note}" for row in rows if row.note))
