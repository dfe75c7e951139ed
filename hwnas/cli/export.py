"""``hwnas export``: subnets as a switchable bundle or as ordinary ONNX files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from hwnas import plugins
from hwnas.bundle import Bundle
from hwnas.cli.output import format_option, human_bytes, print_json, print_table, quote, verdict
from hwnas.errors import PlanError, UsageError
from hwnas.export import Runner, Verification, Wanted, export_bundle, export_onnx, verify
from hwnas.export.verify import bundle_runner, onnx_runner
from hwnas.files import refuse_overlap
from hwnas.select import Plan
from hwnas.space import Subnet

__all__ = ["command"]


@click.command("export")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--plan", type=click.Path(path_type=Path), help="Ship the subnets of this plan.")
@click.option("--subnet", "names", multiple=True, help="Ship this subnet; may be given again.")
@click.option(
    "--to",
    "form",
    type=click.Choice(["bundle", "onnx"]),
    default="bundle",
    show_default=True,
    help="One switchable bundle, or one complete ONNX file per subnet over shared weights.",
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
    path: Path,
    against: str | None,
    supernet: str | None,
    output: str,
) -> None:
    """Export subnets of BUNDLE, which 'hwnas compile' wrote.

    \b
    --to bundle   shared segments and one weights file, for hwnas.runtime.Switcher
    --to onnx     NAME.onnx for each subnet and one weights file, for stock ONNX Runtime
    """  # noqa: D301
    refuse_overlap(path, [bundle, plan])
    source = Bundle.open(bundle, "space")
    wanted = _wanted(source, plan, names)
    reference = _torch_runner(source, supernet) if against == "torch" else None
    records: list[Verification] = []

    def accept(folder: Path) -> None:
        if against:
            records.extend(_verify(source, wanted, form, folder, reference))

    if form == "bundle":
        export_bundle(source, wanted, path, accept)
    else:
        export_onnx(source, wanted, path, accept)
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
    what = f"{len(wanted)} subnets, {len(files)} files, {human_bytes(total)}"
    verdict(f"exported {path}: {what}", following)


def _wanted(source: Bundle, plan: Path | None, names: Sequence[str]) -> list[Wanted]:
    if plan is None and not names:
        raise UsageError(
            "nothing says which subnets to export",
            "give --plan FILE (from 'hwnas select'), or --subnet NAME",
        )
    wanted: dict[str, Wanted] = {}
    if plan is not None:
        loaded = Plan.load(plan)
        loaded.check(source)
        if not loaded.subnets:
            raise PlanError(f"{plan} holds no subnet", "make it again with 'hwnas select'")
        for chosen in loaded.subnets:
            cost = chosen.measured or chosen.predicted
            wanted[chosen.name] = Wanted(
                subnet=source.manifest.space.find(chosen.spec),
                quality=chosen.quality,
                cost={
                    "p50_ms": cost.p50_ms,
                    "p95_ms": cost.p95_ms,
                    "measured": float(cost.measured),
                },
            )
    for name in names:
        subnet = source.manifest.space.find(name)
        wanted.setdefault(subnet.name, Wanted(subnet))
    return list(wanted.values())


def _torch_runner(source: Bundle, supernet: str | None) -> Runner:
    """The supernet in torch. A bundle's word is taken for a registered family, no more.

    Anything else that it names would be imported and called, and a bundle must not run code.
    """
    recorded = source.manifest.provenance.get("supernet")
    reference = supernet
    if supernet is None and isinstance(recorded, str):
        family = recorded.partition(":")[0]
        reference = recorded if family in plugins.names(plugins.SUPERNETS) else None
    if reference is None:
        named = f" ({recorded!r})" if isinstance(recorded, str) else ""
        raise UsageError(
            f"to verify against torch, say which network {source.path} was compiled from{named}",
            "give --supernet path/net.py:attr or module:attr; or compare with ONNX alone: "
            "--verify onnx",
        )
    from hwnas.supernets.reference import load
    from hwnas.supernets.runner import torch_runner

    return torch_runner(load(reference), source)


def _verify(
    source: Bundle, wanted: Sequence[Wanted], form: str, path: Path, torch: Runner | None
) -> list[Verification]:
    """Compare what was written with the other form, made for this, and with torch."""
    subnets: list[Subnet] = [item.subnet for item in wanted]
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        other = Path(folder) / "other"
        if form == "bundle":
            export_onnx(source, wanted, other)
            artifact, reference = bundle_runner(path), ("onnx", onnx_runner(other))
        else:
            export_bundle(source, wanted, other)
            artifact, reference = onnx_runner(path), ("bundle", bundle_runner(other))
        references = dict([reference])
        if torch is not None:
            references["torch"] = torch
        return verify(subnets, source.manifest.inputs, (form, artifact), references)
