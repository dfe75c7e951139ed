"""What tests that really measure share: quick settings, named jobs, records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwnas.agent.events import Event
from hwnas.agent.job import Document
from hwnas.agent.settings import Settings
from hwnas.profile import Job, Package, Record, make_package
from hwnas.profile.collect import Collector
from hwnas.profile.package import reference_outputs
from hwnas.testing.conformance import example_job, quick_settings

__all__ = [
    "CUT",
    "QUICK",
    "faulty_package",
    "named",
    "read_records",
    "unpack",
]

QUICK = quick_settings()
CUT = replace(
    QUICK, min_rounds=100, max_rounds=100, sample_time_s=60.0, sitting_items=1, relative_ci=1e-9
)
"""Settings with which each item has a sitting of its own, and there is time to break in."""


def named(folder: Path, *labels: str) -> list[Job]:
    """Jobs for the profiler ``faulty``, each told by its label what to do."""
    base = example_job(folder)
    return [replace(base, key=f"key of {label}", label=label) for label in labels]


def faulty_package(folder: Path, settings: Settings, *labels: str) -> Package:
    """:func:`named`, packed."""
    return make_package(named(folder, *labels), "faulty", settings, reference_outputs)


def unpack(package: Package, folder: Path) -> tuple[Path, Path]:
    """Folders of the job and of blobs, as a device has them."""
    job, blobs = folder / "jobs" / package.id, folder / "blobs"
    (job / "data").mkdir(parents=True)
    blobs.mkdir(exist_ok=True)
    (job / "job.json").write_bytes(package.document)
    for sha256, content in package.blobs.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        (blobs / sha256).write_bytes(data)
    for name, sha256 in package.data.items():
        (job / "data" / name).hardlink_to(blobs / sha256)
    return job, blobs


def read_records(package: Package, events: list[Event]) -> dict[str, Record]:
    """What follows from ``events``, by label."""
    collector = Collector(Document.decode(package.document))
    found = [one for event in events for one in collector.add(event)]
    return {one.label: one for one in found if isinstance(one, Record)}
