"""Finding plug-ins by entry point: profilers, targets and supernet families.

Built-in plug-ins are registered the same way as anyone else's, in the groups below. Nothing is
imported before it is asked for by name. Two distributions may register one name; Python keeps
both in silence, so that is an error here which names both.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hwnas.errors import HwnasError, UnknownName, UsageError

__all__ = ["PROFILERS", "SUPERNETS", "TARGETS", "find", "load", "names"]

PROFILERS = "hwnas.profilers"
TARGETS = "hwnas.targets"
SUPERNETS = "hwnas.supernets"

_WHAT = {PROFILERS: "profiler", TARGETS: "target", SUPERNETS: "supernet family"}


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"


def names(group: str) -> dict[str, str]:
    """Registered names in ``group``, each with the distributions that bring it, sorted."""
    found: dict[str, set[str]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, set()).add(_origin(point))
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}


def find(group: str, name: str) -> EntryPoint:
    """Return the entry point ``name`` of ``group`` without importing it.

    Raises:
        UnknownName: nobody registers it; the known ones are listed with their distributions.
        UsageError: it is registered twice with different objects.
    """
    points = {(p.value, _origin(p)): p for p in entry_points(group=group, name=name)}
    if not points:
        known = names(group)
        fix = "known: " + ", ".join(f"{n} (from {origin})" for n, origin in known.items())
        raise UnknownName(_WHAT.get(group, group), name, list(known), fix if known else "")
    if len({value for value, _ in points}) > 1:
        who = "; ".join(f"{origin} gives {value}" for value, origin in sorted(points))
        raise UsageError(
            f"{_WHAT.get(group, group)} {name!r} is registered more than once: {who}",
            "uninstall one of these distributions",
        )
    return next(iter(points.values()))


def load(group: str, name: str) -> Any:
    """Import and return the plug-in ``name`` of ``group``.

    Raises:
        UnknownName, UsageError: as :func:`find`.
        HwnasError: the plug-in cannot be imported.
    """
    point = find(group, name)
    try:
        return point.load()
    except HwnasError:
        raise
    except Exception as error:
        raise HwnasError(
            f"{_WHAT.get(group, group)} {name!r} from {_origin(point)} cannot be imported: {error}",
            f"reinstall or uninstall {_origin(point)}",
        ) from error
