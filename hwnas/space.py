"""The space: slots, their choices, and the rules that say which combinations are subnets.

A space may hold more subnets than can be listed (Once-for-All has over 2*10^19), so it is counted
and walked lazily. A subnet is written down by its *name*, the choices that are free in the space,
joined by ``-``: ``d4-ffn128`` is depth 4 with the choice ``ffn128`` in every layer.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwnas.errors import SupernetError, UnknownName

__all__ = ["EqualChoice", "EquidistantDepth", "PrefixDepth", "Rule", "Slot", "Space", "Subnet"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=]*\Z")
_LONGEST_NAME = 80
"""A subnet's name is also a file name; a longer one is cut and ends in a hash."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Slot(_Frozen):
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


class PrefixDepth(_Frozen):
    """The first ``d`` of ``slots`` are active, for a ``d`` in ``depths`` (OFA, SortedNet)."""

    kind: Literal["prefix_depth"] = "prefix_depth"
    name: str = "d"
    slots: tuple[str, ...]
    depths: tuple[int, ...]

    def active(self, depth: int) -> frozenset[str]:
        """Names of the active slots at ``depth``."""
        return frozenset(self.slots[:depth])


class EquidistantDepth(_Frozen):
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


class EqualChoice(_Frozen):
    """All active slots of ``slots`` have the same choice."""

    kind: Literal["equal_choice"] = "equal_choice"
    slots: tuple[str, ...]


Rule = Annotated[PrefixDepth | EquidistantDepth | EqualChoice, Field(discriminator="kind")]


class Subnet(_Frozen):
    """One subnet: a choice for every active slot, in the order of the space's slots.

    Attributes:
        name: short and safe as a file name; unique within its space.
        spec: the name in full; equal to ``name`` unless that had to be cut.
        choices: slot to choice; a slot that is skipped is absent.
    """

    name: str
    spec: str
    choices: dict[str, str]

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block ids ``slot/choice`` in order."""
        return tuple(f"{slot}/{choice}" for slot, choice in self.choices.items())


class Space(_Frozen):
    """Slots, choices and rules.

    Attributes:
        slots: in the order in which they run.
        rules: at most one depth rule and one :class:`EqualChoice` per slot.
        inputs: named values that the network is given.
        outputs: named values that it returns.
        nested: each subnet is a part of every larger one and was trained so (SortedNet), so that
            a larger one is expected to be at least as good. Selection may then do without a
            quality where the subnets form one chain.

    Raises:
        SupernetError: a name that is not allowed or not unique, a rule about an unknown slot.
    """

    slots: tuple[Slot, ...]
    rules: tuple[Rule, ...] = ()
    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("x",)
    nested: bool = False

    @model_validator(mode="after")
    def _check(self) -> Space:
        _check_names(self)
        _check_rules(self)
        free = {self._equal_of.get(slot.name, slot.name): slot.name for slot in self.slots}
        tokens = [token for name in free.values() for token in self._tokens(name)]
        tokens += [f"{r.name}{d}" for r in self._depth_rules for d in r.depths]
        twice = sorted(token for token, times in Counter(tokens).items() if times > 1)
        if twice:
            raise SupernetError(
                f"the space uses these names for two things: {', '.join(twice)}",
                "give each depth rule and each choice a name of its own",
            )
        return self

    @property
    def _depth_rules(self) -> tuple[PrefixDepth | EquidistantDepth, ...]:
        return tuple(r for r in self.rules if not isinstance(r, EqualChoice))

    @property
    def _equal_rules(self) -> tuple[EqualChoice, ...]:
        return tuple(r for r in self.rules if isinstance(r, EqualChoice))

    @cached_property
    def _equal_of(self) -> dict[str, int]:
        return {slot: i for i, rule in enumerate(self._equal_rules) for slot in rule.slots}

    def slot(self, name: str) -> Slot:
        """The slot of that name; :class:`UnknownName` if there is none."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise UnknownName("slot", name, [slot.name for slot in self.slots])

    @property
    def blocks(self) -> tuple[tuple[str, str], ...]:
        """Every (slot, choice) pair in order."""
        return tuple((slot.name, choice) for slot in self.slots for choice in slot.choices)

    @property
    def skippable(self) -> frozenset[str]:
        """Names of the slots that some subnet leaves out."""
        return frozenset(
            slot
            for rule in self._depth_rules
            for slot in rule.slots
            if any(slot not in rule.active(depth) for depth in rule.depths)
        )

    def _tokens(self, slot: str) -> tuple[str, ...]:
        """How this slot's choices are written in a name; empty if nothing is free here."""
        choices = self.slot(slot).choices
        if len(choices) == 1:
            return ()
        if slot in self._equal_of:
            return choices
        return tuple(f"{slot}.{choice}" for choice in choices)

    def _active_sets(self) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
        """Every combination of depths: its tokens, and the slots that are then active."""
        ruled = {slot for rule in self._depth_rules for slot in rule.slots}
        always = frozenset(slot.name for slot in self.slots if slot.name not in ruled)
        for depths in itertools.product(*(rule.depths for rule in self._depth_rules)):
            pairs = list(zip(self._depth_rules, depths, strict=True))
            tokens = tuple(f"{r.name}{d}" for r, d in pairs if len(r.depths) > 1)
            yield tokens, always.union(*(rule.active(depth) for rule, depth in pairs))

    def _axes(self, active: frozenset[str]) -> list[tuple[str, tuple[str, ...]]]:
        """What is free once the depths are chosen: one entry per free slot or equal group."""
        axes: list[tuple[str, tuple[str, ...]]] = []
        grouped: set[int] = set()
        for slot in self.slots:
            group = self._equal_of.get(slot.name)
            if slot.name not in active or len(slot.choices) == 1 or group in grouped:
                continue
            if group is not None:
                grouped.add(group)
            axes.append((slot.name, slot.choices))
        return axes

    def count(self) -> int:
        """Number of subnets, without listing them."""
        return sum(
            math.prod(len(choices) for _, choices in self._axes(active))
            for _, active in self._active_sets()
        )

    def subnets(self) -> Iterator[Subnet]:
        """All subnets, lazily; shallow before deep, small choices before large ones."""
        for tokens, active in self._active_sets():
            axes = self._axes(active)
            for picked in itertools.product(*(choices for _, choices in axes)):
                yield self._build(
                    tokens, active, dict(zip([slot for slot, _ in axes], picked, strict=True))
                )

    def _build(
        self, tokens: tuple[str, ...], active: frozenset[str], picked: Mapping[str, str]
    ) -> Subnet:
        by_group = {self._equal_of[s]: c for s, c in picked.items() if s in self._equal_of}
        choices: dict[str, str] = {}
        for slot in self.slots:
            if slot.name in active:
                group = self._equal_of.get(slot.name, -1)
                choices[slot.name] = picked.get(slot.name, by_group.get(group, slot.choices[0]))
        written = [
            self._tokens(slot)[self.slot(slot).choices.index(choice)]
            for slot, choice in picked.items()
        ]
        spec = "-".join([*tokens, *written]) or "net"
        if len(spec) <= _LONGEST_NAME:
            return Subnet(name=spec, spec=spec, choices=choices)
        digest = hashlib.sha256(spec.encode()).hexdigest()[:10]
        return Subnet(name="-".join([*tokens, f"x{digest}"]), spec=spec, choices=choices)

    def largest(self) -> Subnet:
        """Greatest depth, last choice everywhere."""
        return self._extreme(-1)

    def smallest(self) -> Subnet:
        """Least depth, first choice everywhere."""
        return self._extreme(0)

    def _extreme(self, index: int) -> Subnet:
        sets = list(self._active_sets())
        tokens, active = sets[index]
        return self._build(tokens, active, {s: c[index] for s, c in self._axes(active)})

    @property
    def chain(self) -> bool:
        """Whether the subnets are ordered by one free dimension, each the next one's prefix."""
        free_depths = sum(len(rule.depths) > 1 for rule in self._depth_rules)
        axes = max(len(self._axes(active)) for _, active in self._active_sets())
        prefix = all(isinstance(rule, PrefixDepth) for rule in self._depth_rules)
        return free_depths + axes <= 1 and prefix

    def find(self, name: str) -> Subnet:
        """The subnet of that name or full spec; ``max`` and ``min`` are the extremes.

        Raises:
            UnknownName: no subnet has that name.
        """
        if name in ("max", "min"):
            return self.largest() if name == "max" else self.smallest()
        words = name.split("-") if name != "net" else []
        for tokens, active in self._active_sets():
            if tuple(words[: len(tokens)]) != tokens:
                continue
            axes = self._axes(active)
            rest = words[len(tokens) :]
            if len(rest) != len(axes):
                continue
            picked = {
                slot: choice
                for (slot, choices), word in zip(axes, rest, strict=True)
                for choice, token in zip(choices, self._tokens(slot), strict=True)
                if token == word
            }
            if len(picked) == len(axes):
                return self._build(tokens, active, picked)
        known = [subnet.name for subnet in itertools.islice(self.subnets(), 200)]
        raise UnknownName("subnet", name, [*known, "max", "min"])


def _check_names(space: Space) -> None:
    slots = [slot.name for slot in space.slots]
    if not slots:
        raise SupernetError("the space has no slots", "declare at least one Slot")
    for name in [*slots, *(c for slot in space.slots for c in slot.choices)]:
        if not _NAME.match(name):
            raise SupernetError(
                f"{name!r} is not allowed as the name of a slot or a choice",
                "use letters, digits, '_', '.' and '='",
            )
    for what, listed in [
        ("slot", slots),
        *((f"choice at {s.name}", s.choices) for s in space.slots),
    ]:
        twice = sorted({name for name in listed if list(listed).count(name) > 1})
        if twice or not listed:
            raise SupernetError(
                f"{what}: {', '.join(twice)} appears twice" if twice else f"no {what}",
                "give each a name of its own",
            )


def _check_rules(space: Space) -> None:
    slots = {slot.name: slot for slot in space.slots}
    seen: set[tuple[bool, str]] = set()
    for rule in space.rules:
        equal = isinstance(rule, EqualChoice)
        for name in rule.slots:
            if name not in slots:
                raise SupernetError(
                    f"a {rule.kind} rule names the slot {name!r}, which does not exist",
                    f"known slots: {', '.join(slots)}",
                )
            if (equal, name) in seen:
                raise SupernetError(
                    f"two {rule.kind} rules name the slot {name!r}", "keep one of them"
                )
            seen.add((equal, name))
        if isinstance(rule, EqualChoice):
            if len({slots[name].choices for name in rule.slots}) != 1:
                raise SupernetError(
                    "an equal_choice rule needs the same choices at all its slots",
                    "give the slots the same choices, or drop the rule",
                )
        elif not rule.depths or not all(0 <= d <= len(rule.slots) for d in rule.depths):
            raise SupernetError(
                f"rule {rule.name!r} has depths {rule.depths} for {len(rule.slots)} slots",
                f"use depths from 0 to {len(rule.slots)}",
            )
        elif list(rule.depths) != sorted(set(rule.depths)):
            raise SupernetError(
                f"rule {rule.name!r} has depths {rule.depths}", "list each depth once, least first"
            )
