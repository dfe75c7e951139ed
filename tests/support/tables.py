"""Lookup tables with known content, without measuring."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.bundle import Bundle
from hwnas.profile import Fingerprint, Settings
from hwnas.profile.record import Record, Round, Scope, Turn
from hwnas.table import Lut

__all__ = ["fill_blocks", "fingerprint", "put", "put_subnet", "record", "turns"]


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


def turns(ms: float, spread: float = 0.0, cold_ms: float | None = None) -> tuple[Turn, ...]:
    """101 calm turns of one run: median ``ms``, 95th percentile ``ms * (1 + 0.9 * spread)``."""
    runs = [round(ms * 1e6 * (1 + spread * (i - 50) / 50)) for i in range(101)]
    cold = None if cold_ms is None else round(cold_ms * 1e6)
    return tuple(Turn(1, i, cold, (ns,), ns, ns, 0) for i, ns in enumerate(runs))


def record(
    key: str,
    ms: float = 1.0,
    scope: Scope = "block",
    label: str = "",
    *,
    spread: float = 0.0,
    cold_ms: float | None = None,
    **changes: Any,
) -> Record:
    """A good measurement with :func:`turns`; ``changes`` to it."""
    # Rounds are known by their canary: two items share none, so that each is taken as it is.
    canary = 1 + zlib.crc32(f"{key} {ms}".encode()) / 2**32 * 0.01
    made = Record(
        key=key,
        scope=scope,
        label=label or f"{key}/base",
        stopped_by="converged",
        verdict="ok",
        reasons=(),
        load_bytes=0,
        run_bytes=0,
        error=1e-7,
        outputs_ok=True,
        warmup_runs=40,
        warmup_stopped_by="steady",
        turns=turns(ms, spread, cold_ms),
        rounds=tuple(Round(1, i, (canary, canary), 0, {"temperature_c": 50.0}) for i in range(101)),
        energy=None,
    )
    return replace(made, **changes)


def put(
    lut: Lut, key: str, ms: float, scope: Scope = "block", label: str = "", **more: Any
) -> None:
    """Write a :func:`record`."""
    lut.record(record(key, ms, scope, label, **more))


def fill_blocks(
    path: Path,
    bundle: Bundle,
    ms: Mapping[str, float],
    *,
    cold_ms: Mapping[str, float] | None = None,
    load_bytes: int | None = 1000,
    run_bytes: int | None = 10,
    **more: Any,
) -> Lut:
    """A new table with every kind of ``bundle`` whose first block is named in ``ms``."""
    lut = Lut.create(path, fingerprint(), Settings())
    for kind, unit in bundle.kinds().items():
        if unit in ms:
            cold = (cold_ms or {}).get(unit)
            more = {**more, "load_bytes": load_bytes, "run_bytes": run_bytes, "cold_ms": cold}
            put(lut, kind, ms[unit], "block", unit, **more)
    return lut


def put_subnet(lut: Lut, bundle: Bundle, name: str, ms: float, **more: Any) -> None:
    """A whole-subnet measurement of the subnet ``name``."""
    subnet = bundle.manifest.space.find(name)
    put(lut, bundle.subnet_kind(subnet), ms, "subnet", subnet.spec, **more)
