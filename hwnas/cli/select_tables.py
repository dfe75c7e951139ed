"""How ``hwnas select`` prints: the subnets, what is proven of them, and why they were chosen."""

from __future__ import annotations

import click

from hwnas.cli.output import human_bytes, print_table
from hwnas.select import Explanation, Plan
from hwnas.select.plan import Chosen
from hwnas.select.units import show

__all__ = ["print_explanation", "print_plan"]


def print_plan(plan: Plan, model: list[str]) -> None:
    """Print what was chosen, how costs and qualities came about, and the proof of each tier."""
    columns = ["subnet", "tiers", "quality", "predicted p50 ms", "measured p50 ms"]
    columns += ["measured p95 ms", "memory", "weights"]
    extra = [name for name in ("energy", "macs") if any(_metric(c, name) for c in plan.subnets)]
    print_table([*columns, *extra], [_row(chosen, extra) for chosen in plan.subnets])
    for line in model:
        click.echo(f"model of {line}")
    if plan.quality_source:
        kind = plan.quality_kind or ""
        source = plan.quality_source
        click.echo(f"quality: {source if source.startswith(kind) else f'{kind}, {source}'}")
    for tier in plan.tiers:
        limits = [str(limit) for limit in tier.limits]
        if plan.min_quality is not None:
            limits.append(f"quality >= {plan.min_quality:.6g}")
        click.echo(f"{tier.name} ({', '.join(limits) or 'no budget'}): {tier.subnet}; {tier.proof}")
    if plan.shipped is not None and len(plan.subnets) > 1:
        parts, union = human_bytes(plan.shipped.parts), human_bytes(plan.shipped.union)
        click.echo(f"weights of all together: {union} ({parts} if each shipped its own)")


def _row(chosen: Chosen, extra: list[str]) -> list[str]:
    cost, measured = chosen.measured or chosen.predicted, chosen.measured
    return [
        chosen.name,
        ", ".join(chosen.tiers) or "included",
        "-" if chosen.quality is None else f"{chosen.quality:.4f}",
        f"{chosen.predicted.p50_ms:.3f}",
        "-" if measured is None else f"{measured.p50_ms:.3f}",
        "-" if measured is None or measured.p95_ms is None else f"{measured.p95_ms:.3f}",
        "-" if cost.memory_bytes is None else human_bytes(cost.memory_bytes),
        human_bytes(cost.weight_bytes),
        *("-" if not _metric(chosen, n) else show(n, _metric(chosen, n) or 0.0) for n in extra),
    ]


def _metric(chosen: Chosen, name: str) -> float | None:
    cost = chosen.measured or chosen.predicted
    return cost.energy_j if name == "energy" else cost.macs


def print_explanation(found: Explanation, plan: Plan) -> None:
    """Print what each block of one tier's best costs and gives, and what changes would do."""
    what = plan.minimize or ("quality" if plan.quality_source else "place in the chain")
    if found.bought:
        gives = any(part.quality is not None for part in found.bought)
        columns = ["slot", "choice", "p50 ms", "weights", "instead of", "more ms", "more weights"]
        rows = [
            [
                part.slot, part.choice, f"{part.p50_ms:.3f}", human_bytes(part.bytes),
                part.cheapest if part.cheapest != part.choice else "",
                f"{part.more_ms:.3f}" if part.more_ms else "",
                human_bytes(part.more_bytes) if part.more_bytes else "",
                *([_signed(part.quality), _signed(part.more_quality)] if gives else []),
            ]
            for part in found.bought
        ]  # fmt: skip
        title = f"{found.tier}: what {found.subnet} bought, block by block as predicted"
        print_table([*columns, *(["quality", "more quality"] if gives else [])], rows, title)
        if found.constant_ms:
            click.echo(f"and {found.constant_ms:.3f} ms whatever the blocks")
    if found.better is not None:
        better = found.better
        costs = ", ".join(f"{name} {show(name, value)}" for name, value in better.cost.items())
        over = ", ".join(f"{name} by {share:.2%}" for name, share in better.excess.items())
        click.echo(
            f"{found.tier}: the quickest of a higher {what} is {better.subnet} "
            f"({better.quality:.6g}, {costs})" + (f"; it exceeds {over}" if over else "")
        )
    elif plan.minimize is None:
        click.echo(f"{found.tier}: there is no subnet of a higher {what}")
    rows = [
        [
            worth.metric, show(worth.metric, worth.limit),
            "nothing fits" if worth.less is None else _signed(worth.less - found.value),
            _signed(worth.more - found.value),
            "-" if worth.per_unit is None else _per(worth.metric, worth.per_unit),
            "-" if worth.dual is None else _per(worth.metric, worth.dual),
        ]
        for worth in found.worth
    ]  # fmt: skip
    if rows:
        columns = ["budget", "limit", f"change of {what} at 99%", "at 101%", "worth", "dual"]
        print_table(columns, rows, f"{found.tier}: what each budget's last hundredth is worth")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4g}" if value else "0"


_UNITS = {"p50": ("ms", 1.0), "p95": ("ms", 1.0), "memory": ("MB", 1e6), "bytes": ("MB", 1e6),
          "energy": ("mJ", 1e-3), "macs": ("M", 1e6)}  # fmt: skip


def _per(metric: str, value: float) -> str:
    unit, size = _UNITS[metric]
    return f"{value * size:.4g} per {unit}"
