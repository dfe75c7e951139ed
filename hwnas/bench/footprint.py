"""What each contender takes to load and to hold, each time in a fresh process.

Memory is the proportional set size (PSS) after every subnet has run, above a process that has the
runtime loaded: weights as the runtime holds them, mapped file pages, and buffers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hwnas.bench.static import Static, Statics
from hwnas.bundle import Bundle
from hwnas.errors import HwnasError

__all__ = ["ALONE", "Footprint", "footprints"]

ALONE = "stock alone"
"""What load time and bytes are compared with: the largest subnet's static export by itself."""


@dataclass(frozen=True)
class Footprint:
    """One contender, measured in several fresh processes; medians are quoted.

    Attributes:
        load_ms: each time of opening, in ms; files are in the page cache.
        first_ms: each time from opening to the first result.
        pss_bytes: each PSS after every subnet has run; empty if the kernel does not tell.
        bytes: of its files.
        against: the contender that is the largest subnet alone, by the same library.
    """

    load_ms: tuple[float, ...]
    first_ms: tuple[float, ...]
    pss_bytes: tuple[int, ...]
    bytes: int
    against: str

    @property
    def load(self) -> float:
        """Median ms of opening."""
        return median(self.load_ms)

    @property
    def memory(self) -> float | None:
        """Median PSS in bytes; None if unknown here."""
        return median(self.pss_bytes) if self.pss_bytes else None


@dataclass(frozen=True)
class _Wanted:
    how: str
    paths: Any
    subnets: Sequence[str]
    bytes: int
    against: str
    verify: bool = False


def footprints(
    bundle: Bundle,
    statics: Statics,
    largest: str,
    *,
    native: bool,
    switch: Path | None,
    threads: int,
    processes: int,
    progress: Callable[[str], None],
) -> dict[str, Footprint]:
    """Measure every contender ``processes`` times, in turn.

    Args:
        bundle: of form ``subnets``.
        statics: of the same subnets.
        largest: the subnet whose static export they are compared with.
        native: whether the native backend is there.
        switch: folder that ``--to onnx-switch`` wrote, if there is one.
        threads: of every run.
        processes: fresh ones per contender.
        progress: called with a contender's name before each of its processes.

    Raises:
        HwnasError: a measuring process failed; names the contender.
    """
    wanted = _wanted(bundle, statics, largest, native, switch)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    for _ in range(processes):
        for name, one in wanted.items():
            progress(name)
            found[name].append(_measure(name, one, bundle.path, statics.nothing, threads))
    return {
        name: Footprint(
            load_ms=tuple(row["load_ms"] for row in rows),
            first_ms=tuple(row["first_ms"] for row in rows),
            pss_bytes=tuple(row["pss_bytes"] for row in rows if row["pss_bytes"] is not None),
            bytes=wanted[name].bytes,
            against=wanted[name].against,
        )
        for name, rows in found.items()
    }


def _wanted(
    bundle: Bundle, statics: Statics, largest: str, native: bool, switch: Path | None
) -> dict[str, _Wanted]:
    everything = [largest, *(name for name in bundle.manifest.subnets if name != largest)]
    alone = statics.subnets[largest]
    one, path, size = [largest], str(bundle.path.resolve()), _size([bundle.path])
    separate = sum(static.bytes for static in statics.subnets.values())
    found = {ALONE: _Wanted("stock", _models(statics, one), one, alone.bytes, ALONE)}
    by_native = "native alone"
    if native:
        paths = str(alone.bundle)
        found[by_native] = _Wanted("native", paths, one, alone.bytes, by_native)
        found["native"] = _Wanted("native", path, everything, size, by_native, verify=True)
        # What of its load time is spent on comparing hashes, which no static session does.
        found["native unverified"] = _Wanted("native", path, everything, size, by_native)
    found["python"] = _Wanted("python", path, everything, size, ALONE, verify=True)
    models = _models(statics, everything)
    found["separate"] = _Wanted("stock", models, everything, separate, ALONE)
    if switch is not None:
        given = str(switch.resolve())
        found["onnx-switch"] = _Wanted("switch", given, everything, _size([switch]), ALONE)
    return found


def _models(statics: Statics, names: Iterable[str]) -> dict[str, list[str]]:
    picked = {name: statics.subnets[name] for name in names}
    return {name: [str(one.model), str(one.folder)] for name, one in picked.items()}


def _size(folders: Iterable[Path]) -> int:
    return sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file())


def _measure(
    name: str, wanted: _Wanted, specs: Path, nothing: Static, threads: int
) -> dict[str, Any]:
    request = {
        "how": wanted.how,
        "paths": wanted.paths,
        "nothing": str(nothing.bundle),
        "specs": str(specs),
        "subnets": wanted.subnets,
        "threads": threads,
        "verify": wanted.verify,
    }
    worker = [sys.executable, "-P", "-m", "hwnas.bench.footprint_worker", json.dumps(request)]
    done = subprocess.run(worker, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise HwnasError(
            f"measuring {name!r} in a process of its own failed: {last[0]}",
            "is there enough free memory?",
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
