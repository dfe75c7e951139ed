"""``hwnas compile``: a supernet becomes a bundle of blocks."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hwnas.cli.inspect import print_summary, summary
from hwnas.cli.output import format_option, print_json, progress_bar, quote, verdict
from hwnas.errors import UsageError
from hwnas.files import refuse_overlap

__all__ = ["command"]


@click.command("compile")
@click.argument("supernet")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The bundle to write; one that is there is replaced once the new one is whole.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="The supernet's state dict: .safetensors, or .pt read as plain tensors.",
)
@click.option(
    "--resolution",
    "sides",
    callback=lambda _context, _option, text: _resolutions(text),
    metavar="N[,N...]",
    help="Sides of the input image in pixels, of a network that runs at several: one more "
    "dimension of the space, with the same weights, as in 160,192,224.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="number of cores",
    help="Processes that export blocks.",
)
@format_option
def command(
    supernet: str,
    path: Path,
    weights: Path | None,
    sides: tuple[int, ...],
    jobs: int,
    output: str,
) -> None:
    """Compile SUPERNET into a bundle that holds its whole space as blocks.

    SUPERNET is a family (vit:s16), an attribute of a module (package.module:attr) or of a file
    (path/net.py:attr). Every choice at every slot is exported once; their weights lie in one
    file, each byte once; each block is run once against torch.
    """
    from hwnas.compile import compile_supernet
    from hwnas.supernets.reference import load
    from hwnas.supernets.resolution import set_resolutions

    if weights is not None and not weights.is_file():
        raise UsageError(
            f"there is no weights file {weights}",
            "check the path; it may be .safetensors or what torch wrote",
        )
    where = supernet.rpartition(":")[0]
    refuse_overlap(path, [weights, Path(where) if where.endswith(".py") else None])
    network = load(supernet, weights)
    if sides:
        set_resolutions(network, sides)
    with progress_bar("exporting blocks") as progress:
        bundle = compile_supernet(network, path, reference=supernet, jobs=jobs, progress=progress)
    found = summary(bundle)
    following = quote("hwnas", "profile", path, "--target", "cpu", "-o", "lut.db")
    if output == "json":
        print_json({**found, "next": following})
        return
    print_summary(found)
    verdict(f"compiled {path}", following)


def _resolutions(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value <= 4096 for value in values):
        raise click.BadParameter(
            f"{text!r} is not a list of whole numbers of pixels; write 224 or 160,192,224"
        )
    return values
