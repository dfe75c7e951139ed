"""Quality by a function of the user's own: ``fn(subnet, bundle) -> float``.

Naming a function runs the code of its file, as importing it does. The function is called in this
process, one subnet at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import UsageError
from hwnas.files import sha256_file
from hwnas.select.protocol import Progress
from hwnas.select.quality_cache import CacheKey, QualityCache
from hwnas.select.user_function import load_function
from hwnas.space import Subnet
from hwnas.usercode import user_code

__all__ = ["QualityFunction"]

Evaluate = Callable[[Subnet, Bundle], Any]


class QualityFunction:
    """A function that rates any subnet of one bundle, and what it said before."""

    def __init__(
        self, reference: str, function: Evaluate, bundle: Bundle, cache: QualityCache | None
    ) -> None:
        self._reference = reference
        self._function = function
        self._bundle = bundle
        self._cache = cache
        self._known: dict[str, float] = {}

    @classmethod
    def load(cls, reference: str, bundle: Bundle, cache: Path | None = None) -> QualityFunction:
        """Import the function that ``reference`` names.

        Args:
            reference: ``package.module:fn`` or ``path/file.py:fn``.
            bundle: what it evaluates.
            cache: SQLite file for its results. Results are kept under the hash of the source file
                of the function; files that this one imports do not count.

        Raises:
            UsageError: no such file, module or function.
            HwnasError: its code fails; names the line.
        """
        found = load_function(reference)
        kept = None
        if cache is not None:
            identity = sha256_file(bundle.path / MANIFEST)
            kept = QualityCache(cache, CacheKey(found.name, found.source_sha256, identity))
        return cls(found.name, found.function, bundle, kept)

    @property
    def source(self) -> str:
        """The reference, without the folder of a file."""
        return f"function {self._reference}"

    def rated(self) -> None:
        """None: any subnet can be evaluated."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Evaluate those that were not evaluated before.

        Raises:
            UsageError: the function does not return a finite number.
            HwnasError: it raises; names the line.
        """
        new = [subnet for subnet in subnets if subnet.spec not in self._known]
        if new and self._cache is not None:
            self._with_cache(self._cache, new, progress)
        else:
            for done, subnet in enumerate(new, start=1):
                self._known[subnet.spec] = self._evaluate(subnet)
                _tell(progress, done, len(new))
        return [self._known[subnet.spec] for subnet in subnets]

    def _with_cache(
        self, cache: QualityCache, new: Sequence[Subnet], progress: Progress | None
    ) -> None:
        with cache.open() as connection:
            for done, subnet in enumerate(new, start=1):
                value = cache.get(connection, subnet.spec)
                if value is None:
                    value = self._evaluate(subnet)
                    cache.put(connection, subnet.spec, value)
                self._known[subnet.spec] = value
                _tell(progress, done, len(new))

    def _evaluate(self, subnet: Subnet) -> float:
        with user_code(f"{self._reference} on {subnet.name}"):
            value = self._function(subnet, self._bundle)
        try:
            if value is None or isinstance(value, bool | str | bytes):
                raise TypeError
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            shown = f"a {type(value).__name__}"
        else:
            if math.isfinite(number):
                return number
            shown = str(number)
        raise UsageError(
            f"{self._reference} returned {shown} for {subnet.name}",
            "it must return a finite number, higher being better",
        )


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("quality", done, total)
