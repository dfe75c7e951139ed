"""How to measure: one record, and how many runs it leads to."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hwnas.errors import UsageError

__all__ = ["FEWEST_RUNS", "MEMORY_RUNS", "Settings"]

FEWEST_RUNS = 6
"""With fewer runs no order statistics enclose the median at 95% confidence."""

MEMORY_RUNS = 2
"""The first run finds out what memory is needed, the second one takes it."""


@dataclass(frozen=True)
class Settings:
    """How one job (a block's kind, or a whole subnet) is measured.

    A job leads to 2 + W + S runs in one child process. After the first 2, memory is read. W, the
    warm-up, is not kept: at least two windows of ``warmup_window_runs`` runs and
    ``warmup_window_s`` seconds each, until a window's median is no longer ``warmup_improvement``
    better than the one before, at most ``warmup_max_runs`` runs or ``warmup_time_s`` seconds. S
    is kept, sample by sample: at least ``min_runs`` runs and ``min_time_s`` seconds, then until
    the confidence interval of the median is narrower than ``relative_ci`` of the median, at most
    ``max_runs`` runs or ``sample_time_s`` seconds. Where one run is so slow that
    ``sample_time_s`` ends first, S is smaller than ``min_runs``, but at least 6. Seconds are sums
    of the runs' own times. With the defaults a block of 1 ms gets W = 40 and S = 50 to 3000 runs;
    a whole network of 1 s gets W = 1 and S = 6.

    Attributes:
        provider: execution provider of the runtime; empty for the profiler's default.
        threads: threads that one inference may use.
        affinity: cores that the child is pinned to; ``None`` leaves it to the system.
        relative_ci: full width of the median's confidence interval over the median, to stop at.
        confidence: level of that interval.
        min_runs: fewest runs that are kept, see above.
        max_runs: most runs that are kept.
        min_time_s: least time in runs that are kept, so that a block of microseconds is not
            judged by one moment.
        sample_time_s: most time in runs that are kept.
        time_limit_s: wall time after which the child is killed, its start and loading included.
        warmup_window_runs, warmup_window_s: a window of the warm-up has both.
        warmup_improvement: relative; see above.
        warmup_max_runs, warmup_time_s: bounds of the warm-up.
        seed: of the random inputs.

    Raises:
        UsageError: a value that cannot be.
    """

    provider: str = ""
    threads: int = 1
    affinity: tuple[int, ...] | None = None
    relative_ci: float = 0.02
    confidence: float = 0.95
    min_runs: int = 50
    max_runs: int = 5000
    min_time_s: float = 0.05
    sample_time_s: float = 3.0
    time_limit_s: float = 120.0
    warmup_window_runs: int = 5
    warmup_window_s: float = 0.02
    warmup_improvement: float = 0.02
    warmup_max_runs: int = 20_000
    warmup_time_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ["threads", "max_runs", "relative_ci", "sample_time_s", "time_limit_s"]
        positive += ["warmup_window_runs", "warmup_max_runs", "warmup_time_s"]
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float):
                continue
            low = "positive" if field.name in positive else "not negative"
            if not math.isfinite(value) or value < 0 or (value == 0 and low == "positive"):
                raise UsageError(f"{field.name} is {value}", f"give a number that is {low}")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence}", "give a number from 0.5 to 0.999")
        if not FEWEST_RUNS <= self.min_runs <= self.max_runs:
            raise UsageError(
                f"min_runs is {self.min_runs} and max_runs is {self.max_runs}",
                f"keep {FEWEST_RUNS} <= min_runs <= max_runs",
            )
        if self.affinity is not None:
            cores = tuple(sorted(set(self.affinity)))
            if not cores or cores[0] < 0:
                raise UsageError(
                    f"affinity is {self.affinity}", "name at least one core, as in 0,1"
                )
            object.__setattr__(self, "affinity", cores)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """As JSON, with the fields in order."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: object) -> Settings:
        """Read what :meth:`to_dict` gave; :class:`UsageError` where it is something else."""
        try:
            return _ADAPTER.validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "settings"
            raise UsageError(f"settings: {where}: {first['msg']}") from error

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what :meth:`to_json` gave; :class:`UsageError` where it is something else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"settings are not JSON: {error}") from error
        return cls.from_dict(values)


_ADAPTER = TypeAdapter(Settings)
