"""``hwnas recalibrate``: batch-norm statistics of subnets' own, from images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwnas import __version__
from hwnas.bundle import Bundle
from hwnas.cli.output import format_option, print_json, print_table, progress_bar, quote, verdict
from hwnas.cli.supernet import supernet_of
from hwnas.cli.wanted import wanted_subnets
from hwnas.errors import HwnasError
from hwnas.files import atomic_file, refuse_overlap
from hwnas.link.norms import WEIGHTS_KEY
from hwnas.select.user_function import load_function

if TYPE_CHECKING:
    from hwnas.supernets.batches import FileBatches, FunctionBatches

__all__ = ["command"]

_SCHEMA_VERSION = 1
"""Of the file's metadata: what was collected, and from how many images."""


@click.command("recalibrate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--plan", type=click.Path(path_type=Path), help="The subnets of this plan.")
@click.option("--subnet", "names", multiple=True, help="This subnet; may be given again.")
@click.option(
    "--data",
    required=True,
    metavar="FILE.npz|MODULE:FN",
    help="Images as the network takes them: an .npz file with one array per input, or a function "
    "fn(subnet, bundle) that gives a batch at a time.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Images at a time, from a file.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Images for each subnet, at most.",
)
@click.option(
    "--supernet",
    help="The network that the bundle was compiled from, unless it is of a registered family. "
    "Its weights come from the bundle.",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The safetensors file to write, for 'hwnas export --norms'.",
)
@format_option
def command(
    bundle: Path,
    plan: Path | None,
    names: tuple[str, ...],
    data: str,
    batch: int,
    images: int,
    supernet: str | None,
    path: Path,
    output: str,
) -> None:
    """Collect batch-norm statistics of subnets' own, over the weights of BUNDLE.

    The statistics in BUNDLE are those of the whole network; a subnet sees other activations, and
    without statistics of its own it is less accurate than it was trained to be. Each batch of
    images is normalised by its own statistics, and their mean over batches is kept.

    Images in FILE.npz of another height and width than a subnet takes are resized (bilinear, with
    antialiasing); an array NAME@160 is taken as it is by subnets that take 160 pixels.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    source = Bundle.open(bundle, "space")
    wanted = [item.subnet for item in wanted_subnets(source, plan, names)]
    is_file = data.endswith(".npz") or ":" not in data
    refuse_overlap(path, [bundle, plan, Path(data) if is_file else None])
    reference = supernet_of(source, supernet)
    from hwnas.supernets.batches import FileBatches, FunctionBatches
    from hwnas.supernets.recalibrate import recalibrate
    from hwnas.supernets.reference import load

    network = load(reference)
    batches: FileBatches | FunctionBatches
    if is_file:
        batches = FileBatches(Path(data), source, batch, images)
    else:
        function = load_function(data)
        batches = FunctionBatches(function.function, function.name, source, images)
    seen: dict[str, int] = {}
    with progress_bar("recalibrating") as progress:
        count = _counter(progress, len(wanted) * batches.images, seen)
        norms = recalibrate(network, source, wanted, batches, count)
    fewest = min(seen.values())
    metadata = {
        "schema_version": str(_SCHEMA_VERSION),
        "hwnas": __version__,
        "images": str(fewest),
        WEIGHTS_KEY: source.manifest.weights.sha256,
    }
    with atomic_file(path) as temporary:
        try:
            save_file(dict(norms), temporary, metadata)
        except SafetensorError as error:
            raise HwnasError(
                f"cannot write {path}: {error}", "free some space, or name another place with -o"
            ) from error
    chosen: list[str | Path] = ["--plan", plan] if plan else []
    chosen += [word for name in names for word in ("--subnet", name)]
    following = quote(
        "hwnas", "export", bundle, *chosen, "--norms", path, "--finalise", "-o", "out"
    )
    counts = {
        subnet.name: sum(name.startswith(f"{subnet.name}:") for name in norms) // 2
        for subnet in wanted
    }
    if output == "json":
        print_json({"path": str(path), "images": fewest, "norms": counts, "next": following})
        return
    print_table(["subnet", "batch norms"], [[name, count] for name, count in counts.items()])
    verdict(f"recalibrated {path} from {fewest} images each", following)


def _counter(
    progress: Callable[[int, int, str], None], total: int, seen: dict[str, int]
) -> Callable[[int, str], None]:
    def count(images: int, subnet: str) -> None:
        seen[subnet] = seen.get(subnet, 0) + images
        progress(min(sum(seen.values()), total), total, subnet)

    return count
