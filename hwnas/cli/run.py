"""``hwnas run``: one subnet of an exported bundle, once."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import click
import numpy as np

from hwnas.cli.output import format_option, print_json, print_table, verdict
from hwnas.errors import InputError
from hwnas.files import atomic_file, refuse_overlap
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs

__all__ = ["command"]


@click.command("run")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--subnet", help="Which subnet; by default the one with the most weights.")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    help="An .npz file with one array per input; random inputs without it.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="An .npz file to write the outputs to.",
)
@format_option
def command(
    bundle: Path,
    subnet: str | None,
    source: Path | None,
    threads: int,
    path: Path | None,
    output: str,
) -> None:
    """Run one subnet of BUNDLE, which 'hwnas export --to bundle' wrote."""
    if path is not None:
        refuse_overlap(path, [bundle, source])
    with Switcher(bundle, subnet=subnet, threads=threads) as switcher:
        current = switcher.current
        feeds = _read_npz(source) if source else random_inputs(switcher.inputs_of(current), 0)
        results = switcher.run(feeds)
    if path is not None:
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **results)
    found = {name: _describe(array) for name, array in results.items()}
    if output == "json":
        print_json({"subnet": current, "outputs": found})
        return
    rows = [[name, *info.values()] for name, info in found.items()]
    print_table(["output", "dtype", "shape", "min", "max", "argmax"], rows)
    what = "given" if source else "random"
    verdict(f"ran {current} on {what} inputs" + (f", wrote {path}" if path else ""))


_UNREADABLE = (
    *(ValueError, OSError, EOFError, MemoryError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def _read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of an ``.npz`` file by name; refuses anything that would have to be unpickled.

    Raises:
        InputError: missing, damaged, or not plain arrays.
    """
    fix = "write it with numpy.savez(path, name=array, ...)"
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{path} holds one array, not named ones", fix)
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "check the path") from None
    except _UNREADABLE as error:
        raise InputError(f"{path} is not an .npz file of plain arrays: {error}", fix) from error


def _finite(value: Any) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def _describe(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "min": _finite(array.min()) if array.size else None,
        "max": _finite(array.max()) if array.size else None,
        "argmax": int(array.argmax()) if array.size else None,
    }
