"""``hwnas bench``: each subnet against its own static export."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hwnas.bench import Report, Rounds, compare_all
from hwnas.cli.bench_tables import print_report
from hwnas.cli.output import format_option, print_json, progress_bar, verdict
from hwnas.files import atomic_file

__all__ = ["command"]

_DEFAULT = Rounds()


@click.command("bench")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=_DEFAULT.seconds,
    show_default=True,
    help="Time per subnet, shared by its replicates.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=_DEFAULT.fewest,
    show_default=True,
    help="Interleaved rounds that each replicate goes through at least, however long they take.",
)
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    default=_DEFAULT.replicates,
    show_default=True,
    help="How often all sessions are opened anew: where weights lie in memory moves a session's "
    "latency by about 1%.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Fresh processes in which each contender's memory and load time are measured.",
)
@click.option(
    "--onnx",
    type=click.Path(path_type=Path),
    help="The folder of 'hwnas export --to onnx' with the same subnets, to compare with; without "
    "it each subnet is joined from the bundle.",
)
@click.option(
    "--onnx-switch",
    type=click.Path(path_type=Path),
    help="The folder of 'hwnas export --to onnx-switch' with the same subnets: one more contender.",
)
@click.option(
    "--report",
    "path",
    type=click.Path(path_type=Path),
    help="Also write all that was found to this file, as JSON.",
)
@format_option
def command(
    bundle: Path,
    onnx: Path | None,
    onnx_switch: Path | None,
    threads: int,
    seconds: float,
    rounds: int,
    replicates: int,
    processes: int,
    path: Path | None,
    output: str,
) -> None:
    """Compare every subnet of BUNDLE with its own static export, interleaved in one run.

    The contenders are the native chain, the Python chain, one session per subnet and, if given,
    the single-file model. Prints the medians of the paired latency ratios with their 95% intervals
    beside that of two equal static sessions (the noise floor), whether outputs are equal bit for
    bit, what the first run after a switch takes longer; and, for the whole bundle, memory, load
    time and bytes over those of its largest subnet alone.
    """
    with progress_bar("comparing") as progress:
        report = compare_all(
            bundle,
            onnx=onnx,
            onnx_switch=onnx_switch,
            threads=threads,
            rounds=Rounds(seconds, replicates, rounds),
            processes=processes,
            progress=progress,
        )
    if path is not None:
        with atomic_file(path) as file:
            text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
            file.write_text(text + "\n", encoding="utf-8")
    if output == "json":
        print_json(report.to_dict())
        return
    print_report(report)
    verdict(_verdict(report))


def _verdict(report: Report) -> str:
    found = [one.contenders[report.main] for one in report.subnets.values()]
    worst = max(one.ratio.value for one in found)
    unequal = sum(not one.equal for one in found)
    outputs = f"{unequal} not bit-equal" if unequal else "all outputs bit-equal"
    return (
        f"{report.main} chain: worst latency ratio {worst:.3f} over {len(found)} subnets, {outputs}"
    )
