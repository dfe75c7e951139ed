"""``hwnas inspect``: what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle, bytes_used
from hwnas.cli.output import format_option, human_bytes, print_fields, print_json, print_table
from hwnas.program import TensorSpec

__all__ = ["command", "print_summary", "summary"]

_MANY = 10**6


def summary(bundle: Bundle) -> dict[str, Any]:
    """Counts and bytes of ``bundle``, as ``hwnas inspect`` prints them."""
    manifest = bundle.manifest
    graphs = list(bundle.graphs.values())
    stored = manifest.weights.bytes
    # What the graphs would take, did each bring its own weights.
    apart = sum(bytes_used([graph]) for graph in graphs)
    used = bytes_used(graphs)
    common: dict[str, Any] = {
        "form": manifest.form,
        **_shapes(bundle),
        "kinds": len({graph.kind for graph in graphs}),
        "bytes_stored": stored,
        "bytes_shared": apart - used,
        "bytes_graphs": sum(graph.bytes for graph in graphs),
        "written_by": f"hwnas {manifest.hwnas}",
    }
    if manifest.form == "space":
        elastic = {d.name: list(d.values) for d in manifest.space.dimensions}
        return {
            "subnets": manifest.space.count(),
            "slots": len(manifest.space.slots),
            "blocks": len(manifest.blocks),
            **({"dimensions": elastic} if elastic else {}),
            **common,
        }
    made_for = str(manifest.finalised) if manifest.finalised else "any machine (portable)"
    return {
        "subnets": len(manifest.subnets),
        "segments": len(manifest.segments),
        **common,
        "runs_on": made_for,
    }


def _shapes(bundle: Bundle) -> dict[str, dict[str, str]]:
    """What the network takes and gives, with sizes that differ between subnets as a range."""
    manifest, space = bundle.manifest, bundle.manifest.space
    takes, gives = [manifest.inputs], [manifest.outputs]
    if manifest.form == "space":
        takes.append(bundle.inputs(space.smallest()))
        gives.append(bundle.outputs(space.smallest()))
    takes += [entry.inputs for entry in manifest.subnets.values() if entry.inputs]
    gives += [entry.outputs for entry in manifest.subnets.values() if entry.outputs]
    return {
        side: {specs[0].name: _range(specs) for specs in zip(*found, strict=True)}
        for side, found in (("inputs", takes), ("outputs", gives))
    }


def _range(specs: Sequence[TensorSpec]) -> str:
    """One tensor of several subnets, as in ``float32[1,3,160 to 224,160 to 224]``."""
    if len({len(spec.shape) for spec in specs}) > 1:
        return " or ".join(dict.fromkeys(map(str, specs)))
    sizes = [
        str(min(size)) if min(size) == max(size) else f"{min(size)} to {max(size)}"
        for size in zip(*(spec.shape for spec in specs), strict=True)
    ]
    return f"{specs[0].dtype}[{','.join(sizes)}]"


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@format_option
def command(bundle: Path, output: str) -> None:
    """Show what BUNDLE holds: its space, subnets, blocks and kinds, bytes shared and stored."""
    opened = Bundle.open(bundle)
    found = summary(opened)
    if output == "json":
        print_json({**found, "graphs": _graphs(opened), "space": _space(opened)})
        return
    print_summary(found)
    click.echo()
    _print_space(opened)
    click.echo()
    rows = [
        [unit, graph["kind"][:12], graph["weights"], graph["signature"]]
        for unit, graph in _graphs(opened).items()
    ]
    print_table(["block" if found["form"] == "space" else "segment", "kind", "weights", ""], rows)


def print_summary(found: Mapping[str, Any]) -> None:
    """Print a :func:`summary` for people."""
    print_fields({key.replace("_", " "): _readable(key, value) for key, value in found.items()})


def _readable(key: str, value: object) -> str:
    if key == "dimensions" and isinstance(value, dict):
        return "; ".join(f"{n} of {', '.join(map(str, sizes))}" for n, sizes in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{name} {spec}" for name, spec in value.items())
    if isinstance(value, int):
        if key.startswith("bytes_"):
            return f"{value:,} ({human_bytes(value)})"
        return f"{value:,}" if value < _MANY else f"{value:.3e}"
    return str(value)


def _graphs(bundle: Bundle) -> dict[str, dict[str, str]]:
    return {
        unit: {
            "kind": graph.kind,
            "weights": human_bytes(bytes_used([graph])),
            "signature": "{} -> {}".format(
                ", ".join(map(str, graph.inputs)), ", ".join(map(str, graph.outputs))
            ),
        }
        for unit, graph in bundle.graphs.items()
    }


def _space(bundle: Bundle) -> dict[str, Any]:
    return bundle.manifest.space.model_dump(mode="json")


def _print_space(bundle: Bundle) -> None:
    space = bundle.manifest.space
    if bundle.manifest.form == "subnets":
        subnets = bundle.manifest.subnets
        elastic = any(entry.inputs for entry in subnets.values())
        rows = [
            [
                name,
                human_bytes(entry.weight_bytes),
                len(entry.program.calls),
                _quality(entry.quality),
                *([", ".join(map(str, entry.inputs or bundle.manifest.inputs))] if elastic else []),
            ]
            for name, entry in subnets.items()
        ]
        print_table(["subnet", "weights", "segments", "quality", "takes"][: 4 + elastic], rows)
        return
    rows = [
        [
            slot.name,
            ", ".join(slot.choices),
            *([", ".join(slot.dimensions)] if space.dimensions else []),
            "yes" if slot.name in space.skippable else "no",
        ]
        for slot in space.slots
    ]
    columns = ["slot", "choices", *(["depends on"] if space.dimensions else []), "can be skipped"]
    print_table(columns, rows)
    for rule in space.rules:
        depths = getattr(rule, "depths", None)
        what = f"depth {', '.join(map(str, depths))}" if depths else "one choice for all"
        click.echo(f"rule {rule.kind}: {what} over {rule.slots[0]} .. {rule.slots[-1]}")


def _quality(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
