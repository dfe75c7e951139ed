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
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from pydantic import model_validator

from hwnas.errors import SupernetError, UnknownName
from hwnas.frozen import Frozen
from hwnas.rules import EqualChoice, EquidistantDepth, PrefixDepth, Rule, Slot, check_rules

__all__ = ["EqualChoice", "EquidistantDepth", "PrefixDepth", "Rule", "Slot", "Space", "Subnet"]

_LONGEST_NAME = 80
"""A subnet's name is also a file name; a longer one is cut and ends in a hash."""
_CUT = re.compile(r"x[0-9a-f]{10}")
_WALKED = 100_000
"""Up to so many subnets, a name that was cut is found by a walk over all of them."""


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

    def _subnet(self, picked: tuple[str, ...], words: tuple[str, ...]) -> Subnet:
        spec = name = "-".join(self.tokens + words) or "net"
        if len(spec) > _LONGEST_NAME:
            digest = hashlib.sha256(spec.encode()).hexdigest()[:10]
            name = "-".join([*self.tokens, f"x{digest}"])
        chosen = map((self.fixed + picked).__getitem__, self.source)
        choices = dict(zip(self.slots, chosen, strict=True))
        # Its parts are of a space that was validated; to validate them again is most of a walk.
        return Subnet.model_construct(name=name, spec=spec, choices=choices)


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
    def _places(self) -> tuple[tuple[Slot, int, int | str], ...]:
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
        free: dict[int | str, tuple[int, Slot]] = {}
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
        """Number of subnets, without listing them."""
        return sum(math.prod(map(len, depths.choices)) for depths in self._all_depths())

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
        axes = max(len(depths.choices) for depths in self._all_depths())
        prefix = all(isinstance(rule, PrefixDepth) for rule in self._depth_rules)
        return free_depths + axes <= 1 and prefix

    def find(self, name: str) -> Subnet:
        """The subnet of that name or full spec; ``max`` and ``min`` are the extremes.

        Raises:
            UnknownName: no subnet has that name, or it is a name that was cut and the space has
                more than 100,000 subnets, so that only the full spec finds it.
        """
        if name in ("max", "min"):
            return self.largest() if name == "max" else self.smallest()
        words = name.split("-")
        options = [[o for o in rule if o[0] in ("", *words)][:1] for rule in self._options]
        cut = _CUT.fullmatch(words[-1]) is not None
        small = not cut or self.count() <= _WALKED
        # At most one combination of depths is left.
        for depths in map(self._depths, itertools.product(*options)):
            places = [[i for i, w in enumerate(axis) if w in words][:1] for axis in depths.words]
            written = map(depths.at, itertools.product(*places))
            for subnet in itertools.chain(written, depths.subnets() if cut and small else ()):
                if name in (subnet.spec, subnet.name):
                    return subnet
        known = [subnet.name for subnet in itertools.islice(self.subnets(), 200)]
        fix = (
            f"give the full spec: this space has more than {_WALKED:,} subnets, "
            "too many to search for a name that was cut"
        )
        raise UnknownName("subnet", name, [*known, "max", "min"], "" if small else fix)
