"""Quality: how good each subnet is, by any of five kinds of number. Higher is better.

What follows ``--quality``, and the kind of number that it is:

    quality.csv, quality.json       measured table: one number per subnet
    package.module:fn, file.py:fn   function: ``fn(subnet, bundle) -> float``, called once per
                                    subnet and bundle; its results are kept in a cache
    acc.pth, acc.safetensors        accuracy predictor of once-for-all's authors; the resolutions
                                    that it knows may follow: ``acc.pth@160,192,224``
    predictor.json                  fitted predictor, of ``hwnas quality fit``
    scores.csv                      additive scores: one number per block
"""

from __future__ import annotations

import re
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.errors import UsageError
from hwnas.select.protocol import Quality
from hwnas.select.quality.additive import COLUMNS, AdditiveScores
from hwnas.select.quality.fitted import is_predictor, open_predictor
from hwnas.select.quality.function import QualityFunction
from hwnas.select.quality.ofa import SUFFIXES, AccuracyPredictor
from hwnas.select.quality.table import QualityTable
from hwnas.select.quality.text import csv_header

__all__ = ["default_cache", "open_quality"]

_FORMS = (
    "give a .csv or .json table, scores or predictor, an accuracy predictor (.pth, .safetensors), "
    "or a function as package.module:fn or path/file.py:fn"
)
_RESOLUTIONS = re.compile(r"[0-9]+(,[0-9]+)*")


def default_cache(bundle: Bundle) -> Path:
    """Where results of quality functions are kept unless told otherwise: beside the bundle."""
    folder = bundle.path.resolve()
    return folder.parent / f"{folder.name}.quality.db"


def open_quality(text: str, bundle: Bundle, cache: Path | None = None) -> Quality:
    """The quality that ``text`` names, as the command line takes it.

    Args:
        text: one of the forms above.
        bundle: of form ``space``; its subnets are rated.
        cache: SQLite file for a function's results; None keeps them no longer than the object.

    Raises:
        UsageError: no such file or function, a table with a line that is wrong, or a predictor
            of another network.
        HwnasError: the function's module fails on import, or the cache cannot be used.
    """
    space = bundle.manifest.space
    name, at, given = text.rpartition("@")
    listed = bool(at and _RESOLUTIONS.fullmatch(given))
    path = Path(name if listed else text)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        resolutions = tuple(map(int, given.split(","))) if listed else None
        return AccuracyPredictor.read(path, space, resolutions)
    if suffix == ".csv":
        additive = set(COLUMNS) <= set(csv_header(path))
        return AdditiveScores.read(path, space) if additive else QualityTable.read(path, space)
    if suffix == ".json":
        fitted = is_predictor(path)
        return open_predictor(path, bundle) if fitted else QualityTable.read(path, space)
    if ":" in text:
        return QualityFunction.load(text, bundle, cache)
    raise UsageError(f"{text!r} is not a quality", _FORMS)
