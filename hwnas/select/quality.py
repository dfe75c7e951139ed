"""Quality: how good each subnet is, by a table of numbers or by a function that evaluates.

    quality.csv, quality.json       what was measured, one number per subnet
    package.module:fn, file.py:fn   ``fn(subnet, bundle) -> float``, called once per subnet and
                                    bundle; its results are kept in a cache

Higher is better.
"""

from __future__ import annotations

from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.errors import UsageError
from hwnas.select.protocol import Quality
from hwnas.select.quality_function import QualityFunction
from hwnas.select.quality_table import QualityTable

__all__ = ["default_cache", "open_quality"]

_FORMS = "give a .csv or .json table, or a function as package.module:fn or path/file.py:fn"


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
        UsageError: no such file or function, or a table with a line that is wrong.
        HwnasError: the function's module fails on import, or the cache cannot be used.
    """
    if Path(text).suffix.lower() in (".csv", ".json"):
        return QualityTable.read(Path(text), bundle.manifest.space)
    if ":" in text:
        return QualityFunction.load(text, bundle, cache)
    raise UsageError(f"{text!r} is not a quality", _FORMS)
