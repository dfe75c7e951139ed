"""What a lookup table gives back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import nan
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwnas.profile.record import VERDICTS, Energy, Round, Scope, Turn, Verdict
from hwnas.profile.samples import Statistics, flags, statistics

__all__ = ["Imported", "Measurement", "Row", "Source", "pooled"]


@dataclass(frozen=True)
class Imported:
    """What others measured, as they summed it up: there are no samples to judge it by.

    Attributes:
        mean_ms: mean latency in ms; 0 where another entry holds this block's time too.
        std_ms: standard deviation over runs in ms; ``None`` where the file does not tell.
        count: number of runs; ``None`` where the file does not tell.
        file: names of the files that it comes from.
        entry: which of their entries.
    """

    mean_ms: float
    std_ms: float | None
    count: int | None
    file: str
    entry: str


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measurement, of one device or pooled over several.

    Attributes:
        key: a block's kind or a whole subnet's kind.
        scope: which of the two.
        label: the block id or the subnet's ``spec`` that was measured.
        turns: raw, in order.
        rounds: those that the turns were in.
        factors: by what each turn's round was slower than the typical one (``hwnas.agent.rounds``).
        threads: of one inference.
        stopped_by: why sampling ended: ``converged``, ``max_rounds`` or ``time``.
        verdict: whether to believe it; see :data:`hwnas.profile.record.Verdict`.
        reasons: why it is not ``ok``, one line each.
        load_bytes: memory that loading added to a process; ``None`` where unknown.
        run_bytes: memory that running added on top; ``None`` where unknown.
        output_error: relative error of the outputs; ``None`` if not checked.
        outputs_ok: whether they are as expected; ``None`` if not checked.
        energy: where there is a counter.
        source: file name of the merged table that it comes from; empty for this table's own.
        imported: what others measured; then there are no turns, and ``p95_ms`` is NaN.
    """

    key: str
    scope: Scope
    label: str
    turns: tuple[Turn, ...]
    rounds: tuple[Round, ...]
    factors: tuple[float, ...]
    threads: int
    stopped_by: str
    verdict: Verdict
    reasons: tuple[str, ...]
    load_bytes: int | None
    run_bytes: int | None
    output_error: float | None = None
    outputs_ok: bool | None = None
    energy: Energy | None = None
    source: str = ""
    imported: Imported | None = None

    @cached_property
    def ns(self) -> NDArray[np.int64]:
        """Times of all warm runs in ns, in order, shape (runs,), read-only."""
        runs = chain.from_iterable(turn.ns for turn in self.turns)
        values = np.fromiter(runs, dtype=np.int64)
        values.flags.writeable = False
        return values

    @cached_property
    def flags(self) -> NDArray[np.int64]:
        """What was wrong with each turn, as ``profile.samples.flags`` says it."""
        return flags(self.turns, self.rounds, self.threads, self.factors)

    @cached_property
    def statistics(self) -> Statistics:
        """Median, 95th percentile and their like, from turns that nothing disturbed, in ms.

        Of what was imported: the mean in place of the median, NaN for the 95th percentile.
        """
        if self.imported is not None:
            runs = self.imported.count or 0
            return Statistics(runs, 0, 0, self.imported.mean_ms, nan, None, None, None)
        return statistics(self.turns, self.rounds, self.threads, self.factors)

    @property
    def p50_ms(self) -> float:
        """Median in ms; the mean of what was imported."""
        return self.statistics.p50_ms

    @property
    def p95_ms(self) -> float:
        """95th percentile in ms; NaN of what was imported."""
        return self.statistics.p95_ms

    @property
    def cold_p50_ms(self) -> float | None:
        """Median in ms of first runs after others had the caches; ``None`` if not taken."""
        return self.statistics.cold_p50_ms

    @property
    def memory_bytes(self) -> float | None:
        """What it adds to a process, loaded and run, in bytes; ``None`` where unknown."""
        if self.load_bytes is None or self.run_bytes is None:
            return None
        return float(max(self.load_bytes, 0) + max(self.run_bytes, 0))

    @property
    def joules(self) -> float | None:
        """Energy of one inference in J; ``None`` where there is no counter."""
        return None if self.energy is None else self.energy.joules / self.energy.runs


def pooled(found: Sequence[Measurement]) -> Measurement:
    """One measurement of several devices: their sittings side by side, each counting alike.

    Memory is the most of any, the verdict the worst, reasons are all of them with their source.
    """
    if len(found) == 1:
        return found[0]
    turns: list[Turn] = []
    rounds: list[Round] = []
    number = 0
    for one in found:
        new = {old: number + i for i, old in enumerate(sorted({t.sitting for t in one.turns}), 1)}
        number += len(new)
        turns += [replace(turn, sitting=new[turn.sitting]) for turn in one.turns]
        rounds += [replace(r, sitting=new[r.sitting]) for r in one.rounds if r.sitting in new]
    checked = [one.outputs_ok for one in found if one.outputs_ok is not None]
    return replace(
        found[-1],
        turns=tuple(turns),
        rounds=tuple(rounds),
        factors=tuple(chain.from_iterable(one.factors for one in found)),
        verdict=max((one.verdict for one in found), key=VERDICTS.index),
        reasons=tuple(f"{one.source}: {why}" for one in found for why in one.reasons),
        load_bytes=_most(one.load_bytes for one in found),
        run_bytes=_most(one.run_bytes for one in found),
        output_error=_most(one.output_error for one in found),
        outputs_ok=all(checked) if checked else None,
        energy=next((one.energy for one in reversed(found) if one.energy), None),
        imported=_pooled_imports([one.imported for one in found if one.imported]),
        source=", ".join(one.source for one in found),
    )


def _pooled_imports(found: Sequence[Imported]) -> Imported | None:
    """The mean over tables, each counting alike; measured and imported ones are never merged."""
    if not found:
        return None
    return Imported(
        mean_ms=sum(one.mean_ms for one in found) / len(found),
        std_ms=_most(one.std_ms for one in found),
        count=_most(one.count for one in found),
        file=", ".join(one.file for one in found),
        entry=", ".join(dict.fromkeys(one.entry for one in found)),
    )


_T = TypeVar("_T", int, float)


def _most(values: Iterable[_T | None]) -> _T | None:
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True)
class Row:
    """One attempt to measure, good or not, for listing.

    Attributes:
        key, scope, label: what.
        status: ``ok`` or ``error``.
        error: in one line, where it failed.
        runs: number of warm runs.
        verdict: where it did not fail.
        finished: UTC, ISO 8601.
    """

    key: str
    scope: Scope
    label: str
    status: str
    error: str | None
    runs: int
    verdict: Verdict | None
    finished: str


@dataclass(frozen=True)
class Source:
    """A table that was merged into this one.

    Attributes:
        file: its name when it was merged.
        sha256: of its bytes then, in hexadecimal.
        fingerprint: of its device, as JSON.
        forced: it was merged though its device differs.
        differences: in what.
    """

    file: str
    sha256: str
    fingerprint: str
    forced: bool
    differences: tuple[str, ...]
