"""``hwnas bench``: each subnet against its own monolithic export."""

from __future__ import annotations

from pathlib import Path

import click

from hwnas.bench import compare_all
from hwnas.cli.output import (
    format_option,
    human_bytes,
    print_json,
    print_table,
    progress_bar,
    verdict,
)

__all__ = ["command"]


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Time per subnet, after at least 20 interleaved rounds.",
)
@click.option(
    "--onnx",
    type=click.Path(path_type=Path),
    help="The folder of 'hwnas export --to onnx' with the same subnets, to compare with; without "
    "it each subnet is linked from the bundle.",
)
@format_option
def command(bundle: Path, onnx: Path | None, threads: int, seconds: float, output: str) -> None:
    """Compare every subnet of BUNDLE with its own static export, interleaved in one run.

    Prints the latency of both, the median of the paired ratios, the same ratio of two equal
    static sessions (the noise floor), the largest difference of the outputs and what a switch
    costs; and, for the whole bundle, memory and bytes over those of its largest subnet alone.
    """
    with progress_bar("comparing") as progress:
        report = compare_all(bundle, onnx=onnx, threads=threads, seconds=seconds, progress=progress)
    if output == "json":
        print_json(report.to_dict())
        return
    rows = [
        [
            name,
            f"{found.latency_ms:.3f}",
            f"{found.static_latency_ms:.3f}",
            f"{found.latency_ratio:.3f}",
            f"{found.noise_ratio:.3f} +- {found.noise_spread:.3f}",
            f"{found.max_abs_diff:.2g}",
            f"{found.switch_us:.2f}",
            f"{found.first_run_extra_us:+.0f}",
        ]
        for name, found in report.subnets.items()
    ]
    columns = ["subnet", "ms", "static ms", "ratio", "noise floor", "max diff"]
    print_table([*columns, "switch us", "first run us"], rows)
    memory = report.memory
    if memory.ratio is None:
        click.echo("memory: not available here (no /proc/self/smaps_rollup)")
    else:
        click.echo(
            f"memory: {human_bytes(memory.all_bytes or 0)} for all, "
            f"{human_bytes(memory.largest_bytes or 0)} for {report.largest} alone: "
            f"{memory.ratio:.3f}"
        )
    click.echo(
        f"bytes: {human_bytes(report.bytes_all)} for all, "
        f"{human_bytes(report.bytes_largest)} for {report.largest} alone: {report.bytes_ratio:.3f}"
    )
    worst = max(report.subnets.values(), key=lambda found: found.latency_ratio)
    verdict(f"worst latency ratio {worst.latency_ratio:.3f} over {len(report.subnets)} subnets")
