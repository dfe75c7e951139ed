"""How commands print: results to stdout, progress to stderr and only on a terminal."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = [
    "format_option",
    "human_bytes",
    "print_fields",
    "print_json",
    "print_table",
    "progress_bar",
    "quote",
    "verdict",
]

_WIDTH_WHEN_PIPED = 160


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--format table|json`` as the argument ``output``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print the result.",
    )(command)


def print_json(data: object) -> None:
    """Print ``data`` as JSON."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table; columns of numbers are right-aligned."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = all(_numeric(row[i]) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    piped = not sys.stdout.isatty()
    _Console(width=_WIDTH_WHEN_PIPED if piped else None, highlight=False).print(table)


class _Console(Console):
    """Leaves a pipe that was closed to whoever handles it for all output."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {value}")


def _numeric(value: object) -> bool:
    return str(value)[:1].isdigit() or str(value) in ("-", "")


def verdict(text: str, following: str = "") -> None:
    """Print the last line: what was found, and the next command."""
    click.echo(f"{text}; next: {following}" if following else text)


def quote(*words: str | Path) -> str:
    """A command line that can be pasted into a shell."""
    return shlex.join(str(word) for word in words)


def human_bytes(count: float) -> str:
    """``1536`` as ``1.5 kB``: powers of 1000, three figures."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} GB"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function to call with (done, total, label); silent unless stderr is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[label]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None, label="")

        def update(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, label=label)

        yield update
