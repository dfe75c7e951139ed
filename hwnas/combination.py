"""One value for every dimension, one depth for every rule, and the subnets that are left then."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hwnas.frozen import Frozen

__all__ = ["Combination", "Option", "Parts", "Subnet"]

_LONGEST_NAME = 80
"""A subnet's name is also a file name; a longer one is cut and ends in a hash."""


class Subnet(Frozen):
    """One subnet: a choice for every active slot, in the order of the space's slots.

    Attributes:
        name: short and safe as a file name; unique within its space.
        spec: the name in full; equal to ``name`` unless that had to be cut.
        choices: slot to choice, written with the values of the dimensions that the slot depends
            on; a slot that is skipped is absent.
    """

    name: str
    spec: str
    choices: dict[str, str]

    @property
    def blocks(self) -> tuple[str, ...]:
        """Block ids ``slot/choice`` in order."""
        return tuple(f"{slot}/{choice}" for slot, choice in self.choices.items())


class Parts(NamedTuple):
    """A subnet taken apart.

    Attributes:
        dimensions: name to value.
        depths: name of each depth rule to its depth.
        choices: active slot to choice, without what dimensions add to it.
    """

    dimensions: dict[str, int]
    depths: dict[str, int]
    choices: dict[str, str]


class Option(NamedTuple):
    """One value of a dimension, or one depth of a rule.

    Attributes:
        name: of the dimension or rule.
        value: the value or depth.
        token: how it is written in a name; empty where it is the only one.
        active: slots of the rule that run at this depth; empty for a dimension.
    """

    name: str
    value: int
    token: str
    active: frozenset[str] = frozenset()


class Combination(NamedTuple):
    """One option for every dimension and depth rule, and what is free then.

    Attributes:
        tokens: how the options are written in a name.
        slots: the active ones, in order.
        free: one entry per free slot or equal group: the first slot of it.
        choices: what can be picked for each of ``free``.
        words: how each of ``choices`` is written in a name.
        fixed: the choices, as written, of those slots of the space that have only one.
        source: where each of ``slots`` has its choice in ``fixed`` followed by what is picked.
        endings: what dimensions add to the pick of each of ``slots``; empty if nowhere anything.
    """

    tokens: tuple[str, ...]
    slots: tuple[str, ...]
    free: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]
    fixed: tuple[str, ...]
    source: tuple[int, ...]
    endings: tuple[str, ...]

    def subnets(self) -> Iterator[Subnet]:
        """All of them; the last free slot's choice changes first."""
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
        if self.endings:
            chosen = map(str.__add__, chosen, self.endings)
        choices = dict(zip(self.slots, chosen, strict=True))
        # Its parts are of a space that was validated; to validate them again is most of a walk.
        return Subnet.model_construct(name=name, spec=spec, choices=choices)
