"""The whole comparison of a bundle: every subnet, memory and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.bench.compare import Comparison, compare
from hwnas.bench.memory import Memory, memory_ratio
from hwnas.bundle import Bundle
from hwnas.link import whole
from hwnas.runtime import Switcher

__all__ = ["Report", "compare_all"]


@dataclass(frozen=True)
class Report:
    """What ``hwnas bench`` found.

    Attributes:
        subnets: each subnet's comparison.
        largest: the subnet with the most weights.
        memory: of all subnets and of the largest alone.
        bytes_all: of the bundle's files.
        bytes_largest: of the largest subnet's own ONNX file and weights.
    """

    subnets: dict[str, Comparison]
    largest: str
    memory: Memory
    bytes_all: int
    bytes_largest: int

    @property
    def bytes_ratio(self) -> float:
        """All over largest."""
        return self.bytes_all / self.bytes_largest

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; what is not available here is null."""
        return {
            "subnets": {name: asdict(found) for name, found in self.subnets.items()},
            "largest": self.largest,
            "memory_bytes": self.memory.all_bytes,
            "memory_bytes_largest": self.memory.largest_bytes,
            "memory_ratio_to_largest": self.memory.ratio,
            "bytes": self.bytes_all,
            "bytes_largest": self.bytes_largest,
            "bytes_ratio_to_largest": self.bytes_ratio,
        }


def compare_all(
    path: str | Path,
    *,
    onnx: Path | None = None,
    threads: int = 1,
    seconds: float = 5.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Compare every subnet of the bundle at ``path`` with its own static export.

    Args:
        path: a bundle of form ``subnets``.
        onnx: folder with each subnet's own export; without it they are linked from the bundle.
        threads: of every run.
        seconds: per subnet; see :func:`hwnas.bench.compare.compare`.
        progress: called with (done, total, label).
    """
    bundle = Bundle.open(path, "subnets")
    entries = bundle.manifest.subnets
    largest = max(entries, key=lambda name: entries[name].weight_bytes)
    # Memory first: its processes must not run beside the timing.
    memory = memory_ratio(bundle.path, largest, onnx, threads)
    subnets = {}
    with Switcher(path, threads=threads, verify=False) as switcher:
        for i, name in enumerate(entries):
            if progress is not None:
                progress(i, len(entries), name)
            subnets[name] = compare(
                bundle, switcher, name, onnx=onnx, threads=threads, seconds=seconds
            )
    return Report(
        subnets=subnets,
        largest=largest,
        memory=memory,
        bytes_all=sum(f.stat().st_size for f in bundle.path.rglob("*") if f.is_file()),
        bytes_largest=len(whole(bundle, largest).SerializeToString())
        + entries[largest].weight_bytes,
    )
