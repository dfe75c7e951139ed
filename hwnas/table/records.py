"""What a lookup table gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.profile.protocol import Scope
from hwnas.profile.samples import Statistics, statistics

__all__ = ["Measurement", "Row"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One good measurement.

    Attributes:
        key: a block's kind or a whole subnet's kind.
        scope: which of the two.
        label: the block id or the subnet's ``spec`` that was measured.
        ns: raw run times in ns, in order, shape (runs,), int64, read-only.
        stopped_by: why sampling ended: ``converged``, ``max_runs`` or ``time``.
        load_bytes: memory that loading added to a process; ``None`` where unknown.
        run_bytes: memory that running added on top; ``None`` where unknown.
    """

    key: str
    scope: Scope
    label: str
    ns: NDArray[np.int64]
    stopped_by: str
    load_bytes: int | None
    run_bytes: int | None

    @cached_property
    def statistics(self) -> Statistics:
        """Median, 95th percentile and the median's interval, in ms."""
        return statistics(self.ns)

    @property
    def p50_ms(self) -> float:
        """Median in ms."""
        return self.statistics.p50_ms

    @property
    def p95_ms(self) -> float:
        """95th percentile in ms."""
        return self.statistics.p95_ms


@dataclass(frozen=True)
class Row:
    """One attempt to measure, good or not, for listing.

    Attributes:
        key, scope, label: what.
        status: ``ok``, ``error``, or ``running`` if it was cut off or goes on just now.
        error: in one line, where it failed.
        runs: number of samples.
        started: UTC, ISO 8601.
    """

    key: str
    scope: Scope
    label: str
    status: str
    error: str | None
    runs: int
    started: str
