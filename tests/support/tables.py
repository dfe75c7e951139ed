"""Lookup tables with known content, without measuring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.profile import Fingerprint, Job, Scope, Settings
from hwnas.profile.wire import Done
from hwnas.program import TensorSpec
from hwnas.table import Lut

__all__ = ["DONE", "fill_blocks", "fingerprint", "job", "put", "put_subnet"]

DONE = Done("converged", 40, "steady", 1000)


def fingerprint(**changes: object) -> Fingerprint:
    """A device; ``changes`` make it another."""
    base = Fingerprint(
        machine="x86_64",
        cpu="test 1/2/3",
        flags=("avx2", "fma"),
        threads=1,
        runtime="null",
        runtime_version="1",
        provider="null",
        cores=2,
        affinity=(0, 1),
        governor="unknown",
        system="Linux",
        kernel="6.1",
        hwnas="0.1.0",
    )
    return base.model_copy(update=changes)


def job(key: str, scope: Scope = "block", label: str = "") -> Job:
    """A job that cannot be run, to name a row."""
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1,)),)
    return Job(key, scope, label or f"{key}/base", b"", Path(), inputs)


def put(
    lut: Lut,
    what: Job,
    ms: float,
    *,
    spread: float = 0.0,
    load_bytes: int | None = 0,
    run_bytes: int | None = 0,
) -> None:
    """A measurement of 101 runs: median ``ms``, 95th percentile ``ms * (1 + 0.9 * spread)``."""
    row = lut.begin(what)
    runs = [round(ms * 1e6 * (1 + spread * (i - 50) / 50)) for i in range(101)]
    lut.add_samples(row, runs)
    lut.finish(row, Done("converged", 40, "steady", run_bytes), load_bytes)


def fill_blocks(
    path: Path,
    bundle: Bundle,
    ms: Mapping[str, float],
    *,
    spread: float = 0.0,
    load_bytes: int | None = 1000,
    run_bytes: int | None = 10,
) -> Lut:
    """A new table with every kind of ``bundle`` whose first block is named in ``ms``."""
    lut = Lut.create(path, fingerprint(), Settings())
    for kind, unit in bundle.kinds().items():
        if unit in ms:
            put(
                lut,
                job(kind, "block", unit),
                ms[unit],
                spread=spread,
                load_bytes=load_bytes,
                run_bytes=run_bytes,
            )
    return lut


def put_subnet(
    lut: Lut,
    bundle: Bundle,
    name: str,
    ms: float,
    *,
    spread: float = 0.0,
    load_bytes: int | None = 0,
    run_bytes: int | None = 0,
) -> None:
    """A whole-subnet measurement of the subnet ``name``."""
    subnet = bundle.manifest.space.find(name)
    what = job(bundle.subnet_kind(subnet), "subnet", subnet.spec)
    put(lut, what, ms, spread=spread, load_bytes=load_bytes, run_bytes=run_bytes)
