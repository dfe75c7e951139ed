"""The whole comparison of a bundle: every subnet's latency and outputs, memory, load and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas import __version__
from hwnas.agent.fingerprint import collect
from hwnas.agent.protocol import RuntimeInfo
from hwnas.agent.settings import Settings
from hwnas.bench.contenders import MODEL
from hwnas.bench.footprint import ALONE, Footprint, footprints
from hwnas.bench.latency import Compared, compare_subnets
from hwnas.bench.static import prepare
from hwnas.bundle import Bundle
from hwnas.errors import BundleError
from hwnas.profile.fingerprint import Fingerprint, read_fingerprint
from hwnas.profile.interleave import Rounds
from hwnas.runtime.native import native_missing
from hwnas.runtime.switcher import largest_subnet

__all__ = ["Report", "compare_all"]


@dataclass(frozen=True)
class Report:
    """What ``hwnas bench`` found.

    Attributes:
        subnets: each subnet's comparison.
        footprints: by contender: memory, load time and bytes.
        switch_us: by contender, the call that makes a subnet current, from Python.
        largest: the subnet with the most weights; of several, the one with the largest inputs.
        missing: why the native chain was not measured; None if it was.
        finalised: the bundle is finalised for this machine.
        exported: statics are what ``--to onnx`` wrote, not joined from the bundle's segments.
        device: where; its affinity is what processes may use, one-threaded runs are pinned to
            the last of these cores.
        rounds: settings of the comparison.
    """

    subnets: dict[str, Compared]
    footprints: dict[str, Footprint]
    switch_us: dict[str, float]
    largest: str
    missing: str | None
    finalised: bool
    exported: bool
    device: Fingerprint
    rounds: Rounds

    @property
    def main(self) -> str:
        """The contender that a switcher is by default here: ``native`` or ``python``."""
        return "python" if self.missing is not None else "native"

    def memory_ratio(self, name: str) -> float | None:
        """PSS of contender ``name`` to the largest subnet alone by the same library."""
        one = self.footprints[name]
        alone = self.footprints[one.against]
        if not one.memory or not alone.memory:
            return None
        return one.memory / alone.memory

    def load_ratio(self, name: str) -> float:
        """Load time of contender ``name`` to a stock session of the largest subnet alone."""
        return self.footprints[name].load / self.footprints[ALONE].load

    def bytes_ratio(self, name: str) -> float:
        """Bytes of contender ``name`` to the largest subnet's static export."""
        return self.footprints[name].bytes / self.footprints[ALONE].bytes

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; what is not available here is null.

        Beside all that was found, the keys without a contender are those of :attr:`main`.
        """
        main = self.footprints[self.main]
        alone = self.footprints[main.against]
        return {
            "schema_version": 1,
            "hwnas": __version__,
            "device": self.device.model_dump(mode="json"),
            "contender": self.main,
            "native_missing": self.missing,
            "finalised": self.finalised,
            "exported": self.exported,
            "rounds": asdict(self.rounds),
            "subnets": {name: self._subnet(one) for name, one in self.subnets.items()},
            "largest": self.largest,
            "footprints": {name: self._footprint(name) for name in self.footprints},
            "switch_us": self.switch_us,
            "memory_bytes": main.memory,
            "memory_bytes_largest": alone.memory,
            "memory_ratio_to_largest": self.memory_ratio(self.main),
            "load_ms": main.load,
            "load_ratio_to_largest": self.load_ratio(self.main),
            "bytes": main.bytes,
            "bytes_largest": self.footprints[ALONE].bytes,
            "bytes_ratio_to_largest": self.bytes_ratio(self.main),
        }

    def _subnet(self, one: Compared) -> dict[str, Any]:
        main = one.contenders[self.main]
        return {
            "latency_ms": main.ms,
            "static_latency_ms": one.static_ms,
            "latency_ratio": main.ratio.value,
            "noise_ratio": one.noise.value,
            "max_abs_diff": main.max_abs_diff,
            "equal": main.equal,
            "switch_us": self.switch_us[self.main],
            "first_run_extra_us": main.first_run_extra_us,
            "static_first_run_extra_us": one.static_first_run_extra_us,
            "rounds": one.rounds,
            "disturbed": one.disturbed,
            "noise": asdict(one.noise),
            "contenders": {name: asdict(found) for name, found in one.contenders.items()},
        }

    def _footprint(self, name: str) -> dict[str, Any]:
        return {
            **asdict(self.footprints[name]),
            "memory_ratio": self.memory_ratio(name),
            "load_ratio": self.load_ratio(name),
            "bytes_ratio": self.bytes_ratio(name),
        }


def compare_all(
    path: str | Path,
    *,
    onnx: Path | None = None,
    onnx_switch: Path | None = None,
    threads: int = 1,
    rounds: Rounds | None = None,
    processes: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Compare every subnet of the bundle at ``path`` with its own static export.

    Args:
        path: a bundle of form ``subnets``.
        onnx: folder with each subnet's own export; without it they are joined from the bundle.
        onnx_switch: folder with the single-file model of the same subnets; without it that
            contender is left out.
        threads: of every run.
        rounds: how long to time.
        processes: fresh processes per contender in which memory and load time are measured.
        progress: called with (done, total, label).

    Raises:
        BundleError: a bundle or an export is missing, damaged, or of another network.
        HwnasError: a measuring process failed, or the disk is full.
    """
    bundle = Bundle.open(path, "subnets")
    if onnx_switch is not None and not (onnx_switch / MODEL).is_file():
        raise BundleError(
            f"{onnx_switch / MODEL} does not exist",
            "export the same subnets with 'hwnas export --to onnx-switch'",
        )
    rounds = rounds or Rounds()
    missing = native_missing()
    entries = bundle.manifest.subnets
    largest = largest_subnet(bundle.manifest)
    contenders = 3 + 3 * (missing is None) + (onnx_switch is not None)
    total = processes * contenders + rounds.replicates * len(entries)
    done = 0

    def advance(label: str) -> None:
        nonlocal done
        if progress is not None:
            progress(done, total, label)
        done += 1

    native = missing is None
    with prepare(bundle, onnx) as statics:
        # Memory first: its processes must not run beside the timing, nor share pages with it.
        found = footprints(
            bundle,
            statics,
            largest,
            native=native,
            switch=onnx_switch,
            threads=threads,
            processes=processes,
            progress=advance,
        )
        subnets, switch_us = compare_subnets(
            bundle,
            statics,
            native=native,
            switch=onnx_switch,
            threads=threads,
            rounds=rounds,
            progress=advance,
        )
    return Report(
        subnets=subnets,
        footprints=found,
        switch_us=switch_us,
        largest=largest,
        missing=missing,
        finalised=bundle.manifest.finalised is not None,
        exported=onnx is not None,
        device=_device(threads),
        rounds=rounds,
    )


def _device(threads: int) -> Fingerprint:
    from hwnas.runtime.ort import onnxruntime as ort  # by now it has been imported anyhow

    runtime = RuntimeInfo("onnxruntime", ort.__version__, "CPUExecutionProvider")
    return read_fingerprint(collect(runtime, Settings(threads=threads)))
