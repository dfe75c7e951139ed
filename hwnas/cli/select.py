"""``hwnas select``: the subnets that meet the budgets."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli.lut_tables import print_notes
from hwnas.cli.measuring import Device, device_options, measuring_bar, open_device, whole_jobs
from hwnas.cli.output import (
    format_option,
    human_bytes,
    print_json,
    print_table,
    progress_bar,
    quote,
    verdict,
)
from hwnas.errors import HwnasError, OtherDevice
from hwnas.files import refuse_overlap
from hwnas.profile import profile
from hwnas.select import (
    Budget,
    NothingFits,
    Plan,
    combine,
    default_cache,
    open_quality,
    parse_budget,
    parse_tier,
    select,
)
from hwnas.space import Subnet
from hwnas.table import Cost, CostModel, Lut

__all__ = ["command"]


@click.command("select")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--lut", "table", type=click.Path(path_type=Path), required=True, help="The lookup table."
)
@click.option(
    "--max-latency",
    "latency",
    multiple=True,
    metavar="p50=8ms|p95=10ms|p50=50%",
    help="Budget on latency; a percentage is of the largest subnet's. May be given again.",
)
@click.option("--max-memory", "memory", metavar="200MB|50%", help="Budget on peak memory.")
@click.option("--max-bytes", "size", metavar="64MB|50%", help="Budget on the weights' bytes.")
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="NAME:BUDGETS",
    help="A named set of budgets, as in half:p50=50%,memory=100MB; 'full:' has none. May be given "
    "again: each tier gets the best subnet that meets its budgets and those above.",
)
@click.option(
    "--quality",
    metavar="FILE|module:fn",
    help="A CSV with the columns subnet and quality, a JSON object, or a function "
    "fn(subnet, bundle) whose results are kept; higher is better.",
)
@click.option("-n", "count", type=click.IntRange(min=1), default=1, help="Subnets per tier.")
@click.option("--include", multiple=True, metavar="NAME", help="Ship this one whatever it costs.")
@click.option(
    "--measure/--no-measure",
    default=True,
    show_default=True,
    help="Measure what is chosen whole on the table's device, and choose again if it does not fit.",
)
@device_options
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="The plan."
)
@format_option
def command(
    bundle: Path,
    table: Path,
    latency: tuple[str, ...],
    memory: str | None,
    size: str | None,
    tiers: tuple[str, ...],
    quality: str | None,
    count: int,
    include: tuple[str, ...],
    measure: bool,
    target: str,
    profiler: str,
    path: Path,
    output: str,
) -> None:
    """Choose the subnets of BUNDLE that meet budgets, and prove it.

    A chain of nested prefixes needs no quality: the largest that fits is chosen. Any other space
    needs --quality; every subnet is then priced, and the best of those that fit is chosen.
    Exit code 3 means that nothing fits; the nearest subnet and the budget that binds are named.
    """
    rating_file = Path(quality.rpartition(":")[0] or quality) if quality else None
    refuse_overlap(path, [bundle, table, rating_file])
    source = Bundle.open(bundle, "space")
    wanted = combine(map(parse_tier, tiers), _budgets(latency, memory, size))
    rating = None
    if quality is not None:
        rating = open_quality(quality, source, default_cache(source))
    try:
        with ExitStack() as stack:
            device = stack.enter_context(open_device(target, profiler)) if measure else None
            lut = stack.enter_context(_open(table, device))
            costs = CostModel(source, lut)
            with progress_bar("selecting") as progress:
                plan = select(
                    source,
                    costs,
                    wanted,
                    rating,
                    count=count,
                    measure=_measure(source, lut, costs, device) if device else None,
                    include=include,
                    fingerprint=lut.fingerprint.model_dump(mode="json"),
                    progress=lambda stage, done, total: progress(done, total, stage),
                )
            model, notes = costs.describe(), costs.notes()
    except NothingFits as error:
        if output == "json":
            print_json({"infeasible": error.shortfall.model_dump(mode="json")})
        raise
    plan.save(path)
    following = quote("hwnas", "export", bundle, "--plan", path, "--to", "bundle", "-o", "out")
    if output == "json":
        print_json(
            {**plan.model_dump(mode="json"), "model": model, "notes": notes, "next": following}
        )
        return
    _print(plan, model)
    print_notes(notes)
    verdict(f"{path}: {len(plan.subnets)} subnets for {len(plan.tiers)} tiers", following)


def _budgets(latency: tuple[str, ...], memory: str | None, size: str | None) -> list[Budget]:
    found = [budget for text in latency for budget in parse_budget(text, only=("p50", "p95"))]
    for metric, text in (("memory", memory), ("bytes", size)):
        if text is not None:
            found += parse_budget(text if "=" in text else f"{metric}={text}", only=(metric,))
    return found


def _open(table: Path, device: Device | None) -> Lut:
    if device is None:
        return Lut.open(table)
    with Lut.open(table) as lut:
        settings = lut.settings
    fingerprint = device.target.fingerprint(device.profiler.name, settings)
    try:
        return Lut.resume(table, fingerprint, settings)
    except OtherDevice as error:
        raise OtherDevice(
            error.cause,
            "select on that device, or from predictions alone: --no-measure",
        ) from error


def _measure(source: Bundle, lut: Lut, costs: CostModel, device: Device) -> Any:
    settings = lut.settings

    def measure(subnet: Subnet) -> Cost:
        jobs = whole_jobs(source, [subnet])
        with measuring_bar() as progress, device.held():
            done = profile(jobs, lut, device.target, device.profiler, settings, progress)
        cost = costs.measured(subnet)
        if cost is None:
            why = done.failures[0].error if done.failures else "it failed before"
            raise HwnasError(
                f"subnet {subnet.name} cannot be measured: {why}",
                "mend that, or select from predictions alone: --no-measure",
            )
        return cost

    return measure


def _print(plan: Plan, model: list[str]) -> None:
    rows = []
    for chosen in plan.subnets:
        cost = chosen.measured or chosen.predicted
        rows.append(
            [
                chosen.name,
                ", ".join(chosen.tiers) or "included",
                "-" if chosen.quality is None else f"{chosen.quality:.4f}",
                f"{chosen.predicted.p50_ms:.3f}",
                "-" if chosen.measured is None else f"{chosen.measured.p50_ms:.3f}",
                "-" if chosen.measured is None else f"{chosen.measured.p95_ms:.3f}",
                "-" if cost.memory_bytes is None else human_bytes(cost.memory_bytes),
                human_bytes(cost.weight_bytes),
            ]
        )
    columns = ["subnet", "tiers", "quality", "predicted p50 ms", "measured p50 ms"]
    print_table([*columns, "measured p95 ms", "memory", "weights"], rows)
    for line in model:
        click.echo(f"model of {line}")
    if plan.quality_source:
        click.echo(f"quality: {plan.quality_source}")
    for tier in plan.tiers:
        limits = ", ".join(map(str, tier.limits)) or "no budget"
        click.echo(f"{tier.name} ({limits}): {tier.subnet}; {tier.proof}")
