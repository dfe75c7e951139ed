"""Which subnets ``hwnas export`` ships: from a plan, by name, or all of a portable bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.errors import PlanError, UsageError
from hwnas.export import Wanted
from hwnas.link.norms import NormMode, OwnNorms, read_norms
from hwnas.select import Plan

__all__ = ["further_subnets", "wanted_subnets", "with_norms"]

_MOST = 2000
"""Subnets of a space that ``--also all`` tries to name."""


def wanted_subnets(source: Bundle, plan: Path | None, names: Sequence[str]) -> list[Wanted]:
    """What to ship, the plan's subnets first, each once.

    Raises:
        UsageError: nothing says which.
        UnknownName: no such subnet.
        PlanError: the plan is empty or of another bundle.
    """
    if source.manifest.form == "subnets":
        if plan is not None:
            raise UsageError(f"{source.path} ships its plan's subnets already", "leave out --plan")
        return [_shipped(source, name) for name in names or source.manifest.subnets]
    if plan is None and not names:
        raise UsageError(
            "nothing says which subnets",
            "give --plan FILE (from 'hwnas select'), or --subnet NAME",
        )
    wanted = {item.subnet.name: item for item in _planned(source, plan)} if plan else {}
    for name in names:
        subnet = source.manifest.space.find(name)
        wanted.setdefault(subnet.name, Wanted(subnet))
    return list(wanted.values())


def _shipped(source: Bundle, name: str) -> Wanted:
    entry = source.entry(name)
    return Wanted(source.subnet(name), entry.quality, dict(entry.cost))


def _planned(source: Bundle, plan: Path) -> list[Wanted]:
    loaded = Plan.load(plan)
    loaded.check(source)
    if not loaded.subnets:
        raise PlanError(f"{plan} holds no subnet", "make it again with 'hwnas select'")
    found = []
    for chosen in loaded.subnets:
        cost = chosen.measured or chosen.predicted
        times = {"p50_ms": cost.p50_ms, "p95_ms": cost.p95_ms}
        known = {name: ms for name, ms in times.items() if ms is not None}
        known["measured"] = float(cost.measured)
        subnet = source.manifest.space.find(chosen.spec)
        found.append(Wanted(subnet, chosen.quality, known, OwnNorms({}, chosen.norm)))
    return found


def further_subnets(
    source: Bundle, wanted: Sequence[Wanted], names: Sequence[str]
) -> tuple[list[Wanted], set[str]]:
    """Subnets to name where the segments cover them; ``all`` is every other one of ``source``.

    Returns:
        The subnets, and the names of those that nobody asked for by name.

    Raises:
        UsageError: a portable bundle lacks one, or there are too many for ``all``.
        UnknownName: no such subnet in the space.
    """
    portable = source.manifest.form == "subnets"
    asked = [name for name in names if name != "all"]
    lacking = [name for name in asked if portable and name not in source.manifest.subnets]
    if lacking:
        raise UsageError(
            f"{source.path} does not ship {lacking[0]!r}, and a portable bundle holds the blocks "
            "of its own subnets only",
            "give the bundle that 'hwnas compile' wrote to name further ones with --also",
        )
    items = [_shipped(source, n) if portable else Wanted(source.subnet(n)) for n in asked]
    found = {item.subnet.name: item for item in items}
    named = set(found)
    if "all" in names:
        for item in _everything(source):
            found.setdefault(item.subnet.name, item)
    have = {item.subnet.name for item in wanted}
    further = [item for name, item in found.items() if name not in have]
    return further, set(found) - named


def _everything(source: Bundle) -> list[Wanted]:
    if source.manifest.form == "subnets":
        return [_shipped(source, name) for name in source.manifest.subnets]
    number = source.manifest.space.count()
    if number > _MOST:
        raise UsageError(
            f"the space has {number:,} subnets; --also all tries {_MOST:,} at most",
            "name those that you want with --also NAME",
        )
    return [Wanted(subnet) for subnet in source.manifest.space.subnets()]


def with_norms(
    source: Bundle, wanted: Sequence[Wanted], file: Path | None, mode: NormMode | None
) -> list[Wanted]:
    """Give each subnet the statistics that ``file`` has for it.

    Args:
        source: that the subnets are of.
        wanted: what ships; a plan may have set how each is linked.
        file: see :func:`hwnas.link.norms.read_norms`.
        mode: for all of them, whatever the plan says.

    Raises:
        UsageError: the file is for a subnet that does not ship, or there is none; ``source`` is
            no space.
        InputError: the file is damaged, or for other weights.
    """
    if file is not None and source.manifest.form != "space":
        raise UsageError(
            "the blocks of a portable bundle cannot take statistics of a subnet's own",
            "give the bundle that 'hwnas compile' wrote",
        )
    if file is None:
        if mode is not None:
            raise UsageError("--norm says how to link statistics", "give them with --norms FILE")
        return [replace(item, norms=None) for item in wanted]
    statistics = read_norms(file, source)
    result = []
    for item in wanted:
        own = statistics.pop(item.subnet.name, None)
        planned = item.norms.mode if item.norms is not None else "shared"
        norms = OwnNorms(own, mode or planned) if own else None
        result.append(replace(item, norms=norms))
    if statistics:
        raise UsageError(
            f"{file} has statistics of {min(statistics)!r}, which is not exported",
            "export it too, or leave its tensors out",
        )
    return result
