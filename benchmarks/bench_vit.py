"""ViT-S/16 with random weights: the switchable bundle against stock static sessions.

``make bench``: compiles the depth space (12 layers, width 384, 197 tokens), exports the depths 3,
6, 9 and 12 as a bundle and as ONNX files, and compares them in one run, one thread. Prints the
table of ``hwnas bench`` and each goal with what was found. Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUT = Path("build/bench")
DEPTHS = (3, 6, 9, 12)
GOALS = {
    "latency ratio, worst depth": 1.05,
    "memory of all depths / deepest alone": 1.10,
    "bundle bytes / full network's weights": 1.02,
    "compile, seconds": 60.0,
}


def hwnas(*words: str) -> str:
    """Run one command; its messages go through, its result is returned."""
    print("$ hwnas", *words, flush=True)
    return subprocess.run(["hwnas", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Run the comparison; 1 if a goal is missed."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    net, bundle = OUT / "vit.hwnas", OUT / "bundle"
    start = time.monotonic()
    compiled = json.loads(hwnas("compile", "vit:s16", "-o", str(net), "--format", "json"))
    seconds = time.monotonic() - start
    subnets = [word for depth in DEPTHS for word in ("--subnet", f"d{depth}")]
    print(hwnas("export", str(net), *subnets, "--to", "onnx", "-o", str(OUT / "onnx")), end="")
    print(
        hwnas("export", str(net), *subnets, "--to", "bundle", "-o", str(bundle), "--verify"), end=""
    )
    arguments = ["bench", str(bundle), "--onnx", str(OUT / "onnx"), "--seconds", "20"]
    report = json.loads(hwnas(*arguments, "--format", "json"))
    (OUT / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    _print_report(report)
    found = {
        "latency ratio, worst depth": max(s["latency_ratio"] for s in report["subnets"].values()),
        "memory of all depths / deepest alone": report["memory_ratio_to_largest"],
        "bundle bytes / full network's weights": report["bytes"] / compiled["bytes_stored"],
        "compile, seconds": seconds,
    }
    missed = 0
    for name, goal in GOALS.items():
        value = found[name]
        met = value is not None and value <= goal
        missed += not met
        shown = "not available here" if value is None else f"{value:.3f}"
        print(f"{'met ' if met else 'MISSED'} {name}: {shown} (goal: at most {goal})")
    return 1 if missed else 0


def _print_report(report: dict[str, Any]) -> None:
    columns = ["latency_ms", "static_latency_ms", "latency_ratio", "noise_ratio", "noise_spread"]
    columns += ["max_abs_diff", "switch_us", "first_run_extra_us"]
    print("subnet", *columns, sep="  ")
    for name, row in report["subnets"].items():
        print(f"{name:6}", *(f"{row[c]:>{len(c)}.4g}" for c in columns), sep="  ")
    for key, value in report.items():
        if key != "subnets":
            print(f"{key}: {value}")


if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.exit(main())
