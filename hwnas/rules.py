"""Slots, and the rules that say which combinations of their choices are subnets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from hwnas.errors import SupernetError
from hwnas.frozen import Frozen

__all__ = ["EqualChoice", "EquidistantDepth", "PrefixDepth", "Rule", "Slot", "check_rules"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=]*\Z")
_RESERVED = frozenset(["max", "min", "net"])
"""What a subnet may be called whatever its choices: the extremes, and one with nothing free."""


class Slot(Frozen):
    """A place in the network and what can stand there.

    Attributes:
        name: unique, such as ``stem``, ``layers.7``, ``head``.
        choices: names of what can stand here, smallest first.
        reads: named values that a block here takes, in the order of its arguments.
        writes: named values that it gives, in the order of its results. A value that is written
            again replaces the earlier one for the slots after it.
    """

    name: str
    choices: tuple[str, ...] = ("base",)
    reads: tuple[str, ...] = ("x",)
    writes: tuple[str, ...] = ("x",)


class PrefixDepth(Frozen):
    """The first ``d`` of ``slots`` are active, for a ``d`` in ``depths`` (OFA, SortedNet)."""

    kind: Literal["prefix_depth"] = "prefix_depth"
    name: str = "d"
    slots: tuple[str, ...]
    depths: tuple[int, ...]

    def active(self, depth: int) -> frozenset[str]:
        """Names of the active slots at ``depth``."""
        return frozenset(self.slots[:depth])


class EquidistantDepth(Frozen):
    """Slots ``i*(D-1)//(d-1)`` for i = 0..d-1 are active (VARiant), D being ``len(slots)``.

    In integers: in floating point the last slot can be lost, as with D=30, d=26.
    """

    kind: Literal["equidistant_depth"] = "equidistant_depth"
    name: str = "d"
    slots: tuple[str, ...]
    depths: tuple[int, ...]

    def active(self, depth: int) -> frozenset[str]:
        """Names of the active slots at ``depth``."""
        if depth < 2:
            return frozenset(self.slots[:depth])
        last = len(self.slots) - 1
        return frozenset(self.slots[i * last // (depth - 1)] for i in range(depth))


class EqualChoice(Frozen):
    """All active slots of ``slots`` have the same choice."""

    kind: Literal["equal_choice"] = "equal_choice"
    slots: tuple[str, ...]


Rule = Annotated[PrefixDepth | EquidistantDepth | EqualChoice, Field(discriminator="kind")]


def check_rules(slots: Sequence[Slot], rules: Sequence[Rule]) -> None:
    """Hold ``slots`` and ``rules`` to what a space may be.

    Raises:
        SupernetError: a name that is not allowed or not unique, a rule about an unknown slot, two
            rules of one sort about one slot, depths that cannot be.
    """
    _check_names(slots, rules)
    known = {slot.name: slot for slot in slots}
    seen: set[tuple[bool, str]] = set()
    for rule in rules:
        equal = isinstance(rule, EqualChoice)
        for name in rule.slots:
            if name not in known:
                raise SupernetError(
                    f"a {rule.kind} rule names the slot {name!r}, which does not exist",
                    f"known slots: {', '.join(known)}",
                )
            if (equal, name) in seen:
                raise SupernetError(
                    f"two {rule.kind} rules name the slot {name!r}", "keep one of them"
                )
            seen.add((equal, name))
        if isinstance(rule, EqualChoice):
            if len({known[name].choices for name in rule.slots}) != 1:
                raise SupernetError(
                    "an equal_choice rule needs the same choices at all its slots",
                    "give the slots the same choices, or drop the rule",
                )
        else:
            _check_depths(rule)


def _check_depths(rule: PrefixDepth | EquidistantDepth) -> None:
    if not rule.depths or not all(0 <= d <= len(rule.slots) for d in rule.depths):
        raise SupernetError(
            f"rule {rule.name!r} has depths {rule.depths} for {len(rule.slots)} slots",
            f"use depths from 0 to {len(rule.slots)}",
        )
    if list(rule.depths) != sorted(set(rule.depths)):
        raise SupernetError(
            f"rule {rule.name!r} has depths {rule.depths}", "list each depth once, least first"
        )


def _check_names(slots: Sequence[Slot], rules: Sequence[Rule]) -> None:
    if not slots:
        raise SupernetError("the space has no slots", "declare at least one Slot")
    names = [slot.name for slot in slots]
    depths = [rule.name for rule in rules if not isinstance(rule, EqualChoice)]
    for name in [*names, *(c for slot in slots for c in slot.choices), *depths]:
        if not _NAME.match(name):
            raise SupernetError(
                f"{name!r} is not allowed as the name of a slot, a choice or a rule",
                "use letters, digits, '_', '.' and '='",
            )
        if name in _RESERVED:
            raise SupernetError(
                f"{name!r} is reserved: it already means a subnet",
                f"give the slot, choice or rule a name other than {', '.join(sorted(_RESERVED))}",
            )
    for what, listed in [("slot", names), *((f"choice at {s.name}", s.choices) for s in slots)]:
        twice = sorted({name for name in listed if list(listed).count(name) > 1})
        if twice or not listed:
            raise SupernetError(
                f"{what}: {', '.join(twice)} appears twice" if twice else f"no {what}",
                "give each a name of its own",
            )
