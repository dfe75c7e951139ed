"""One thing that was found out about a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["LEVELS", "Finding", "Level"]

Level = Literal["bad", "warn", "unknown", "ok"]
LEVELS: Final[tuple[Level, ...]] = ("bad", "warn", "unknown", "ok")
"""The worst first. ``bad``: measuring fails, or its figures cannot be believed."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        level: how bad it is.
        what: what was seen, with values.
        why: what it does to measurements; empty if ``level`` is ok.
        fix: what to do about it, a command where there is one.
    """

    level: Level
    what: str
    why: str = ""
    fix: str = ""
