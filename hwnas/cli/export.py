"""``hwnas export``: subnets as a switchable bundle or as ordinary ONNX files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from hwnas.bundle import Bundle
from hwnas.cli.output import format_option, human_bytes, print_json, print_table, quote, verdict
from hwnas.cli.verifying import torch_reference, verified
from hwnas.cli.wanted import further_subnets, wanted_subnets, with_norms
from hwnas.errors import UsageError, shorten
from hwnas.export import (
    Verification,
    export_bundle,
    export_finalised,
    export_onnx,
)
from hwnas.export.norm_cost import NormCost, norm_costs
from hwnas.export.onnx_switch import export_onnx_switch
from hwnas.export.switch_cost import SwitchCost, switch_cost
from hwnas.files import refuse_overlap
from hwnas.link.norms import NormMode

__all__ = ["command"]


@click.command("export")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--plan", type=click.Path(path_type=Path), help="Ship the subnets of this plan.")
@click.option("--subnet", "names", multiple=True, help="Ship this subnet; may be given again.")
@click.option(
    "--to",
    "form",
    type=click.Choice(["bundle", "onnx", "onnx-switch"]),
    default="bundle",
    show_default=True,
    help="One switchable bundle, one complete ONNX file per subnet over shared weights, or one "
    "ONNX model whose input 'subnet' chooses.",
)
@click.option(
    "--finalise",
    is_flag=True,
    help="Let ONNX Runtime optimise each subnet whole for this type of CPU now, and share what "
    "comes out. Faster to load and to run; runs on such CPUs with this version only. BUNDLE may be "
    "a portable bundle that 'hwnas export' wrote.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="NAME|all",
    help="With --finalise: name this further subnet if the segments of the others cover it, "
    "without new weights; 'all' names every one that they cover.",
)
@click.option(
    "--norms",
    type=click.Path(path_type=Path),
    help="A safetensors file with batch-norm statistics of subnets' own, named "
    "SUBNET:slot/choice/name.",
)
@click.option(
    "--norm",
    type=click.Choice(["shared", "folded"]),
    help="With --norms: keep convolutions shared and pay a scale and shift at each run, or fold "
    "and store them again; by default as the plan says, else shared.",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write; an earlier export that is there is replaced.",
)
@click.option(
    "--verify",
    "against",
    is_flag=False,
    flag_value="torch",
    type=click.Choice(["torch", "onnx"]),
    help="Run what was written on random inputs beside the other form and, unless 'onnx' is "
    "given, beside the subnet in torch; print the largest difference. What fails is not kept.",
)
@click.option(
    "--supernet",
    help="With --verify: the network that the bundle was compiled from, unless it is of a "
    "registered family. Its weights come from the bundle.",
)
@format_option
def command(
    bundle: Path,
    plan: Path | None,
    names: tuple[str, ...],
    form: str,
    finalise: bool,
    also: tuple[str, ...],
    norms: Path | None,
    norm: NormMode | None,
    path: Path,
    against: str | None,
    supernet: str | None,
    output: str,
) -> None:
    """Export subnets of BUNDLE, which 'hwnas compile' wrote.

    \b
    --to bundle       shared segments and one weights file, for hwnas.runtime.Switcher
    --to onnx         NAME.onnx for each subnet and one weights file, for stock ONNX Runtime
    --to onnx-switch  model.onnx with an input 'subnet' and one weights file, for the same
    """  # noqa: D301
    refuse_overlap(path, [bundle, plan, norms])
    if finalise and form == "onnx":
        raise UsageError("--finalise is for --to bundle and --to onnx-switch", "leave it out")
    if also and not (finalise and form == "bundle"):
        raise UsageError(
            "--also names what the segments of a finalised bundle cover",
            "use --to bundle --finalise with it",
        )
    source = Bundle.open(bundle)
    if source.manifest.form == "subnets" and not finalise and form != "onnx-switch":
        raise UsageError(
            f"{bundle} is a portable bundle: it can be finalised, or become one ONNX model",
            "add --finalise, use --to onnx-switch, or give the bundle that 'hwnas compile' wrote",
        )
    wanted = with_norms(source, wanted_subnets(source, plan, names), norms, norm)
    lacking = [item.subnet.name for item in wanted if norms is not None and item.norms is None]
    if lacking:
        click.echo(
            f"note: {norms} has no statistics for {shorten(lacking)}; these keep the ones that the "
            "bundle was compiled with",
            err=True,
        )
    further, optional = further_subnets(source, wanted, also)
    torch = torch_reference(source, wanted, supernet) if against == "torch" else None
    records: list[Verification] = []

    def accept(folder: Path) -> None:
        if not against:
            return
        named: Collection[str] = ()
        if form == "bundle":
            named = Bundle.open(folder, "subnets", verify=False).manifest.subnets
        shipped = [*wanted, *(item for item in further if item.subnet.name in named)]
        records.extend(verified(source, shipped, form, folder, torch))

    costs: list[SwitchCost] = []
    if form == "onnx-switch":
        export_onnx_switch(source, wanted, path, accept, finalise=finalise)
        costs = switch_cost(source, wanted, path)
    elif finalise:
        exported = export_finalised(
            source, wanted, path, accept, further=further, optional=optional
        )
        covered = [item for item in further if item.subnet.name in exported.manifest.subnets]
        wanted = [*wanted, *covered]
        left = len(further) - len(covered)
        link = exported.manifest.provenance.get("link", {})
        for weight, why in link.get("whole_widths", {}).items():
            click.echo(f"note: each width keeps its own copy of {weight}: {why}", err=True)
        if left:
            click.echo(f"note: {left} of {len(further)} further subnets are not covered", err=True)
    elif form == "bundle":
        export_bundle(source, wanted, path, accept)
    else:
        export_onnx(source, wanted, path, accept)
    norms_cost = norm_costs(source, wanted)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    total = sum(file.stat().st_size for file in files)
    following = quote("hwnas", "bench", path) if form == "bundle" else ""
    if output == "json":
        print_json(
            {
                "path": str(path),
                "form": form,
                "subnets": [item.subnet.name for item in wanted],
                "bytes": total,
                "files": [str(file.relative_to(path)) for file in files],
                "verified": [
                    {
                        "subnet": record.subnet,
                        "reference": record.reference,
                        "max_abs_diff": record.max_abs_diff,
                    }
                    for record in records
                ],
                "switch_cost": [asdict(cost) for cost in costs],
                "norm_cost": [asdict(cost) for cost in norms_cost],
                "next": following,
            }
        )
        return
    print_table(
        ["subnet", "weights", "quality"],
        [
            [
                item.subnet.name,
                human_bytes(source.weight_bytes(item.subnet)),
                "-" if item.quality is None else f"{item.quality:.4f}",
            ]
            for item in wanted
        ],
    )
    for record in records:
        click.echo(
            f"verified {record.subnet}: largest difference to {record.reference} "
            f"{record.max_abs_diff:.2g} (largest value {record.scale:.3g})"
        )
    _print_costs(costs, norms_cost)
    what = f"{len(wanted)} subnets, {len(files)} files, {human_bytes(total)}"
    verdict(f"exported {path}: {what}", following)


def _print_costs(switched: Sequence[SwitchCost], norms: Sequence[NormCost]) -> None:
    for cost in switched:
        click.echo(
            f"{cost.subnet}: {cost.latency_ms:.3f} ms, {cost.latency_ratio:.3f} times its own "
            f"session (two equal sessions: {cost.noise_ratio:.3f}), largest difference "
            f"{cost.max_abs_diff:.2g}"
        )
    for own in norms:
        ratio = own.shared_over_folded
        click.echo(
            f"statistics of {own.subnet}: shared takes {ratio.value:.3f} times folded "
            f"({ratio.low:.3f} to {ratio.high:.3f}); folded stores up to "
            f"{human_bytes(own.folded_bytes)} more; exported {own.mode}"
        )
