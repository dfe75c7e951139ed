"""The process in which memory is measured: ``BUNDLE THREADS [SUBNET ONNX]``; else all subnets."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from hwnas.bench.compare import static_session
from hwnas.bundle import Bundle
from hwnas.profile.memory import pss_bytes
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs

__all__ = ["main"]

_RUNS = 3


def main(path: str, threads: int, alone: str = "", onnx: str = "") -> int | None:
    """PSS in bytes that running one subnet alone, or all by the switcher, adds to this process."""
    gc.collect()
    before = pss_bytes()
    bundle = Bundle.open(path, "subnets")
    feeds = random_inputs(bundle.manifest.inputs, 0)
    if alone:
        session = static_session(bundle, alone, threads, Path(onnx) if onnx else None)
        for _ in range(_RUNS):
            session.run(None, feeds)
    else:
        switcher = Switcher(path, threads=threads)
        for name in list(switcher.subnets) * _RUNS:
            switcher.run(feeds, subnet=name)
    gc.collect()
    after = pss_bytes()
    return None if before is None or after is None else after - before


if __name__ == "__main__":
    found = main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
    print("unknown" if found is None else found)
