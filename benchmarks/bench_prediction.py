"""Predicted against measured latency of whole subnets: ``make bench-prediction [SPACES="vit"]``.

For each space of ``spaces.py``: its blocks and 10 whole subnets that the tool chooses go into a
table by the tool's own protocol; 60 other subnets are predicted from it, and measured whole in
sessions of their own. Beside it: the plain sum of blocks, and a fixed protocol (10 warm-ups, mean
of 100 runs, one kind after the other) with and without the same calibration. Prints a table, and
each goal with what was found; reports stay in ``build/bench``. Exits with 1 if a goal is missed.
Nothing else should run meanwhile: where cores are shared, the other core's work shows.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import accuracy, as_dict, judge, judge_coverage, noise_floor, table
from goals import Verdict
from truth import REPLICATES, Fixed, draw, fixed_protocol, footprints, replicate

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, ProfileError
from hwnas.link import whole
from hwnas.profile import Job, Settings, block_jobs, load_profiler, load_target, profile, subnet_job
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.package import Package
from hwnas.profile.record import OpenJob, Record, Scope, Turn
from hwnas.space import Subnet
from hwnas.table import CostModel, Lut
from hwnas.table.calibrate import choose

OUT = Path("build/bench")
SPACES = Path(__file__).parent / "spaces.py"
NETS = ("vit", "mobilenet")
SUBNETS = 60
CALIBRATIONS = 10
SEED = 0
FOOTPRINTS = 12
"""Subnets whose memory is measured, each in a process of its own."""


class Metered:
    """A table that adds up what was run to fill it; see :class:`hwnas.profile.run.Sink`.

    Attributes:
        seconds: of timed, cold and warm-up runs, by scope.
        runs: their number.
    """

    def __init__(self, lut: Lut) -> None:
        self._lut = lut
        self.seconds: dict[Scope, float] = {"block": 0.0, "subnet": 0.0}
        self.runs = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the table's device."""
        return self._lut.fingerprint

    def done(self, key: str, scope: Scope) -> bool:
        """Whether the table has it."""
        return self._lut.done(key, scope)

    def record(self, record: Record) -> None:
        """Store, and count; the time of the warm-up's runs is told from the timed ones."""
        self._lut.record(record)
        timed = [ns for turn in record.turns for ns in turn.ns]
        cold = [turn.cold for turn in record.turns if turn.cold is not None]
        warmup = record.warmup_runs * float(np.median(timed))
        self.seconds[record.scope] += (sum(timed) + sum(cold) + warmup) / 1e9
        self.runs += len(timed) + len(cold) + record.warmup_runs

    def fail(self, key: str, scope: Scope, label: str, error: str) -> None:
        """Nothing may fail here."""
        raise RuntimeError(f"{scope} {label}: {error}")

    def open_job(self, package: Package, target: str) -> None:
        """Note it."""
        self._lut.open_job(package, target)

    def open_jobs(self) -> list[OpenJob]:
        """Those noted."""
        return self._lut.open_jobs()

    def close_job(self, job_id: str) -> None:
        """Note it."""
        self._lut.close_job(job_id)


def whole_jobs(bundle: Bundle, subnets: Sequence[Subnet]) -> list[Job]:
    """One job per subnet, as one graph."""
    return [subnet_job(bundle, one, whole(bundle, one).SerializeToString()) for one in subnets]


def drawn(bundle: Bundle, exclude: Sequence[Subnet]) -> list[Subnet]:
    """The subnets that are predicted and measured: none of ``exclude``, each once."""
    rng = random.Random(SEED)
    taken = {one.spec for one in exclude}
    found: list[Subnet] = []
    while len(found) < SUBNETS:
        one = draw(bundle.manifest.space, rng)
        if one.spec not in taken:
            taken.add(one.spec)
            found.append(one)
    return found


def fixed_table(path: Path, like: Lut, found: Fixed, jobs: Sequence[Job]) -> Lut:
    """A table that holds what the fixed protocol gave, one mean per job."""
    lut = Lut.create(path, like.fingerprint, Settings())
    for job in jobs:
        turn = Turn(1, 0, None, (round(found.mean_ns[job.key]),), 0, 0, None)
        lut.record(
            Record(
                key=job.key,
                scope=job.scope,
                label=job.label,
                stopped_by="max_rounds",
                verdict="ok",
                reasons=(),
                load_bytes=None,
                run_bytes=None,
                error=None,
                outputs_ok=None,
                warmup_runs=0,
                warmup_stopped_by="max_runs",
                turns=(turn,),
                rounds=(),
                energy=None,
            )
        )
    return lut


def plain_sums(bundle: Bundle, lut: Lut, subnets: Sequence[Subnet]) -> list[float]:
    """Medians of blocks, summed, in ms."""
    medians = {}
    for unit, block in bundle.manifest.blocks.items():
        found = lut.measurement(block.kind, "block")
        assert found is not None, f"{unit} was not measured"
        medians[unit] = found.p50_ms
    return [sum(medians[unit] for unit in one.blocks) for one in subnets]


def run(net: str) -> dict[str, Any]:
    """Compare on one space; the report."""
    folder = OUT / f"prediction-{net}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = ["hwnas", "compile", f"{SPACES}:{net}", "-o", str(folder / "space")]
    print("$", *command, flush=True)
    subprocess.run(command, check=True)
    bundle = Bundle.open(folder / "space", "space", verify=False)

    calibrations = choose(bundle, CALIBRATIONS, SEED)
    subnets = drawn(bundle, calibrations)
    tested = whole_jobs(bundle, subnets)
    blocks, wholes = block_jobs(bundle), whole_jobs(bundle, calibrations)

    # Half of the truth before and half of it after, so that a machine that slowly gets faster or
    # slower is not taken for a model that is off.
    truths = [replicate(tested, seed) for seed in range(REPLICATES // 2)]
    target, profiler = load_target("cpu"), load_profiler("onnxruntime")
    settings = Settings(affinity=target.cores()[-1:])
    fingerprint = target.fingerprint(profiler.name, settings)
    start = time.monotonic()
    lut = Lut.create(folder / "lut.db", fingerprint, settings)
    metered = Metered(lut)
    summary = profile([*blocks, *wholes], metered, target, profiler, settings)
    wall = time.monotonic() - start
    if summary.invalid:
        first = summary.invalid[0]
        raise ProfileError(
            f"{len(summary.invalid)} measurements are invalid, such as {first.label}: "
            f"{first.reasons[0]}",
            "let nothing else run meanwhile",
        )
    fixed = fixed_protocol([*blocks, *wholes])
    truths += [replicate(tested, seed) for seed in range(REPLICATES // 2, REPLICATES)]

    found = np.array(truths)
    truth = found.mean(axis=0)
    noise = noise_floor(found[0::2].mean(axis=0), found[1::2].mean(axis=0))
    apart = noise_floor(found[0], found[1])
    model = CostModel(bundle, lut, subnets)
    sums = plain_sums(bundle, lut, subnets)
    costs = model.predict_many(subnets)
    intervals = [cost.p50_prediction_ms for cost in costs]
    held = [one for one in intervals if one is not None]
    mean_lut = fixed_table(folder / "fixed.db", lut, fixed, [*blocks, *wholes])
    fixed_sums = plain_sums(bundle, mean_lut, subnets)
    fixed_costs = CostModel(bundle, mean_lut, subnets).predict_many(subnets)
    alone = sum(fixed.seconds[job.key] for job in blocks)
    own = sum(metered.seconds.values())
    together = sum(fixed.seconds.values())
    predicted, fixed_predicted = ([one.p50_ms for one in found] for found in (costs, fixed_costs))
    rows = {
        "model": (accuracy(predicted, truth, held or None), own, wall),
        "sum of blocks": (accuracy(sums, truth), metered.seconds["block"], None),
        "fixed, sum": (accuracy(fixed_sums, truth), alone, None),
        "fixed, calibrated": (accuracy(fixed_predicted, truth), together, fixed.wall_s),
    }
    print(
        f"{len(bundle.kinds())} kinds, {CALIBRATIONS} calibrations, {len(subnets)} subnets of "
        f"{truth.min():.1f} to {truth.max():.1f} ms, {REPLICATES} sessions of each"
    )
    print(*table(rows), sep="\n")
    print(*model.describe(), sep="\n")
    print(
        f"noise floor: two sessions of a subnet differ by {apart.median:.2%} (median) and "
        f"{apart.p95:.2%} (95th percentile); two halves of the truth by {noise.median:.2%}, "
        f"tau {noise.tau:.3f}"
    )
    held_bytes = np.array(footprints(tested[:FOOTPRINTS]))
    believed = np.array([one.memory_bytes for one in costs[:FOOTPRINTS]])
    memory = np.abs(believed / held_bytes - 1)
    print(
        f"memory: PSS of {FOOTPRINTS} subnets, each in a process of its own, "
        f"{held_bytes.min() / 1e6:.0f} to {held_bytes.max() / 1e6:.0f} MB, predicted within "
        f"{memory.mean():.1%} on average, {memory.max():.1%} at most"
    )
    lut.close()
    mean_lut.close()
    shutil.rmtree(folder)
    return {
        "schema_version": 1,
        "net": net,
        "device": fingerprint.model_dump(mode="json"),
        "kinds": len(bundle.kinds()),
        "calibrations": CALIBRATIONS,
        "subnets": len(subnets),
        "methods": {name: as_dict(*row) for name, row in rows.items()},
        "memory_mape": float(memory.mean()),
        "noise": asdict(noise),
        "noise_of_sessions": asdict(apart),
        "model": model.describe(),
        "runs": metered.runs,
        "rows": list(_rows(subnets, costs, truth.tolist(), sums)),
    }


def _rows(
    subnets: Sequence[Subnet], costs: Sequence[Any], truth: Sequence[float], sums: Sequence[float]
) -> Iterator[dict[str, Any]]:
    for subnet, cost, measured, total in zip(subnets, costs, truth, sums, strict=True):
        yield {
            "subnet": subnet.spec,
            "measured_ms": measured,
            "predicted_ms": cost.p50_ms,
            "interval_ms": cost.p50_prediction_ms,
            "sum_ms": total,
        }


def main(names: Sequence[str]) -> int:
    """Compare on the spaces ``names``, or all; 1 if a goal is missed."""
    unknown = set(names) - set(NETS)
    if unknown:
        print(f"no such space: {', '.join(sorted(unknown))}; known: {', '.join(NETS)}")
        return 2
    reports: dict[str, dict[str, Any]] = {}
    for net in names or NETS:
        start = time.monotonic()
        print(f"\n== {net} ==", flush=True)
        try:
            reports[net] = run(net)
        except HwnasError as error:  # such as measurements that other work has made invalid
            print(f"error: {net}: {error}")
            return 1
        (OUT / f"prediction-{net}.json").write_text(json.dumps(reports[net], indent=1))
        print(f"({time.monotonic() - start:.0f} s)", flush=True)
    verdicts: list[Verdict] = [one for net, report in reports.items() for one in judge(net, report)]
    verdicts.append(judge_coverage(reports))
    print("\n== goals (predicted against measured whole subnets) ==")
    print(*verdicts, sep="\n")
    missed = sum(not verdict.met for verdict in verdicts)
    print(
        f"{len(verdicts) - missed} of {len(verdicts)} goals met; reports: {OUT}/prediction-*.json"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.exit(main(sys.argv[1:]))
