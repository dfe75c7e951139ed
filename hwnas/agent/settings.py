"""How to measure: one record, and how many runs it leads to."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from hwnas.errors import UsageError

__all__ = ["FEWEST_TURNS", "LONGEST_TURN_RUNS", "Settings"]

FEWEST_TURNS = 6
"""With fewer turns no order statistics enclose the median at 95% confidence."""

LONGEST_TURN_RUNS = 1000
"""Most runs of one turn, however short they are."""

_LONGEST_S = 86_400.0
"""For any time: a day."""

_TOO_LARGE = 1 << 62
"""For any setting; also what an agent in C can hold."""

_RETIRED = frozenset(["min_runs", "max_runs", "min_time_s"])
"""Fields that tables of hwnas 0.1 hold, and that mean nothing to this protocol."""


@dataclass(frozen=True)
class Settings:
    """How each item (a block's kind, or a whole subnet) is measured.

    An item is measured in ``sittings`` processes, each with other items loaded beside it. With a
    run of t seconds it takes 2 + sittings * (W + R * (C + N)) runs. The first 2 are to read its
    memory and to check its outputs. W, the warm-up, is not kept: at least two windows of
    ``warmup_window_runs`` runs and ``warmup_window_s`` seconds each, until a window's median is no
    longer ``warmup_improvement`` better than the one before, at most ``warmup_max_runs`` runs or
    ``warmup_time_s`` seconds. R is the number of rounds: in a round every item of the sitting has
    one turn, of C cold runs (1 if t < ``cold_limit_s``, else 0: the first run after others have
    emptied the caches) and N = ``turn_s`` / t runs, rounded up, at least 1 and at most 1000.
    Rounds go on until the median over turns is known to ``relative_ci`` times the root of
    ``sittings`` (which together then know it to ``relative_ci``), but for at least
    ``min_rounds`` rounds that went undisturbed, and at most ``max_rounds`` rounds or
    ``sample_time_s`` seconds of the item's own runs. With the defaults an item of 1 ms takes 2 + 2
    * (10 + R * 3) runs, with R from 7 to 50: 64 at the least; one of 1 s takes 2 + 2 * (1 + 6).

    Attributes:
        provider: execution provider of the runtime; empty for the profiler's default.
        threads: threads that one inference may use.
        affinity: cores that the process is pinned to; ``None`` leaves it to the system.
        relative_ci: full width of the median's confidence interval over the median, to stop at.
        confidence: level of that interval.
        min_rounds: fewest undisturbed rounds, unless ``sample_time_s`` ends first (then at least
            6 rounds).
        max_rounds: most rounds of a sitting.
        turn_s: how long the runs of one turn are repeated.
        cold_limit_s: longer runs do not live on what they find in the caches.
        sample_time_s: most time in one item's kept runs, per sitting.
        time_limit_s: wall time after which a process that is still at the same item is killed.
        warmup_window_runs, warmup_window_s: a window of the warm-up has both.
        warmup_improvement: relative; see above.
        warmup_max_runs, warmup_time_s: bounds of the warm-up.
        sittings: processes in which each item is measured anew. Where weights happen to lie in
            memory moves a latency by about 1%, which more runs in one process do not show.
        sitting_items, sitting_s: bounds of a sitting: items, and about so many seconds.
        cooldown_s: rest before each sitting.
        energy: measure joules too, where there is a counter.
        energy_s: seconds of running each item for that.
        seed: of the inputs and of the order in rounds.

    Raises:
        UsageError: a value that cannot be.
    """

    provider: str = ""
    threads: int = 1
    affinity: tuple[int, ...] | None = None
    relative_ci: float = 0.02
    confidence: float = 0.95
    min_rounds: int = 7
    max_rounds: int = 50
    turn_s: float = 0.002
    cold_limit_s: float = 0.01
    sample_time_s: float = 3.0
    time_limit_s: float = 120.0
    warmup_window_runs: int = 5
    warmup_window_s: float = 0.005
    warmup_improvement: float = 0.02
    warmup_max_runs: int = 20_000
    warmup_time_s: float = 1.0
    sittings: int = 2
    sitting_items: int = 128
    sitting_s: float = 20.0
    cooldown_s: float = 0.0
    energy: bool = False
    energy_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ["threads", "max_rounds", "relative_ci", "sample_time_s", "time_limit_s"]
        positive += ["warmup_window_runs", "warmup_max_runs", "warmup_time_s", "sittings"]
        positive += ["sitting_items", "sitting_s", "energy_s"]
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            low = "positive" if field.name in positive else "not negative"
            if not 0 <= value < _TOO_LARGE or (value == 0 and low == "positive"):
                raise UsageError(f"{field.name} is {value}", f"give a number that is {low}")
            if field.name.endswith("_s") and value > _LONGEST_S:
                raise UsageError(
                    f"{field.name} is {value:g}", f"give at most {_LONGEST_S:.0f} s, which is a day"
                )
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence}", "give a number from 0.5 to 0.999")
        if not FEWEST_TURNS <= self.min_rounds <= self.max_rounds:
            raise UsageError(
                f"min_rounds is {self.min_rounds} and max_rounds is {self.max_rounds}",
                f"keep {FEWEST_TURNS} <= min_rounds <= max_rounds",
            )
        if self.affinity is not None:
            cores = tuple(sorted(set(self.affinity)))
            if not cores or cores[0] < 0:
                raise UsageError(
                    f"affinity is {self.affinity}", "name at least one core, as in 0,1"
                )
            object.__setattr__(self, "affinity", cores)

    @property
    def sitting_ci(self) -> float:
        """What each sitting has to reach, so that all of them reach ``relative_ci``."""
        return self.relative_ci * math.sqrt(self.sittings)

    def turn_runs(self, seconds: float) -> int:
        """Timed runs in a turn, after the cold one, where a run takes ``seconds``."""
        if seconds <= 0:
            return LONGEST_TURN_RUNS
        return max(1, min(LONGEST_TURN_RUNS, math.ceil(self.turn_s / seconds)))

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """As JSON, with the fields in order."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: object) -> Settings:
        """Read what :meth:`to_dict` gave; :class:`UsageError` where it is something else."""
        if not isinstance(values, dict):
            raise UsageError("settings are not an object")
        known = {field.name: field.type for field in fields(cls)}
        found = {}
        for name, value in values.items():
            if name in _RETIRED:
                continue
            if name not in known:
                raise UsageError(f"settings: {name}: no such setting")
            found[name] = _checked(name, str(known[name]), value)
        return cls(**found)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what :meth:`to_json` gave; :class:`UsageError` where it is something else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"settings are not JSON: {error}") from error
        return cls.from_dict(values)


def _checked(name: str, kind: str, value: object) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE
    if kind == "float" and (whole or isinstance(value, float)):
        return float(value)  # type: ignore[arg-type]
    if kind == "int" and whole:
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind.startswith("tuple") and value is None:
        return None
    if (
        kind.startswith("tuple")
        and isinstance(value, (list, tuple))
        and all(isinstance(core, int) and not isinstance(core, bool) for core in value)
    ):
        return tuple(value)
    raise UsageError(f"settings: {name}: {value!r} is not {kind}")
