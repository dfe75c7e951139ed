"""``hwnas select``: the subnets that meet the budgets."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli.lut_tables import print_notes
from hwnas.cli.measuring import Device, device_options, measuring_bar, open_device, whole_jobs
from hwnas.cli.output import format_option, print_json, progress_bar, quote, verdict
from hwnas.cli.select_tables import print_explanation, print_plan
from hwnas.errors import HwnasError, OtherDevice, UsageError
from hwnas.files import refuse_overlap
from hwnas.profile import profile
from hwnas.select import (
    FRONT,
    METHODS,
    Budget,
    NothingFits,
    Settings,
    combine,
    default_cache,
    open_quality,
    parse_budget,
    parse_tier,
    select,
)
from hwnas.select.units import parse_quantity
from hwnas.space import Subnet
from hwnas.table import Cost, CostModel, Lut
from hwnas.table.cost import METRICS

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
@click.option("--max-energy", "energy", metavar="30mJ|50%", help="Budget on energy per inference.")
@click.option(
    "--max-macs", "arithmetic", metavar="300M|50%", help="Budget on multiply-accumulates."
)
@click.option(
    "--max-shipped-bytes",
    "shipped",
    metavar="64MB",
    help="Budget on the weights of all chosen subnets together, each byte counted once.",
)
@click.option("--min-quality", type=float, help="The least quality that a subnet may have.")
@click.option(
    "--minimize",
    type=click.Choice(METRICS),
    help="Metric that is to be least, instead of the quality the most. With --min-quality and no "
    "budgets: p50.",
)
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
    help="A CSV with the columns subnet and quality, a JSON object, additive scores, a predictor, "
    "or a function fn(subnet, bundle) whose results are kept; higher is better.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="auto: exact. exact: list every subnet, or solve where costs and qualities are sums over "
    "blocks. search: evaluate some, and prove nothing.",
)
@click.option(
    "--search",
    "strategy",
    type=click.Choice(["linas", "nsga2", "random"]),
    help="How to search.  [default: linas]",
)
@click.option(
    "--evaluations", type=click.IntRange(min=2), help="Subnets to evaluate.  [default: 500]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the search.  [default: 0]")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes that evaluate.  [default: 1]")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="File that keeps what a search evaluated: the same command goes on from it.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    help="Where to write the hypervolume after each evaluation: .csv, .json, .svg or .png.",
)
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=1),
    default=1,
    help="Subnets per tier: the best, and others spread over the latencies below its. With "
    "--max-shipped-bytes those with the greatest sum of qualities, each at most as slow as the one "
    "that it replaces.",
)
@click.option(
    "--front",
    "points",
    type=click.IntRange(min=0),
    default=FRONT,
    show_default=True,
    help="Points of the plan's front where subnets are solved for; each takes a solution.",
)
@click.option("--explain", "explaining", is_flag=True, help="Say what was bought with what.")
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
    energy: str | None,
    arithmetic: str | None,
    shipped: str | None,
    min_quality: float | None,
    minimize: str | None,
    tiers: tuple[str, ...],
    quality: str | None,
    method: str,
    strategy: str | None,
    evaluations: int | None,
    seed: int | None,
    jobs: int | None,
    state: Path | None,
    history: Path | None,
    count: int,
    points: int,
    explaining: bool,
    include: tuple[str, ...],
    measure: bool,
    target: str,
    profiler: str,
    path: Path,
    output: str,
) -> None:
    """Choose the subnets of BUNDLE that meet budgets, and prove it.

    A chain of nested prefixes needs no quality: the largest that fits is chosen. Any other space
    needs --quality; every subnet is then priced, and the best of those that fit is chosen. Where
    there are too many to list, the best is solved for if costs and qualities are sums over blocks
    (pip install 'hwnas[search]'). For other qualities there is --method search. Exit code 3 means
    that nothing fits; the nearest subnet and the budget that binds are named.
    """
    rating_file = Path(quality.rpartition(":")[0] or quality) if quality else None
    refuse_overlap(path, [bundle, table, rating_file, state, history])
    _refuse_written({"--state": state, "--history": history}, [bundle, table, rating_file])
    settings = _settings(method, strategy, evaluations, seed, jobs, state, history)
    limit = _shipped(shipped)
    source = Bundle.open(bundle, "space")
    common = _budgets(
        latency, {"memory": memory, "bytes": size, "energy": energy, "macs": arithmetic}
    )
    wanted = combine(map(parse_tier, tiers), common)
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
                    method=method,
                    search=settings,
                    minimize=minimize,
                    min_quality=min_quality,
                    max_shipped_bytes=limit,
                    front_points=points,
                    explaining=explaining,
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
    print_plan(plan, model)
    for explanation in plan.explanations:
        print_explanation(explanation, plan)
    print_notes(notes)
    verdict(f"{path}: {len(plan.subnets)} subnets for {len(plan.tiers)} tiers", following)


def _refuse_written(written: dict[str, Path | None], inputs: list[Path | None]) -> None:
    taken = list(inputs)
    for option, file in written.items():
        if file is not None:
            try:
                refuse_overlap(file, taken)
            except UsageError as error:
                raise UsageError(error.cause, f"name another file with {option}") from None
            taken.append(file)


def _budgets(latency: tuple[str, ...], others: dict[str, str | None]) -> list[Budget]:
    found = [budget for text in latency for budget in parse_budget(text, only=("p50", "p95"))]
    for metric, text in others.items():
        if text is not None:
            found += parse_budget(text if "=" in text else f"{metric}={text}", only=(metric,))
    return found


def _shipped(text: str | None) -> float | None:
    if text is None:
        return None
    value, share = parse_quantity("bytes", text.strip().removeprefix("bytes="))
    if share:
        raise UsageError(
            f"--max-shipped-bytes {text}: a share of what, is not said",
            "write it with a unit, such as 64MB",
        )
    return value


def _settings(
    method: str,
    strategy: str | None,
    evaluations: int | None,
    seed: int | None,
    jobs: int | None,
    state: Path | None,
    history: Path | None,
) -> Settings:
    given = {
        "strategy": strategy, "evaluations": evaluations, "seed": seed, "jobs": jobs,
        "state": state, "history": history,
    }  # fmt: skip
    asked = {name: value for name, value in given.items() if value is not None}
    if asked and method != "search":
        names = ", ".join("--search" if name == "strategy" else f"--{name}" for name in asked)
        raise UsageError(f"{names}: nothing is searched", "add --method search, or leave it out")
    return Settings(**asked)  # type: ignore[arg-type]


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
