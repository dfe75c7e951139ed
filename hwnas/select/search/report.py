"""Writing down how a search went: a table, JSON or a plot of hypervolume against evaluations."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas._version import __version__
from hwnas.errors import MissingExtra, UsageError
from hwnas.files import atomic_file
from hwnas.select.search.hypervolume import Box
from hwnas.select.search.result import SearchResult

__all__ = ["check_history", "plot_histories", "write_history"]

_SCHEMA_VERSION = 1
_PLOTS = (".svg", ".png")
_FORMS = (".csv", ".json", *_PLOTS)


def check_history(path: Path) -> None:
    """Make sure that a history can be written to ``path``, before anything is evaluated for it.

    Raises:
        UsageError: another suffix.
        MissingExtra: matplotlib, for a plot, is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMS:
        raise UsageError(
            f"{path} is no form that a history is written in",
            "end its name in .csv, .json, .svg or .png",
        )
    if suffix in _PLOTS:
        _figure()


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "search") from error
    return Figure


def write_history(result: SearchResult, path: Path, box: Box | None = None) -> None:
    """Write every evaluation with the hypervolume that was reached by it.

    ``.csv``: a row each, the box in columns that are the same in every row. ``.json``: the same,
    the box once. ``.svg`` or ``.png``: a plot.

    Args:
        result: of the search.
        path: replaced whole or not at all.
        box: where hypervolumes are taken; that of the search itself by default.

    Raises:
        UsageError: another suffix.
        MissingExtra: matplotlib, for a plot, is not installed.
        HwnasError: the file cannot be written.
    """
    check_history(path)
    box = box or result.box
    suffix = path.suffix.lower()
    if suffix in _PLOTS:
        plot_histories({result.method: [result.history(box)]}, path, box, result.objectives)
    elif suffix == ".json":
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(_as_json(result, box), indent=1) + "\n", "utf-8")
    else:
        with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
            rows = csv.writer(f, lineterminator="\n")
            rows.writerow(_header(result))
            rows.writerows(_rows(result, box))


def _header(result: SearchResult) -> list[str]:
    axes = ["quality", *result.objectives]
    ends = [f"{end}_{axis}" for end in ("best", "worst") for axis in axes]
    return ["evaluation", "subnet", *axes, "hypervolume", *ends]


def _rows(result: SearchResult, box: Box) -> list[list[object]]:
    history, ends = result.history(box), [*_corner(box.best), *_corner(box.worst)]
    return [
        [i, subnet.spec, quality, *costs, volume, *ends]
        for i, (subnet, quality, costs, volume) in enumerate(
            zip(result.subnets, result.qualities, result.costs.tolist(), history, strict=True),
            start=1,
        )
    ]


def _as_json(result: SearchResult, box: Box) -> dict[str, object]:
    axes = ["quality", *result.objectives]
    names = ["subnet", *axes, "hypervolume"]
    return {
        "schema_version": _SCHEMA_VERSION,
        "hwnas": __version__,
        "method": result.method,
        "seed": result.seed,
        "best": dict(zip(axes, _corner(box.best), strict=False)),
        "worst": dict(zip(axes, _corner(box.worst), strict=False)),
        "evaluations": [
            dict(zip(names, row[1 : 1 + len(names)], strict=True)) for row in _rows(result, box)
        ],
    }


def _corner(corner: tuple[float, ...]) -> list[float]:
    """A corner of the box with its quality as it was given."""
    return [-corner[0], *corner[1:]] if corner else []


def plot_histories(
    histories: Mapping[str, Sequence[Sequence[float]]],
    path: Path,
    box: Box,
    objectives: Sequence[str],
) -> None:
    """Plot hypervolume against evaluations, a line per run, runs of one name in one colour.

    Args:
        histories: name to runs.
        path: ``.svg`` or ``.png``.
        box: where hypervolumes were taken; written below.
        objectives: names of its axes after the quality.

    Raises:
        MissingExtra: matplotlib is not installed.
        HwnasError: the file cannot be written.
    """
    figure = _figure()(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, runs) in enumerate(histories.items()):
        for i, run in enumerate(runs):
            axes.step(
                range(1, len(run) + 1),
                run,
                where="post",
                color=f"C{number}",
                linewidth=1.0,
                label=name if i == 0 else None,
            )
    corners = [_corner(box.worst), _corner(box.best)]
    worst, best = (", ".join(f"{value:.4g}" for value in corner) for corner in corners)
    names = ", ".join(["quality", *objectives])
    axes.set_title(f"{names}: worst ({worst}), best ({best})", fontsize=8)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume, share of the box")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_file(path) as temporary:
        # The same runs give the same bytes: no date.
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(temporary, format=path.suffix.lower()[1:], metadata=metadata)
