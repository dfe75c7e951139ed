"""``hwnas profile`` without a link: pack a job, run it on the device, collect what it said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from hwnas.agent.events import Start
from hwnas.agent.job import Document
from hwnas.bundle import Bundle
from hwnas.cli import profile_tables
from hwnas.cli.measuring import Device, open_table
from hwnas.cli.output import print_json, quote, verdict
from hwnas.errors import ProfileError
from hwnas.profile import Job, Settings, make_package
from hwnas.profile import collect as store
from hwnas.profile.fingerprint import read_fingerprint
from hwnas.profile.package import reference_outputs
from hwnas.remote import offline
from hwnas.space import Subnet

__all__ = ["collect", "pack", "run"]


def pack(
    jobs: Sequence[Job],
    device: Device,
    settings: Settings,
    path: Path,
    bundle: Path,
    output: str,
) -> None:
    """Write ``path``, a .tar with all that the device needs."""
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
    then = quote("hwnas", "profile", bundle, "--collect", path, "-o", "lut.db")
    if output == "json":
        print_json({"path": str(path), "bytes": size, "items": len(jobs), "next": there})
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
) -> None:
    """Store what was measured elsewhere into the table at ``path``."""
    text, events = offline.collect(journal)
    document = Document.decode(text)
    heard = list(events)
    start = next((event for event in heard if isinstance(event, Start)), None)
    if start is None:
        raise ProfileError(f"{journal} holds no measurements yet", "run the job on the device")
    fingerprint = read_fingerprint(start.fingerprint)
    emulated = document.emulated
    with open_table(path, resume, fingerprint, document.settings, emulated) as lut:
        done = store(text, iter(heard), lut)
        jobs = [
            Job(item.key, item.scope, item.label, b"", source.path, item.inputs)
            for item in document.items
        ]
        failed = profile_tables.report(source, lut, jobs, checks, done, ["--no-measure"], output)
    if failed:
        raise click.exceptions.Exit(1)
