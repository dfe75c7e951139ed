"""``hwnas quality``: evaluate subnets, and make qualities of what came out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import click
import numpy as np

from hwnas.bundle import Bundle
from hwnas.cli.output import (
    format_option,
    print_json,
    print_table,
    progress_bar,
    quote,
    verdict,
)
from hwnas.files import refuse_overlap
from hwnas.select.quality import (
    MODELS,
    AdditiveScores,
    Agreement,
    Perturbations,
    Predictor,
    QualityFunction,
    QualityTable,
    agreement,
    default_cache,
    fit_predictor,
    sample_subnets,
    worker_pool,
    write_scores,
    write_table,
)
from hwnas.space import Subnet

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_bundle = click.argument("bundle", type=_PATH)
_function = click.option(
    "--with",
    "function",
    metavar="module:fn",
    required=True,
    help="What evaluates: fn(subnet, bundle) -> float, higher being better. Its results are kept "
    "beside the bundle, so that the command goes on where it was interrupted.",
)
_jobs = click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
)
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Of what is random.")


@click.group("quality")
def command() -> None:
    """Evaluate subnets, and make a quality of what came out."""


@command.command("sample")
@_bundle
@_function
@click.option(
    "-n", "count", type=click.IntRange(min=2), default=300, show_default=True, help="Subnets."
)
@_seed
@_jobs
@click.option("-o", "--output", "path", type=_PATH, required=True, help="The table, as CSV.")
@format_option
def sample(
    bundle: Path, function: str, count: int, seed: int, jobs: int, path: Path, output: str
) -> None:
    """Evaluate random subnets of BUNDLE: the largest, the smallest, and others."""
    _refuse_overlap(path, bundle, function)
    source = Bundle.open(bundle, "space")
    quality = QualityFunction.load(function, source, default_cache(source))
    subnets = sample_subnets(source.manifest.space, count, seed)
    found = _evaluate(quality, subnets, jobs)
    write_table(path, {s.spec: value for s, value in zip(subnets, found, strict=True)})
    following = quote("hwnas", "quality", "fit", bundle, path, "-o", "predictor.json")
    if output == "json":
        print_json(
            {
                "table": str(path),
                "subnets": len(subnets),
                "least": min(found),
                "greatest": max(found),
                "largest": found[0],
                "smallest": found[min(1, len(found) - 1)],
                "next": following,
            }
        )
        return
    verdict(
        f"{path}: {len(subnets)} subnets, quality {min(found):.6g} to {max(found):.6g}, "
        f"the largest {found[0]:.6g}",
        following,
    )


@command.command("fit")
@_bundle
@click.argument("table", type=_PATH)
@click.option(
    "--model",
    type=click.Choice(["auto", *MODELS]),
    default="auto",
    show_default=True,
    help="auto takes ridge, a sum over blocks with which selection is exact, unless svr is better "
    "by more than one standard error.",
)
@_seed
@click.option("-o", "--output", "path", type=_PATH, required=True, help="The predictor.")
@format_option
def fit(
    bundle: Path,
    table: Path,
    model: Literal["auto", "ridge", "svr"],
    seed: int,
    path: Path,
    output: str,
) -> None:
    """Fit a predictor to subnets of BUNDLE that TABLE has the quality of.

    Its error is shown: by cross-validation, on subnets that it was not fitted to, against always
    predicting the mean.
    """
    refuse_overlap(path, [bundle, table])
    source = Bundle.open(bundle, "space")
    rows = QualityTable.read(table, source.manifest.space)
    predictor = fit_predictor(source, rows, table.name, model, seed)
    predictor.save(path)
    following = _select(bundle, path)
    if output == "json":
        print_json({**predictor.model_dump(mode="json"), "next": following})
        return
    _print_validation(predictor)
    chosen = predictor.formula.model
    mae = {found.model: found.mae for found in predictor.validation}
    what = "additive: selection is exact" if chosen == "ridge" else "not additive"
    doubt = "" if mae[chosen] < mae["mean"] else "; it is no better than the mean"
    verdict(f"{path}: {chosen} ({what}){doubt}", following)


@command.command("perturb")
@_bundle
@_function
@click.option(
    "--check",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Evaluate so many random subnets too, and show how well the sums predict them.",
)
@_seed
@_jobs
@click.option("-o", "--output", "path", type=_PATH, required=True, help="The scores, as CSV.")
@format_option
def perturb(
    bundle: Path, function: str, check: int, seed: int, jobs: int, path: Path, output: str
) -> None:
    """Score every block of BUNDLE by what the largest subnet loses without it.

    The largest subnet is evaluated, and with each smaller choice, depth and value of a dimension
    alone. The scores add up, so that selection with them is exact; --check says how far sums hold.
    """
    _refuse_overlap(path, bundle, function)
    source = Bundle.open(bundle, "space")
    space = source.manifest.space
    quality = QualityFunction.load(function, source, default_cache(source))
    changes = Perturbations(space)
    others: list[Subnet] = []
    if check:
        known = {subnet.spec for subnet in changes.subnets}
        drawn = sample_subnets(space, check + len(known) + 2, seed)
        others = [subnet for subnet in drawn if subnet.spec not in known][:check]
    total = len(changes.subnets) + len(others)
    parts = [f"{n} {what}" for what, n in changes.counts.items() if n]
    parts += [f"{len(others)} to check"] if others else []
    click.echo(f"{total} evaluations: the largest, {', '.join(parts) or 'nothing else'}", err=True)
    values = _evaluate(quality, [*changes.subnets, *others], jobs)
    first = len(changes.subnets)
    qualities = {s.spec: v for s, v in zip(changes.subnets, values[:first], strict=True)}
    scores = changes.scores(qualities)
    write_scores(path, scores)
    held = None
    if others:
        sums = AdditiveScores(str(path), space, scores).scores(others)
        held = agreement(np.array(values[first:]), np.array(sums))
    following = _select(bundle, path)
    if output == "json":
        print_json(
            {
                "scores": scores,
                "evaluations": total,
                "checked": len(others),
                "check": None if held is None else _plain(held),
                "next": following,
            }
        )
        return
    if held is not None:
        click.echo(
            f"on {len(others)} random subnets: mean absolute error {held.mae:.3g}, "
            f"RMSE {held.rmse:.3g}, Kendall tau {held.tau:.2f}, Spearman {held.spearman:.2f}"
        )
    verdict(f"{path}: {len(scores)} scores from {first} evaluations", following)


def _refuse_overlap(path: Path, bundle: Path, function: str) -> None:
    refuse_overlap(path, [bundle, Path(function.rpartition(":")[0] or function)])


def _evaluate(quality: QualityFunction, subnets: Sequence[Subnet], jobs: int) -> list[float]:
    with ExitStack() as stack:
        pool = stack.enter_context(worker_pool(jobs))
        progress = stack.enter_context(progress_bar("evaluating"))
        return quality.scores(
            subnets, lambda stage, done, total: progress(done, total, stage), pool
        )


def _select(bundle: Path, quality: Path) -> str:
    words: list[str | Path] = ["hwnas", "select", bundle, "--lut", "lut.db", "--quality", quality]
    return quote(*words, "--max-latency", "p50=50%", "-o", "plan.json")


def _plain(found: Agreement) -> dict[str, float | None]:
    """Its numbers; None for what is not defined, for JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in vars(found).items()}


def _print_validation(predictor: Predictor) -> None:
    rows = [
        [
            found.model,
            f"{found.mae:.4g}",
            f"{found.rmse:.4g}",
            "-" if found.tau is None else f"{found.tau:.3f}",
            "-" if found.spearman is None else f"{found.spearman:.3f}",
        ]
        for found in predictor.validation
    ]
    print_table(
        ["model", "mean absolute error", "RMSE", "Kendall tau", "Spearman"],
        rows,
        f"{predictor.rows} rows, {predictor.repeats} times {predictor.folds}-fold cross-validation",
    )
