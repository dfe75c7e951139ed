"""``hwnas profile``: measure a bundle's blocks into a lookup table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli.measuring import (
    device_options,
    measuring_bar,
    open_device,
    parse_affinity,
    whole_jobs,
)
from hwnas.cli.output import format_option, human_bytes, print_json, print_table, quote, verdict
from hwnas.files import refuse_overlap
from hwnas.profile import Settings, block_jobs, profile
from hwnas.table import CostModel, Lut

__all__ = ["command"]


@click.command("profile")
@click.argument("bundle", type=click.Path(path_type=Path))
@device_options
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    default=Path("lut.db"),
    show_default=True,
    help="The lookup table to write.",
)
@click.option("--resume", is_flag=True, help="Go on with a table that is there.")
@click.option("--retry-failed", is_flag=True, help="With --resume: try failed kinds again.")
@click.option(
    "--subnet",
    "names",
    multiple=True,
    default=("max", "min"),
    show_default=True,
    help="Measure this subnet whole, to calibrate predictions; may be given again.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--affinity",
    default="auto",
    show_default=True,
    help="Cores to pin to, as in 0,1; auto takes the last ones, one per thread; none pins not.",
)
@click.option("--provider", default="", help="Execution provider; by default the profiler's own.")
@click.option(
    "--ci",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Stop when the 95% confidence interval of the median is narrower than this, in percent.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds after which a measurement is killed and recorded as failed.",
)
@format_option
def command(
    bundle: Path,
    target: str,
    profiler: str,
    path: Path,
    resume: bool,
    retry_failed: bool,
    names: tuple[str, ...],
    threads: int,
    affinity: str,
    provider: str,
    ci: float,
    time_limit: float,
    output: str,
) -> None:
    """Measure every kind of block of BUNDLE on a target, and some subnets whole.

    Each measurement runs in a process of its own, which is killed at the time limit. Raw samples
    are written as they come; a run that is cut off goes on with --resume. A kind that fails is a
    row with its error.
    """
    refuse_overlap(path, [bundle])
    source = Bundle.open(bundle, "space")
    subnets = {s.name: s for s in (source.manifest.space.find(name) for name in names)}
    device = open_device(target, profiler)
    settings = Settings(
        threads=threads, provider=provider, relative_ci=ci / 100, time_limit_s=time_limit
    )
    settings = replace(settings, affinity=parse_affinity(affinity, settings, device.target))
    fingerprint = device.target.fingerprint(device.profiler, settings)
    # A run that was cut off before its first row left no table; --resume then begins one.
    again = resume and path.exists()
    opened = (Lut.resume if again else Lut.create)(path, fingerprint, settings)
    with opened as lut:
        if retry_failed:
            lut.clear_failures()
        jobs = [*block_jobs(source), *whole_jobs(source, subnets.values())]
        try:
            with measuring_bar() as progress:
                done = profile(jobs, lut, device.target, device.profiler, settings, progress)
        except KeyboardInterrupt:
            following = quote("hwnas", "profile", bundle, "-o", path, "--resume")
            click.echo(f"interrupted; what was measured is kept. Go on: {following}", err=True)
            raise
        keys = {(job.key, job.scope) for job in jobs}
        failures = [f for f in lut.failures() if (f.key, f.scope) in keys]
        unpriced = [f for f in failures if f.scope == "block"]
        found = {
            "path": str(path),
            "device": fingerprint.summary(),
            "measured": done.measured,
            "skipped": done.skipped,
            "failed": [{"label": f.label, "kind": f.key, "error": f.error} for f in failures],
            "kinds": _kinds(source, lut),
            "model": None if unpriced else CostModel(source, lut).describe(),
        }
    words: list[str | Path] = ["hwnas", "select", bundle, "--lut", path]
    words += ["--max-latency", "p50=50%"]
    if (target, profiler) != ("cpu", "onnxruntime"):
        words += ["--target", target, "--profiler", profiler]
    following = quote(*words, "-o", "plan.json")
    if output == "json":
        print_json({**found, "next": following})
    else:
        _print(found, following)
    if failures:
        raise click.exceptions.Exit(1)


def _kinds(source: Bundle, lut: Lut) -> list[dict[str, Any]]:
    blocks = source.manifest.blocks.values()
    kinds: list[dict[str, Any]] = []
    for kind, unit in source.kinds().items():
        measured = lut.measurement(kind, "block")
        if measured is None:
            continue
        kinds.append(
            {
                "block": unit,
                "kind": kind,
                "blocks": sum(block.kind == kind for block in blocks),
                "p50_ms": measured.p50_ms,
                "p95_ms": measured.p95_ms,
                "p50_interval_ms": measured.statistics.p50_interval_ms,
                "runs": len(measured.ns),
                "stopped_by": measured.stopped_by,
                "memory_bytes": _sum(measured.load_bytes, measured.run_bytes),
            }
        )
    return kinds


def _half_width(interval: tuple[float, float], median: float) -> str:
    return f"{100 * (interval[1] - interval[0]) / 2 / median:.1f}%"


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def _print(found: dict[str, Any], following: str) -> None:
    click.echo(f"device: {found['device']}")
    rows = []
    for kind in found["kinds"]:
        interval, memory = kind["p50_interval_ms"], kind["memory_bytes"]
        rows.append(
            [
                kind["block"],
                kind["blocks"],
                f"{kind['p50_ms']:.4f}",
                "-" if interval is None else _half_width(interval, kind["p50_ms"]),
                f"{kind['p95_ms']:.4f}",
                "-" if memory is None else human_bytes(memory),
                kind["runs"],
                kind["stopped_by"],
            ]
        )
    columns = ["kind (first block)", "blocks", "p50 ms", "+-", "p95 ms", "memory", "runs"]
    print_table([*columns, "stopped by"], rows)
    for line in found["model"] or ():
        click.echo(f"model of {line}")
    failed = found["failed"]
    for failure in failed:
        click.echo(f"failed: {failure['label']}: {failure['error']}")
    done = f"{found['measured']} measured, {found['skipped']} done before, {len(failed)} failed"
    if found["model"] is None:
        verdict(f"{found['path']}: {done}; what has failed cannot be priced")
    else:
        verdict(f"{found['path']}: {done}", following)
