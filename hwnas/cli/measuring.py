"""What ``profile`` and ``select`` share: a target and a profiler by name, and whole subnets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from hwnas.bundle import Bundle
from hwnas.errors import UsageError
from hwnas.link import whole
from hwnas.profile import (
    Job,
    Profiler,
    Progress,
    Settings,
    Target,
    load_profiler,
    load_target,
    subnet_job,
)
from hwnas.space import Subnet

__all__ = [
    "Device",
    "device_options",
    "measuring_bar",
    "open_device",
    "parse_affinity",
    "whole_jobs",
]


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--target`` and ``--profiler``."""
    command = click.option(
        "--profiler", default="onnxruntime", show_default=True, help="How cost is read there."
    )(command)
    return click.option(
        "--target", default="cpu", show_default=True, help="Where code runs: cpu is this machine."
    )(command)


@dataclass(frozen=True)
class Device:
    """Where and how to measure."""

    target: Target
    profiler: Profiler


def open_device(target: str, profiler: str) -> Device:
    """Find both plug-ins by name; unknown names are errors that list the known ones."""
    return Device(load_target(target), load_profiler(profiler))


def whole_jobs(bundle: Bundle, subnets: Iterable[Subnet]) -> list[Job]:
    """One job per subnet that measures it whole, as one linked graph."""
    return [
        subnet_job(bundle, subnet, whole(bundle, subnet).SerializeToString()) for subnet in subnets
    ]


def parse_affinity(text: str, settings: Settings, target: Target) -> tuple[int, ...] | None:
    """Cores from ``auto``, ``none`` or ``0,1``.

    ``auto`` takes the last cores that the target allows, one per thread: the first ones serve
    most interrupts.
    """
    if text == "none":
        return None
    if text == "auto":
        cores = target.cores()
        return tuple(cores[-settings.threads :]) if len(cores) >= settings.threads else None
    try:
        return tuple(int(core) for core in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} are no cores", "give --affinity 0,1 or auto or none") from None


@contextmanager
def measuring_bar() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows how far measuring is, with the time left; on a terminal only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[label]}"),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None, left="", label="")

        def update(found: Progress) -> None:
            left = "" if found.seconds_left is None else f"{found.seconds_left:.0f} s left"
            bar.update(task, completed=found.done, total=found.total, left=left, label=found.label)
            if found.status == "error":
                click.echo(f"failed: {found.label}: {found.error}", err=True)

        yield update
