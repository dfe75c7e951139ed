"""Elastic resolution: the one dimension that a user may choose when compiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.errors import SupernetError, UsageError
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet

__all__ = ["RESOLUTION", "adopt_resolutions", "resolutions", "set_resolutions"]

RESOLUTION = "r"
"""Name of the dimension."""


def resolutions(space: Space) -> tuple[int, ...]:
    """The resolutions of ``space``, smallest first; empty if it knows of none."""
    return next((d.values for d in space.dimensions if d.name == RESOLUTION), ())


def set_resolutions(supernet: Supernet, values: Sequence[int]) -> None:
    """Let ``supernet`` run at these resolutions.

    Args:
        supernet: with a method ``set_resolutions``, which replaces its space.
        values: sides of the image in pixels.

    Raises:
        UsageError: the network has no such method.
        SupernetError: it does not run at one of them.
    """
    own: Any = getattr(supernet, "set_resolutions", None)
    if not callable(own):
        raise UsageError(
            f"a {type(supernet).__name__} has one resolution: it has no set_resolutions()",
            "leave out --resolution, or add that method as hwnas.supernets.protocol describes it",
        )
    wanted = tuple(sorted(set(values)))
    own(wanted)
    if resolutions(supernet.space) != wanted:
        raise SupernetError(
            f"set_resolutions({wanted}) left the resolutions {resolutions(supernet.space)}",
            f"give the space a Dimension(name={RESOLUTION!r}, values=...) with these values",
        )


def adopt_resolutions(supernet: Supernet, space: Space) -> None:
    """Let ``supernet`` run at the resolutions of ``space``, if it can and they differ."""
    values = resolutions(space)
    if values and values != resolutions(supernet.space) and hasattr(supernet, "set_resolutions"):
        set_resolutions(supernet, values)
