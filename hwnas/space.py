"""The space: slots, their choices, and the rules that say which combinations are subnets.

A space may hold more subnets than can be listed (Once-for-All has over 2*10^19), so it is counted
and walked lazily. A subnet is written down by its *name*, what is free in the space joined by
``-``: ``d4-ffn128`` is depth 4 with the choice ``ffn128`` in every layer, ``r160-d4-ffn128`` the
same at a resolution of 160.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from pydantic import model_validator

from hwnas.combination import Combination, Option, Parts, Subnet
from hwnas.errors import SupernetError, UnknownName
from hwnas.frozen import Frozen
from hwnas.rules import (
    Dimension,
    EqualChoice,
    EquidistantDepth,
    PrefixDepth,
    Rule,
    Slot,
    check_rules,
)

__all__ = [
    "Dimension",
    "EqualChoice",
    "EquidistantDepth",
    "Parts",
    "PrefixDepth",
    "Rule",
    "Slot",
    "Space",
    "Subnet",
]

_Group = int | str
"""What has one free choice: an equal choice's index, or the name of a slot that is in none."""
_CUT = re.compile(r"x[0-9a-f]{10}")
_WALKED = 100_000
"""Up to so many subnets of the same depths, a name that was cut is found by a walk over them."""


def _groups(slots: Iterable[str], group_of: Mapping[str, _Group]) -> frozenset[_Group]:
    return frozenset(group_of[slot] for slot in slots if slot in group_of)


def _union(sets: Iterable[frozenset[_Group]]) -> frozenset[_Group]:
    return frozenset[_Group]().union(*sets)


class Space(Frozen):
    """Slots, choices, dimensions and rules.

    Attributes:
        slots: in the order in which they run.
        rules: at most one depth rule and one :class:`EqualChoice` per slot.
        dimensions: what several slots have in common and each subnet has one value of.
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
    dimensions: tuple[Dimension, ...] = ()
    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("x",)
    nested: bool = False

    @model_validator(mode="after")
    def _check(self) -> Space:
        check_rules(self.slots, self.rules, self.dimensions)
        free = {self._equal_of.get(slot.name, slot.name): slot.name for slot in self.slots}
        tokens = [token for name in free.values() for token in self._tokens[name]]
        tokens += [f"{r.name}{d}" for r in self._depth_rules for d in r.depths]
        tokens += [f"{d.name}{value}" for d in self.dimensions for value in d.values]
        twice = sorted(token for token, times in Counter(tokens).items() if times > 1)
        if twice:
            raise SupernetError(
                f"the space uses these names for two things: {', '.join(twice)}",
                "give each dimension, each depth rule and each choice a name of its own",
            )
        return self

    @cached_property
    def _depth_rules(self) -> tuple[PrefixDepth | EquidistantDepth, ...]:
        return tuple(r for r in self.rules if not isinstance(r, EqualChoice))

    @property
    def _equal_rules(self) -> tuple[EqualChoice, ...]:
        return tuple(r for r in self.rules if isinstance(r, EqualChoice))

    @cached_property
    def _equal_of(self) -> dict[str, int]:
        return {slot: i for i, rule in enumerate(self._equal_rules) for slot in rule.slots}

    @cached_property
    def _slot_of(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in self.slots}

    def slot(self, name: str) -> Slot:
        """The slot of that name; :class:`UnknownName` if there is none."""
        if name not in self._slot_of:
            raise UnknownName("slot", name, list(self._slot_of))
        return self._slot_of[name]

    @property
    def blocks(self) -> tuple[tuple[str, str], ...]:
        """Every (slot, choice) pair in order, as written."""
        return tuple(
            (slot.name, choice) for slot in self.slots for choice in self.written(slot.name)
        )

    def written(self, slot: str) -> tuple[str, ...]:
        """How the choices at ``slot`` are written, at all values of its dimensions."""
        return tuple(self._readings[self.slot(slot).name])

    def read(self, slot: str, written: str) -> tuple[str, dict[str, int]]:
        """The choice at ``slot`` and the values of its dimensions that ``written`` says.

        Raises:
            UnknownName: no such slot, or no such choice at it.
        """
        known = self._readings[self.slot(slot).name]
        if written not in known:
            raise UnknownName(f"choice at {slot}", written, list(known))
        choice, values = known[written]
        return choice, dict(values)

    @cached_property
    def _readings(self) -> dict[str, dict[str, tuple[str, dict[str, int]]]]:
        return {slot.name: slot.written(self.dimensions) for slot in self.slots}

    @property
    def skippable(self) -> frozenset[str]:
        """Names of the slots that some subnet leaves out."""
        return frozenset(
            slot
            for rule in self._depth_rules
            for slot in rule.slots
            if any(slot not in rule.active(depth) for depth in rule.depths)
        )

    @cached_property
    def _tokens(self) -> dict[str, tuple[str, ...]]:
        """How each slot's choices are written in a name; empty if nothing is free there."""
        prefixes = {s.name: "" if s.name in self._equal_of else f"{s.name}." for s in self.slots}
        return {
            slot.name: tuple(prefixes[slot.name] + choice for choice in slot.choices)
            if len(slot.choices) > 1
            else ()
            for slot in self.slots
        }

    @cached_property
    def _always(self) -> frozenset[str]:
        ruled = {slot for rule in self._depth_rules for slot in rule.slots}
        return frozenset(slot.name for slot in self.slots if slot.name not in ruled)

    @cached_property
    def _depth_options(self) -> tuple[tuple[Option, ...], ...]:
        return tuple(
            tuple(
                Option(r.name, d, f"{r.name}{d}" if len(r.depths) > 1 else "", r.active(d))
                for d in r.depths
            )
            for r in self._depth_rules
        )

    @cached_property
    def _options(self) -> tuple[tuple[Option, ...], ...]:
        """For every dimension its values, then for every depth rule its depths."""
        values = tuple(
            tuple(Option(d.name, value, d.written(value)) for value in d.values)
            for d in self.dimensions
        )
        return values + self._depth_options

    def _combinations(self) -> Iterator[Combination]:
        return map(self._combination, itertools.product(*self._options))

    @cached_property
    def _places(self) -> tuple[tuple[Slot, int, _Group], ...]:
        """Every slot, its number among those of one choice or -1, what it is free together with."""
        index = {s.name: i for i, s in enumerate(s for s in self.slots if len(s.choices) == 1)}
        return tuple(
            (slot, index.get(slot.name, -1), self._equal_of.get(slot.name, slot.name))
            for slot in self.slots
        )

    def _combination(self, options: Sequence[Option]) -> Combination:
        active = self._always.union(*(option.active for option in options))
        at = {option.name: option.token for option in options[: len(self.dimensions)]}
        single = [slot for slot, index, _ in self._places if index >= 0]
        slots: list[str] = []
        source: list[int] = []
        endings: list[str] = []
        free: dict[_Group, tuple[int, Slot]] = {}
        for slot, index, group in self._places:
            if slot.name in active:
                slots.append(slot.name)
                tail = "" if index >= 0 else "".join(f".{at[d]}" for d in slot.dimensions if at[d])
                if index < 0:
                    index, _ = free.setdefault(group, (len(single) + len(free), slot))
                source.append(index)
                endings.append(tail)
        return Combination(
            tokens=tuple(option.token for option in options if option.token),
            slots=tuple(slots),
            free=tuple(slot.name for _, slot in free.values()),
            choices=tuple(slot.choices for _, slot in free.values()),
            words=tuple(self._tokens[slot.name] for _, slot in free.values()),
            fixed=tuple(
                ".".join(at[d] for d in slot.dimensions if at[d]) or slot.choices[0]
                for slot in single
            ),
            source=tuple(source),
            endings=tuple(endings) if any(endings) else (),
        )

    def count(self) -> int:
        """Number of subnets, without listing them.

        Rules multiply, unless an equal choice ties them together. What is left to know of the
        rules counted so far is then which of their choices the rest of the rules may find picked.
        """
        group_of = {slot.name: group for slot, index, group in self._places if index < 0}
        sizes = {group: len(self._slot_of[name].choices) for name, group in group_of.items()}
        always = _groups(self._always, group_of)
        left = [
            [_groups(option.active, group_of) - always for option in rule]
            for rule in self._depth_options
        ]
        ways = {frozenset[_Group](): math.prod(sizes[group] for group in always)}
        while left:
            shared = frozenset[_Group]().union(*ways)
            tied = (i for i, rule in enumerate(left) if not shared.isdisjoint(_union(rule)))
            rule = left.pop(next(tied, 0))  # tied rules one after another, so that few stay open
            later = _union(map(_union, left))
            counted: Counter[frozenset[_Group]] = Counter()
            for picked, number in ways.items():
                for groups in rule:
                    new = math.prod(sizes[group] for group in groups - picked)
                    counted[(picked | groups) & later] += number * new
            ways = dict(counted)
        return sum(ways.values()) * math.prod(len(d.values) for d in self.dimensions)

    def subnets(self) -> Iterator[Subnet]:
        """All subnets, lazily; shallow before deep, small choices before large ones."""
        return itertools.chain.from_iterable(found.subnets() for found in self._combinations())

    def largest(self) -> Subnet:
        """Greatest values and depths, last choice everywhere."""
        return self._extreme(-1)

    def smallest(self) -> Subnet:
        """Least values and depths, first choice everywhere."""
        return self._extreme(0)

    def _extreme(self, index: int) -> Subnet:
        found = self._combination([options[index] for options in self._options])
        return found.at([index] * len(found.choices))

    def sample(self, rng: random.Random) -> Subnet:
        """A random subnet: each value, depth and choice alike (not each subnet alike)."""
        found = self._combination([rng.choice(options) for options in self._options])
        return found.at([rng.choice(range(len(choices))) for choices in found.choices])

    def parts(self, subnet: Subnet) -> Parts:
        """Take ``subnet`` apart.

        Raises:
            UnknownName: it is of another space.
        """
        dimensions = {d.name: d.values[0] for d in self.dimensions}
        choices = {}
        for slot, written in subnet.choices.items():
            choices[slot], values = self.read(slot, written)
            dimensions |= values
        depths = {r.name: sum(s in choices for s in r.slots) for r in self._depth_rules}
        return Parts(dimensions, depths, choices)

    def compose(
        self,
        dimensions: Mapping[str, int] | None = None,
        depths: Mapping[str, int] | None = None,
        choices: Mapping[str, str] | None = None,
    ) -> Subnet:
        """The subnet of these parts; the inverse of :meth:`parts`.

        Args:
            dimensions: a value for every dimension that has several.
            depths: a depth for every rule that has several.
            choices: a choice for every active slot that has several; one for each equal group
                is enough, and what slots that are not active have does not count.

        Raises:
            UnknownName: a value, depth or choice that does not exist, or is missing where several
                are possible.
        """
        wanted = {**(dimensions or {}), **(depths or {})}
        unknown = set(wanted) - {options[0].name for options in self._options}
        if unknown:
            known = [options[0].name for options in self._options]
            raise UnknownName("dimension or depth rule", min(unknown), known)
        options = [_option(found, wanted) for found in self._options]
        found = self._combination(options)
        picks = choices or {}
        indexes = []
        for name, possible in zip(found.free, found.choices, strict=True):
            members = [name, *self._equal_slots(name)]
            pick = next((picks[slot] for slot in members if slot in picks), "")
            if pick not in possible:
                raise UnknownName(f"choice at {name}", pick, possible)
            indexes.append(possible.index(pick))
        return found.at(indexes)

    def _equal_slots(self, slot: str) -> tuple[str, ...]:
        index = self._equal_of.get(slot)
        return () if index is None else self._equal_rules[index].slots

    @property
    def chain(self) -> bool:
        """Whether the subnets are ordered by one free dimension, each the next one's prefix."""
        if any(len(dimension.values) > 1 for dimension in self.dimensions):
            return False
        free_depths = sum(len(rule.depths) > 1 for rule in self._depth_rules)
        if free_depths > 1 or not all(isinstance(rule, PrefixDepth) for rule in self._depth_rules):
            return False
        # With one rule at most there are no more combinations of depths than it has depths.
        axes = max(len(found.choices) for found in self._combinations())
        return free_depths + axes <= 1

    def find(self, name: str) -> Subnet:
        """The subnet of that name or full spec; ``max`` and ``min`` are the extremes.

        Raises:
            UnknownName: no subnet has that name, or it is a name that was cut and more than
                100,000 subnets have its depths, so that only the full spec finds it.
        """
        if name in ("max", "min"):
            return self.largest() if name == "max" else self.smallest()
        words = iter(() if name == "net" else name.split("-"))
        combination = self._read_options(words)
        rest = list(words)
        fix = ""
        if combination is not None:
            found = combination.read(rest)
            if found is None and len(rest) == 1 and _CUT.fullmatch(rest[0]):
                if math.prod(map(len, combination.choices)) <= _WALKED:
                    found = next((s for s in combination.subnets() if s.name == name), None)
                else:
                    fix = (
                        f"give the full spec: this space has more than {_WALKED:,} subnets, "
                        "too many to search for a name that was cut"
                    )
            if found is not None:
                return found
        known = [subnet.name for subnet in itertools.islice(self.subnets(), 200)]
        raise UnknownName("subnet", name, [*known, "max", "min"], fix)

    def _read_options(self, words: Iterator[str]) -> Combination | None:
        """What the first of ``words``, which it takes, say; None if they say nothing."""
        options = []
        for possible in self._options:
            word = next(words, "") if len(possible) > 1 else ""
            option = next((option for option in possible if option.token == word), None)
            if option is None:
                return None
            options.append(option)
        return self._combination(options)


def _option(options: Sequence[Option], wanted: Mapping[str, int]) -> Option:
    name = options[0].name
    if name not in wanted and len(options) == 1:
        return options[0]
    for option in options:
        if option.value == wanted.get(name):
            return option
    known = [str(option.value) for option in options]
    raise UnknownName(f"value of {name}", str(wanted.get(name, "")), known)
