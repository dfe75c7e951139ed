"""Slots, what several have in common, and the rules that say which combinations are subnets."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from hwnas.errors import SupernetError
from hwnas.frozen import Frozen

__all__ = [
    "Dimension",
    "EqualChoice",
    "EquidistantDepth",
    "PrefixDepth",
    "Rule",
    "Slot",
    "check_rules",
]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=]*\Z")
_RESERVED = frozenset(["max", "min", "net"])
"""What a subnet may be called whatever its choices: the extremes, and one with nothing free."""

_MOST_BLOCKS = 100_000
"""Each is a file; a bundle that says more is not asked for the memory."""


class Dimension(Frozen):
    """Something elastic that several slots have in common.

    Such as the resolution of the input, or the width between two stages: a value that all slots
    that depend on it must agree on, or their signatures would not fit.

    Attributes:
        name: unique; a value is written after it, as in ``r160``.
        values: smallest first.
    """

    name: str
    values: tuple[NonNegativeInt, ...]

    def written(self, value: int) -> str:
        """How a value is written in the names of choices and subnets; empty if there is one."""
        return f"{self.name}{value}" if len(self.values) > 1 else ""


class Slot(Frozen):
    """A place in the network and what can stand there.

    Attributes:
        name: unique, such as ``stem``, ``layers.7``, ``head``.
        choices: names of what can stand here, smallest first, whatever the dimensions.
        dimensions: names of those that its blocks depend on. A block is a choice at values of
            these, and is written as ``choice.r160``, or ``r160`` where there is one choice.
        reads: named values that a block here takes, in the order of its arguments.
        writes: named values that it gives, in the order of its results. A value that is written
            again replaces the earlier one for the slots after it.
    """

    name: str
    choices: tuple[str, ...] = ("base",)
    dimensions: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("x",)
    writes: tuple[str, ...] = ("x",)

    def written(self, dimensions: Sequence[Dimension]) -> dict[str, tuple[str, dict[str, int]]]:
        """How each choice is written at each value of what this slot depends on.

        Args:
            dimensions: of the space.

        Returns:
            What is written, to the choice and the values; the last choice changes first.
        """
        own = [
            dimension
            for name in self.dimensions
            for dimension in dimensions
            if dimension.name == name
        ]
        found = {}
        for at in itertools.product(*(dimension.values for dimension in own)):
            tokens = [dimension.written(value) for dimension, value in zip(own, at, strict=True)]
            ending = ".".join(filter(None, tokens))
            for choice in self.choices:
                text = ".".join(filter(None, (choice if len(self.choices) > 1 else "", ending)))
                found[text or choice] = (choice, dict(zip(self.dimensions, at, strict=True)))
        return found


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


def check_rules(
    slots: Sequence[Slot], rules: Sequence[Rule], dimensions: Sequence[Dimension] = ()
) -> None:
    """Hold ``slots``, ``rules`` and ``dimensions`` to what a space may be.

    Raises:
        SupernetError: a name that is not allowed or not unique, a rule about an unknown slot, two
            rules of one sort about one slot, depths that cannot be, a dimension that is unknown,
            has no values, or changes nothing in some subnet.
    """
    _check_names(slots, rules, dimensions)
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
    _check_dimensions(slots, rules, dimensions)


def _check_dimensions(
    slots: Sequence[Slot], rules: Sequence[Rule], dimensions: Sequence[Dimension]
) -> None:
    for dimension in dimensions:
        if not dimension.values or list(dimension.values) != sorted(set(dimension.values)):
            raise SupernetError(
                f"dimension {dimension.name!r} has the values {dimension.values}",
                "list each value once, least first",
            )
    known = {dimension.name for dimension in dimensions}
    names = [d.name for d in dimensions]
    names += [rule.name for rule in rules if not isinstance(rule, EqualChoice)]
    if len(set(names)) < len(names):
        # A subnet is taken apart and put together by these names.
        raise SupernetError(
            f"two of the dimensions and depth rules {', '.join(names)} have one name",
            "rename one of them",
        )
    sizes = {dimension.name: len(dimension.values) for dimension in dimensions}
    blocks = 0
    for slot in slots:
        if not known.issuperset(slot.dimensions) or len(set(slot.dimensions)) < len(
            slot.dimensions
        ):
            raise SupernetError(
                f"slot {slot.name!r} has the dimensions {', '.join(slot.dimensions)}",
                f"name each once; the space has {', '.join(sorted(known)) or 'none'}",
            )
        number = len(slot.choices) * math.prod(sizes[name] for name in slot.dimensions)
        blocks += number
        if blocks > _MOST_BLOCKS:
            raise SupernetError(
                f"the space has more than {_MOST_BLOCKS:,} blocks",
                "let slots depend on fewer dimensions, or give these fewer values",
            )
        if len(slot.written(dimensions)) < number:
            raise SupernetError(
                f"two choices at slot {slot.name!r} would be written alike, with their dimensions",
                "give its choices other names, without the names of dimensions",
            )
    optional = {
        name
        for rule in rules
        if not isinstance(rule, EqualChoice)
        for name in rule.slots
        if any(name not in rule.active(depth) for depth in rule.depths)
    }
    used = {d for slot in slots if slot.name not in optional for d in slot.dimensions}
    for name in sorted(known - used):
        # Two names for one and the same network would else be two subnets.
        raise SupernetError(
            f"dimension {name!r} changes nothing where every slot that depends on it is skipped",
            "let a slot that every subnet has depend on it",
        )


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


def _check_names(
    slots: Sequence[Slot], rules: Sequence[Rule], dimensions: Sequence[Dimension]
) -> None:
    if not slots:
        raise SupernetError("the space has no slots", "declare at least one Slot")
    names = [slot.name for slot in slots]
    others = [rule.name for rule in rules if not isinstance(rule, EqualChoice)]
    others += [dimension.name for dimension in dimensions]
    for name in [*names, *(c for slot in slots for c in slot.choices), *others]:
        if not _NAME.match(name):
            raise SupernetError(
                f"{name!r} is not allowed as the name of a slot, a choice, a rule or a dimension",
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
