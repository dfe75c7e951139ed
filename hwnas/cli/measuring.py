"""What ``profile`` and ``select`` share: a target and a profiler by name, and whole subnets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from hwnas.bundle import Bundle
from hwnas.cli.output import human_bytes
from hwnas.doctor.governor import hold_governor
from hwnas.errors import UsageError
from hwnas.link import whole
from hwnas.profile import (
    Descriptor,
    Fingerprint,
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
from hwnas.table import Lut

__all__ = [
    "Device",
    "device_options",
    "given_words",
    "measuring_bar",
    "open_device",
    "open_table",
    "pinned",
    "sending",
    "settings_for",
    "whole_jobs",
]


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--target`` and ``--profiler``."""
    command = click.option(
        "--profiler", help="How cost is read there.  [default: the target's own, or onnxruntime]"
    )(command)
    return click.option(
        "--target",
        default="cpu",
        show_default=True,
        help="Where code runs: cpu is this machine; ssh://[user@]host, adb://SERIAL, a name that "
        "'hwnas devices' lists, or a .toml file.",
    )(command)


@dataclass(frozen=True)
class Device:
    """Where and how to measure."""

    target: Target
    profiler: Profiler

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do about the device's governors what its descriptor says, while it measures."""
        shell = self.target.shell()
        if shell is None or self.target.descriptor.policy.governor == "record":
            yield
            return
        with hold_governor(shell, self.target.descriptor, lambda text: click.echo(text, err=True)):
            yield


@contextmanager
def open_device(target: str, profiler: str | None) -> Iterator[Device]:
    """Find both plug-ins by name; unknown names are errors that list the known ones.

    Without a profiler's name, it is the one that the target's descriptor names.
    """
    found = load_target(target)
    try:
        yield Device(found, load_profiler(profiler or found.descriptor.runtime.name))
    finally:
        found.close()


def settings_for(descriptor: Descriptor, affinity: str | None, **given: Any) -> Settings:
    """Settings as the descriptor wants them, with what was ``given`` (not None) before that.

    Args:
        descriptor: of the target.
        affinity: ``auto``, ``none``, cores as in ``0,1``, or None for the descriptor's.
        given: fields of :class:`~hwnas.profile.Settings`.

    Raises:
        UsageError: a value that cannot be.
    """
    values = descriptor.overrides() | {k: v for k, v in given.items() if v is not None}
    if affinity is not None:
        values["affinity"] = None if affinity in ("auto", "none") else _cores(affinity)
    return Settings(**values)


def pinned(settings: Settings, target: Target, affinity: str | None) -> Settings:
    """``settings`` with cores to pin to, where neither user nor descriptor named any.

    The last cores that the target allows, one per thread: the first ones serve most interrupts.
    """
    if settings.affinity is not None or affinity not in (None, "auto"):
        return settings
    cores = target.cores()
    if len(cores) < settings.threads:
        return settings
    return replace(settings, affinity=tuple(cores[-settings.threads :]))


@contextmanager
def open_table(
    path: Path, resume: bool, fingerprint: Fingerprint, settings: Settings, emulated: bool
) -> Iterator[Lut]:
    """The table to measure into: a new one, or with ``resume`` the one that is there.

    An emulated device gets one that is gone afterwards: its times mean nothing.
    """
    with TemporaryDirectory() as folder:
        place = Path(folder) / path.name if emulated else path
        # What fails before anything is begun leaves no table; resuming then begins one.
        again = resume and place.exists()
        with (Lut.resume if again else Lut.create)(place, fingerprint, settings) as lut:
            yield lut


def given_words(context: click.Context, *without: str) -> list[str]:
    """The options that were typed, as words to be typed again, but for those named."""
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not isinstance(option, click.Option) or not typed or name in without:
            continue
        value = context.params[name]
        if option.is_flag:
            words.append(option.opts[-1] if value else option.secondary_opts[-1])
            continue
        for one in value if option.multiple else [value]:
            words += [option.opts[-1], f"{one:g}" if isinstance(one, float) else str(one)]
    return words


def _cores(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(core) for core in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} are no cores", "give --affinity 0,1 or auto or none") from None


def whole_jobs(bundle: Bundle, subnets: Iterable[Subnet]) -> list[Job]:
    """One job per subnet that measures it whole, as one linked graph."""
    return [
        subnet_job(bundle, subnet, whole(bundle, subnet).SerializeToString()) for subnet in subnets
    ]


@contextmanager
def sending(target: Target, progress: Callable[[Progress], None]) -> Iterator[None]:
    """Tell ``progress`` how much was sent, while the block runs, if the target tells it."""

    def uploaded(done: int, total: int) -> None:
        label = f"sending {human_bytes(done)} of {human_bytes(total)}"
        progress(Progress(0.0, label, "measuring", "", None))

    if not hasattr(target, "uploaded"):
        yield
        return
    target.uploaded = uploaded
    try:
        yield
    finally:
        target.uploaded = None


@contextmanager
def measuring_bar() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows how far measuring is, with the time left; on a terminal only."""
    console = Console(stderr=True)
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[label]}"),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=1.0, left="", label="")

        def update(found: Progress) -> None:
            left = "" if found.seconds_left is None else f"{found.seconds_left:.0f} s left"
            bar.update(task, completed=found.fraction, left=left, label=found.label)
            if found.status == "error":
                click.echo(f"failed: {found.label}: {found.error}", err=True)

        yield update
