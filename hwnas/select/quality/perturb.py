"""Additive scores by perturbation: what the largest subnet loses by one change alone.

The strength of an operation is the quality that is lost when it is taken out (DARTS-PT, Wang et
al. 2021, arXiv:2108.04392), here of every smaller choice at every slot, every
depth and every value of a dimension. The sum of scores is exact for the subnets that were
evaluated. For others it assumes that changes do not depend on each other; ``hwnas quality perturb
--check`` says how far that holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hwnas.rules import EqualChoice, EquidistantDepth, PrefixDepth
from hwnas.space import Space, Subnet

__all__ = ["Perturbations"]


class _Change(NamedTuple):
    """One choice that is changed, at one slot or at all of an equal group.

    Attributes:
        slots: that have the change.
        choice: the smaller one.
        active: how many of ``slots`` the two subnets have.
        before, after: full specs of the subnets without and with it.
    """

    slots: tuple[str, ...]
    choice: str
    active: int
    before: str
    after: str


class Perturbations:
    """Which subnets of ``space`` to evaluate, and the scores that follow.

    Attributes:
        subnets: the largest, and each with one change of it; no two alike.
        counts: how many of these change a choice, a depth, a value of a dimension.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._found: dict[str, Subnet] = {}
        self._largest = self._add()
        self._depths = {
            (rule.name, depth): self._add(depths={rule.name: depth})
            for rule in _depth_rules(space)
            for depth in rule.depths
        }
        depths = len(self._found) - 1
        self._values = {
            (d.name, value): self._add(dimensions={d.name: value})
            for d in space.dimensions
            for value in d.values
            if len(d.values) > 1
        }
        values = len(self._found) - 1 - depths
        self._changes = [
            change
            for slots in _groups(space)
            for change in self._choices(slots)
        ]  # fmt: skip
        self.subnets: Sequence[Subnet] = tuple(self._found.values())
        self.counts = {
            "choices": len(self._found) - 1 - depths - values,
            "depths": depths,
            "values of dimensions": values,
        }

    def scores(self, qualities: Mapping[str, float]) -> dict[str, float]:
        """The rows of a file of additive scores.

        A change of an equal group, and a step of a depth, are split evenly over their slots.

        Args:
            qualities: of each of :attr:`subnets`, by full spec.
        """
        best = qualities[self._largest]
        present = self._presence(qualities)
        in_largest = self._found[self._largest].choices
        rows = {"constant": best - sum(v for slot, v in present.items() if slot in in_largest)}
        for (name, value), spec in self._values.items():
            rows[f"{name}={value}"] = qualities[spec] - best
        lost = {
            (slot, change.choice): (qualities[change.after] - qualities[change.before])
            / change.active
            for change in self._changes
            for slot in change.slots
        }
        for slot in self._space.slots:
            if len(slot.choices) > 1 or slot.name in present:
                for choice in slot.choices:
                    score = present.get(slot.name, 0.0) + lost.get((slot.name, choice), 0.0)
                    rows[f"{slot.name}/{choice}"] = score
        return rows

    def _add(
        self,
        dimensions: Mapping[str, int] | None = None,
        depths: Mapping[str, int] | None = None,
        choices: Mapping[str, str] | None = None,
    ) -> str:
        """Ask for the largest subnet with these changes; its full spec."""
        space = self._space
        subnet = space.compose(
            {**{d.name: d.values[-1] for d in space.dimensions}, **(dimensions or {})},
            {**{r.name: r.depths[-1] for r in _depth_rules(space)}, **(depths or {})},
            {**{slot.name: slot.choices[-1] for slot in space.slots}, **(choices or {})},
        )
        self._found.setdefault(subnet.spec, subnet)
        return subnet.spec

    def _choices(self, slots: tuple[str, ...]) -> list[_Change]:
        """Changes of ``slots``, in the deepest subnet that has one of them."""
        depths: dict[str, int] = {}
        if not any(slot in self._found[self._largest].choices for slot in slots):
            for rule in _depth_rules(self._space):
                having = [d for d in rule.depths if not rule.active(d).isdisjoint(slots)]
                if having and not depths:
                    depths = {rule.name: having[-1]}
            if not depths:
                return []  # in no subnet at all
        before = self._add(depths=depths)
        active = sum(slot in self._found[before].choices for slot in slots)
        return [
            _Change(
                slots,
                choice,
                active,
                before,
                self._add(depths=depths, choices=dict.fromkeys(slots, choice)),
            )
            for choice in self._space.slot(slots[0]).choices[:-1]
        ]

    def _presence(self, qualities: Mapping[str, float]) -> dict[str, float]:
        """What each slot that may be skipped adds by being there.

        Of each rule, the least squares of all depths: of all splits of a step over its slots, the
        one of the smallest norm is the even one.
        """
        found = dict.fromkeys(self._space.skippable, 0.0)
        for rule in _depth_rules(self._space):
            slots = [slot for slot in rule.slots if slot in found]
            if not slots:
                continue
            deepest = rule.active(rule.depths[-1])
            rows = [
                [(s in rule.active(d)) - (s in deepest) for s in slots] for d in rule.depths[:-1]
            ]
            steps = [
                qualities[self._depths[rule.name, d]] - qualities[self._largest]
                for d in rule.depths[:-1]
            ]
            solved = np.linalg.lstsq(np.array(rows, dtype=np.float64), np.array(steps))[0]
            found |= dict(zip(slots, solved.tolist(), strict=True))
        return found


def _depth_rules(space: Space) -> list[PrefixDepth | EquidistantDepth]:
    return [rule for rule in space.rules if not isinstance(rule, EqualChoice)]


def _groups(space: Space) -> list[tuple[str, ...]]:
    """Slots that are changed together: equal groups, and each other slot alone."""
    equal = [rule.slots for rule in space.rules if isinstance(rule, EqualChoice)]
    tied = {slot for slots in equal for slot in slots}
    return [*equal, *((slot.name,) for slot in space.slots if slot.name not in tied)]
