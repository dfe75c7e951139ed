"""Four networks as switchable bundles against static exports: ``make bench [NETS="t12 cnn"]``.

Each network of ``nets.py`` is compiled and exported three ways: a finalised bundle, plain ONNX
files, and the single-file model. ``hwnas bench`` then compares them, one thread, in a process of
its own. Prints its tables, and each goal with what was found; reports stay in ``build/bench``.
Exits with 1 if a goal is missed. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goals import GOALS, Verdict, judge

OUT = Path("build/bench")
NETS = Path(__file__).parent / "nets.py"


@dataclass(frozen=True)
class Net:
    """What is exported of a network, and how it is compared.

    Attributes:
        subnets: that are linked.
        further: that are only named: their programs run over the segments of the others.
        options: of ``hwnas bench``.
        cut: what that leaves out, to be said.
    """

    subnets: Sequence[str]
    further: Sequence[str] = ()
    options: Sequence[str] = ()
    cut: str = ""


def _stages(*depths: int) -> str:
    return "-".join(f"d{i}_{depth}" for i, depth in enumerate(depths))


RUNS = {
    "tiny": Net(("d1", "d2", "d3", "d4"), options=("--processes", "5")),
    "cnn": Net(
        tuple(_stages(*[depth] * 5) for depth in (2, 3, 4)),
        (_stages(2, 3, 4, 2, 3), _stages(4, 2, 2, 4, 2)),
    ),
    "t12": Net(("d3", "d6", "d9", "d12")),
    "t24": Net(
        ("d6", "d12", "d18", "d24"),
        options=("--seconds", "0", "--rounds", "5", "--replicates", "2", "--processes", "2"),
        cut="two replicates of five rounds, two processes for memory and load",
    ),
}


def hwnas(*words: str | Path) -> None:
    """Run one command; what it prints goes through.

    Raises:
        CalledProcessError: it failed.
    """
    print("$ hwnas", *words, flush=True)
    subprocess.run(["hwnas", *map(str, words)], check=True)


def run(name: str, net: Net) -> Path:
    """Make all artifacts of one network, compare them, and give the report's file."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    space, bundle, onnx, switch = (folder / part for part in ("space", "bundle", "onnx", "switch"))
    linked = [word for subnet in net.subnets for word in ("--subnet", subnet)]
    also = [word for subnet in net.further for word in ("--also", subnet)]
    named = [*linked, *(word for subnet in net.further for word in ("--subnet", subnet))]
    hwnas("compile", f"{NETS}:{name}", "-o", space)
    hwnas("export", space, *linked, *also, "--to", "bundle", "--finalise", "-o", bundle)
    hwnas("export", space, *named, "--to", "onnx", "-o", onnx)
    hwnas("export", space, *named, "--to", "onnx-switch", "-o", switch)
    report = OUT / f"{name}.json"
    against = ("--onnx", onnx, "--onnx-switch", switch)
    hwnas("bench", bundle, *against, *net.options, "--report", report)
    return report


def segments(name: str) -> dict[str, int]:
    """How many segments each subnet's program calls."""
    manifest = json.loads((OUT / name / "bundle" / "manifest.json").read_text())
    return {key: len(one["program"]["calls"]) for key, one in manifest["subnets"].items()}


def main(names: Sequence[str]) -> int:
    """Compare the networks ``names``, or all; 1 if a goal is missed."""
    unknown = set(names) - set(RUNS)
    if unknown:
        print(f"no such network: {', '.join(sorted(unknown))}; known: {', '.join(RUNS)}")
        return 2
    verdicts: list[Verdict] = []
    for name in names or RUNS:
        start = time.monotonic()
        print(f"\n== {name} ==", flush=True)
        report = json.loads(run(name, RUNS[name]).read_text())
        verdicts += judge(name, report, segments(name))
        cut = f"; cut short: {RUNS[name].cut}" if RUNS[name].cut else ""
        print(f"({time.monotonic() - start:.0f} s{cut})")
        shutil.rmtree(OUT / name)
    print("\n== goals (native chain against static sessions) ==")
    print(*verdicts, sep="\n")
    print("a switch allocates nothing: counted by the native tests, 'make test'")
    missed = sum(not verdict.met for verdict in verdicts)
    left = ", ".join(name for name in GOALS if name not in (names or RUNS))
    if left:
        print(f"not run: {left}")
    print(f"{len(verdicts) - missed} of {len(verdicts)} goals met; reports: {OUT}/*.json")
    return 1 if missed else 0


if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.exit(main(sys.argv[1:]))
