"""Serve the held-out digits from a switchable bundle, switching subnets at every image."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from data import heldout

from hwnas.errors import HwnasError
from hwnas.runtime import Switcher
from hwnas.select import Plan

__all__ = ["serve"]

ROUNDS = 5


def serve(switcher: Switcher) -> dict[str, tuple[float, float]]:
    """Accuracy (0 to 1) and median latency (ms) of each subnet, all served in turn."""
    images, labels = heldout()
    names = list(switcher.subnets)
    right = dict.fromkeys(names, 0)
    times: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        right = dict.fromkeys(names, 0)
        for image, label in zip(images, labels, strict=True):
            for name in names:
                switcher.current = name
                start = time.perf_counter_ns()
                logits = switcher.run({"image": image[None]})["logits"]
                times[name].append(time.perf_counter_ns() - start)
                right[name] += int(np.argmax(logits) == label)
    return {n: (right[n] / len(labels), float(np.median(times[n])) / 1e6) for n in names}


def main() -> None:
    """Print, for each subnet: accuracy, predicted and measured latency, bytes."""
    parser = argparse.ArgumentParser(description="Serve the held-out digits from a bundle.")
    parser.add_argument("bundle", type=Path, help="what 'hwnas export --to bundle' wrote")
    parser.add_argument("--plan", type=Path, required=True, help="what 'hwnas select' wrote")
    arguments = parser.parse_args()
    try:
        chosen = {entry.name: entry for entry in Plan.load(arguments.plan).subnets}
        with Switcher(arguments.bundle) as switcher:
            found = serve(switcher)
            entries = switcher.subnets
    except HwnasError as error:
        sys.exit(f"error: {error}")
    print(
        f"{'subnet':<12}{'tiers':<16}{'accuracy':>9}{'predicted ms':>14}{'measured ms':>13}"
        f"{'switching ms':>14}{'weight bytes':>14}"
    )
    for name, (accuracy, latency) in found.items():
        plan = chosen[name]
        measured = f"{plan.measured.p50_ms:.3f}" if plan.measured else "-"
        tiers = ", ".join(plan.tiers) or "included"
        print(
            f"{name:<12}{tiers:<16}{accuracy:>9.4f}{plan.predicted.p50_ms:>14.3f}"
            f"{measured:>13}{latency:>14.3f}{entries[name].weight_bytes:>14,}"
        )
    stored = sum(file.stat().st_size for file in arguments.bundle.rglob("*") if file.is_file())
    print(
        f"measured: the subnet whole, alone; switching: by the switcher, another subnet at every "
        f"image\n{len(found)} subnets, {stored:,} bytes on disk for all of them"
    )


if __name__ == "__main__":
    main()
