"""``hwnas profile`` without a link: pack a job, run it on the device, collect what it said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from hwnas.agent.events import AgentError, End, Start
from hwnas.agent.job import Document
from hwnas.bundle import Bundle
from hwnas.cli import profile_tables
from hwnas.cli.measuring import Device, open_table
from hwnas.cli.output import print_json, quote, verdict
from hwnas.errors import HwnasError, ProfileError, UsageError
from hwnas.profile import Job, Settings, make_package
from hwnas.profile import collect as store
from hwnas.profile.collect import Collector
from hwnas.profile.failures import rebuild_error
from hwnas.profile.fingerprint import read_fingerprint
from hwnas.profile.package import reference_outputs
from hwnas.remote import offline, packed
from hwnas.space import Subnet

__all__ = ["collect", "pack", "run"]


def pack(
    jobs: Sequence[Job],
    device: Device,
    settings: Settings,
    path: Path,
    then: str,
    output: str,
) -> None:
    """Write ``path``, a .tar with all that the device needs; ``then`` collects its journal.

    Raises:
        UsageError: something else than a packed job has that name.
    """
    if path.exists() and not (path.is_file() and packed.is_packed(path)):
        raise UsageError(f"{path} exists and is no packed job", "name another file with --pack")
    package = make_package(
        jobs,
        device.profiler.name,
        settings,
        reference_outputs,
        emulated=device.target.descriptor.emulated,
    )
    offline.pack(package, path, device.target.descriptor)
    size = path.stat().st_size
    there = quote("hwnas", "profile", "--run", path.name)
    if output == "json":
        found = {"path": str(path), "bytes": size, "items": len(jobs), "next": there}
        print_json({**found, "then": then})
        return
    click.echo(f"carry {path} to the device, run there: {there}")
    click.echo(
        "where hwnas is not installed: tar xf FILE, then sh JOB/run.sh (see docs/targets.md)"
    )
    verdict(f"{path}: {len(jobs)} items, {size:,} bytes; bring its journal back", then)


def run(path: Path, output: str) -> None:
    """Measure a packed job on this device."""
    journal = offline.run(path)
    following = quote("hwnas", "profile", "BUNDLE", "--collect", journal, "-o", "lut.db")
    if output == "json":
        print_json({"journal": str(journal), "next": following})
    else:
        verdict(f"{journal}: all that was measured; carry it back", following)


def collect(
    source: Bundle,
    journal: Path,
    path: Path,
    resume: bool,
    checks: Sequence[Subnet],
    output: str,
    again: str,
    max_temperature_c: float | None,
) -> None:
    """Store what was measured elsewhere into the table at ``path``.

    Args:
        source: what was packed.
        journal: what the device said; see :func:`hwnas.remote.offline.collect`.
        path: the table.
        resume: whether it may be there.
        checks: the subnets that predictions are checked on.
        output: ``table`` or ``json``.
        again: the command that collects the rest, if some is missing.
        max_temperature_c: above it, a measurement is flagged.

    Raises:
        UsageError: the job is of another bundle.
        ProfileError: nothing, or not everything, is finished; what is finished is stored.
        HwnasError: what the agent could not go on for.
    """
    text, events = offline.collect(journal)
    document = Document.decode(text)
    heard = list(events)
    start = next((event for event in heard if isinstance(event, Start)), None)
    if start is None:
        raise ProfileError(f"{journal} holds no measurements yet", "run the job on the device")
    if {item.key for item in document.items if item.scope == "block"} - set(source.kinds()):
        raise UsageError(
            f"{journal} is of another bundle: {source.path} has no such blocks",
            "name the bundle that the job was packed from",
        )
    collector = Collector(document, None, start.job)
    finished = sum(1 for event in heard for _ in collector.add(event))
    whole = isinstance(heard[-1], End)
    unfinished: HwnasError = ProfileError(
        f"{journal} ends early: {finished} of {len(document.items)} items are finished",
        f"run the job on the device again, it goes on; then: {again}",
    )
    if isinstance(heard[-1], AgentError):
        unfinished = rebuild_error(heard[-1])
    if not whole and not finished:
        raise unfinished
    fingerprint = read_fingerprint(start.fingerprint)
    emulated = document.emulated
    with open_table(path, resume, fingerprint, document.settings, emulated) as lut:
        done = store(text, iter(heard), lut, max_temperature_c)
        jobs = [
            Job(item.key, item.scope, item.label, b"", source.path, item.inputs)
            for item in document.items
        ]
        if not whole:
            click.echo(f"{path}: what is finished is stored", err=True)
            raise unfinished
        failed = profile_tables.report(
            source, lut, jobs, checks, done, ["--no-measure"], output, emulated=emulated
        )
    if failed:
        raise click.exceptions.Exit(1)
