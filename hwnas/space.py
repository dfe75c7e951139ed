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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from pydantic import model_validator

from hwnas.errors import SupernetError, UnknownName
from hwnas.frozen import Frozen
from hwnas.rules import EqualChoice, EquidistantDepth, PrefixDepth, Rule, Slot, check_rules

__all__ = ["EqualChoice", "EquidistantDepth", "PrefixDepth", "Rule", "Slot", "Space", "Subnet"]

_Group = int | str
"""What has one free choice: an equal choice's index, or the name of a slot that is in none."""
_LONGEST_NAME = 80
"""A subnet's name is also a file name; a longer one is cut and ends in a hash."""
_CUT = re.compile(r"x[0-9a-f]{10}")
_WALKED = 100_000
"""Up to so many subnets of the same depths, a name that was cut is found by a walk over them."""


class Subnet(Frozen):
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


class _Depths(NamedTuple):
    """One depth for every depth rule, and what is free then.

    Attributes:
        tokens: how the depths are written in a name.
        slots: the active ones, in order.
        choices: one entry per free slot or equal group: what can be picked there.
        words: how each of ``choices`` is written in a name.
        fixed: the choices of those slots of the space that have only one.
        source: where each of ``slots`` has its choice in ``fixed`` followed by what is picked.
    """

    tokens: tuple[str, ...]
    slots: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]
    fixed: tuple[str, ...]
    source: tuple[int, ...]

    def subnets(self) -> Iterator[Subnet]:
        picks, words = itertools.product(*self.choices), itertools.product(*self.words)
        return map(self._subnet, picks, words)

    def at(self, indexes: Sequence[int]) -> Subnet:
        """The subnet with these choices, one per entry of ``choices``."""
        picked = [choices[i] for choices, i in zip(self.choices, indexes, strict=True)]
        words = [words[i] for words, i in zip(self.words, indexes, strict=True)]
        return self._subnet(tuple(picked), tuple(words))

    def read(self, words: Sequence[str]) -> Subnet | None:
        """The subnet whose choices are written so; None if there is none."""
        if len(words) != len(self.words):
            return None
        if not all(word in axis for word, axis in zip(words, self.words, strict=True)):
            return None
        return self.at([axis.index(w) for w, axis in zip(words, self.words, strict=True)])

    def _subnet(self, picked: tuple[str, ...], words: tuple[str, ...]) -> Subnet:
        spec = name = "-".join(self.tokens + words) or "net"
        if len(spec) > _LONGEST_NAME:
            digest = hashlib.sha256(spec.encode()).hexdigest()[:10]
            name = "-".join([*self.tokens, f"x{digest}"])
        chosen = map((self.fixed + picked).__getitem__, self.source)
        choices = dict(zip(self.slots, chosen, strict=True))
        # Its parts are of a space that was validated; to validate them again is most of a walk.
        return Subnet.model_construct(name=name, spec=spec, choices=choices)


def _groups(slots: Iterable[str], group_of: Mapping[str, _Group]) -> frozenset[_Group]:
    return frozenset(group_of[slot] for slot in slots if slot in group_of)


def _union(sets: Iterable[frozenset[_Group]]) -> frozenset[_Group]:
    return frozenset[_Group]().union(*sets)


class Space(Frozen):
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
        check_rules(self.slots, self.rules)
        free = {self._equal_of.get(slot.name, slot.name): slot.name for slot in self.slots}
        tokens = [token for name in free.values() for token in self._tokens[name]]
        tokens += [f"{r.name}{d}" for r in self._depth_rules for d in r.depths]
        twice = sorted(token for token, times in Counter(tokens).items() if times > 1)
        if twice:
            raise SupernetError(
                f"the space uses these names for two things: {', '.join(twice)}",
                "give each depth rule and each choice a name of its own",
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
    def _options(self) -> tuple[tuple[tuple[str, frozenset[str]], ...], ...]:
        """For every depth rule and depth: how it is written, "" if not, and the active slots."""
        return tuple(
            tuple((f"{r.name}{d}" if len(r.depths) > 1 else "", r.active(d)) for d in r.depths)
            for r in self._depth_rules
        )

    def _all_depths(self) -> Iterator[_Depths]:
        return map(self._depths, itertools.product(*self._options))

    @cached_property
    def _fixed(self) -> dict[str, str]:
        return {slot.name: slot.choices[0] for slot in self.slots if len(slot.choices) == 1}

    @cached_property
    def _places(self) -> tuple[tuple[Slot, int, _Group], ...]:
        """Every slot, its index in ``_fixed`` or -1, and what it is free together with."""
        index = {name: i for i, name in enumerate(self._fixed)}
        return tuple(
            (slot, index.get(slot.name, -1), self._equal_of.get(slot.name, slot.name))
            for slot in self.slots
        )

    def _depths(self, options: Iterable[tuple[str, frozenset[str]]]) -> _Depths:
        tokens, actives = zip(*options, strict=True) if self._options else ((), ())
        active = self._always.union(*actives)
        slots: list[str] = []
        source: list[int] = []
        free: dict[_Group, tuple[int, Slot]] = {}
        for slot, index, group in self._places:
            if slot.name in active:
                slots.append(slot.name)
                if index < 0:
                    index, _ = free.setdefault(group, (len(self._fixed) + len(free), slot))
                source.append(index)
        return _Depths(
            tokens=tuple(filter(None, tokens)),
            slots=tuple(slots),
            choices=tuple(slot.choices for _, slot in free.values()),
            words=tuple(self._tokens[slot.name] for _, slot in free.values()),
            fixed=tuple(self._fixed.values()),
            source=tuple(source),
        )

    def count(self) -> int:
        """Number of subnets, without listing them.

        Rules multiply, unless an equal choice ties them together. What is left to know of the
        rules counted so far is then which of their choices the rest of the rules may find picked.
        """
        group_of = {slot.name: group for slot, index, group in self._places if index < 0}
        sizes = {group: len(self._slot_of[name].choices) for name, group in group_of.items()}
        always = _groups(self._always, group_of)
        left = [[_groups(on, group_of) - always for _, on in rule] for rule in self._options]
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
        return sum(ways.values())

    def subnets(self) -> Iterator[Subnet]:
        """All subnets, lazily; shallow before deep, small choices before large ones."""
        return itertools.chain.from_iterable(d.subnets() for d in self._all_depths())

    def largest(self) -> Subnet:
        """Greatest depth, last choice everywhere."""
        return self._extreme(-1)

    def smallest(self) -> Subnet:
        """Least depth, first choice everywhere."""
        return self._extreme(0)

    def _extreme(self, index: int) -> Subnet:
        depths = self._depths(options[index] for options in self._options)
        return depths.at([index] * len(depths.choices))

    @property
    def chain(self) -> bool:
        """Whether the subnets are ordered by one free dimension, each the next one's prefix."""
        free_depths = sum(len(rule.depths) > 1 for rule in self._depth_rules)
        if free_depths > 1 or not all(isinstance(rule, PrefixDepth) for rule in self._depth_rules):
            return False
        # With one rule at most there are no more combinations of depths than it has depths.
        axes = max(len(depths.choices) for depths in self._all_depths())
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
        depths = self._read_depths(words)
        rest = list(words)
        fix = ""
        if depths is not None:
            found = depths.read(rest)
            if found is None and len(rest) == 1 and _CUT.fullmatch(rest[0]):
                if math.prod(map(len, depths.choices)) <= _WALKED:
                    found = next((s for s in depths.subnets() if s.name == name), None)
                else:
                    fix = (
                        f"give the full spec: this space has more than {_WALKED:,} subnets, "
                        "too many to search for a name that was cut"
                    )
            if found is not None:
                return found
        known = [subnet.name for subnet in itertools.islice(self.subnets(), 200)]
        raise UnknownName("subnet", name, [*known, "max", "min"], fix)

    def _read_depths(self, words: Iterator[str]) -> _Depths | None:
        """The depths that the first of ``words`` are, which it takes; None if they are none."""
        options = []
        for rule in self._options:
            word = next(words, "") if len(rule) > 1 else ""
            option = next((option for option in rule if option[0] == word), None)
            if option is None:
                return None
            options.append(option)
        return self._depths(options)
