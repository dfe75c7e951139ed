"""All subnets of a plan chosen together, so that the bytes of weights that ship meet a budget.

What each tier would get on its own is known by then. If those subnets fit together, they are it.
Else the same number is chosen anew, each within its tier's budgets and, but for the best of a tier,
at most as slow as the one that it stands in for; of all such the greatest sum of qualities within
the bytes, each byte counted once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, Infeasible, UsageError
from hwnas.select.additive import Additive, corrected
from hwnas.select.budgets import Limit
from hwnas.select.milp import Query, solver
from hwnas.select.milp.joint import Copy, solve_joint
from hwnas.select.milp.model import Floats, Model, Rows
from hwnas.select.pool import Pool
from hwnas.select.protocol import Method
from hwnas.select.units import show, spell_up
from hwnas.space import Subnet
from hwnas.table.cost import METRICS
from hwnas.table.weights import Atom, cut_atoms

__all__ = ["Together", "choose_together"]

_LISTED = 20_000
"""Candidates of a list, over all subnets to choose, that are chosen from together at most."""

_TRIES = 10
"""Choices that may break a budget when they are measured."""

_CALIBRATE = "measure some whole subnets while profiling, so that predictions are calibrated"

_MARGIN = 1e-12
"""A limit on p50 taken from a subnet is met by that subnet, whatever rounding does."""


@dataclass(frozen=True)
class Together:
    """What was chosen.

    Attributes:
        picks: by tier, indices in the pool, the best first; each once.
        limit: the budget in bytes.
        proof: what is proven of it.
        gap: share by which the sum may be better at most; None if each is the best on its own.
    """

    picks: dict[str, list[int]]
    limit: float
    proof: str
    gap: float | None


@dataclass(frozen=True)
class _Wanted:
    """One subnet to choose: for which tier, and within what."""

    tier: str
    limits: tuple[Limit, ...]


def choose_together(
    pool: Pool,
    method: Method,
    bundle: Bundle,
    limits: Mapping[str, tuple[Limit, ...]],
    picks: Mapping[str, Sequence[int]],
    ship: Sequence[int],
    budget: float,
    seconds: float,
) -> Together:
    """Choose the subnets of all tiers so that their weights take ``budget`` bytes at most.

    Args:
        pool: of the selection.
        method: of the selection.
        bundle: whose weights.
        limits: by tier.
        picks: by tier, what it gets on its own, the best first.
        ship: what ships anyway.
        budget: bytes of all weights, each byte once.
        seconds: for one question to the solver.

    Raises:
        Infeasible: no such subnets; names the bytes that are needed.
        MissingExtra: the solver is not installed.
        UsageError: there are too many candidates.
        HwnasError: what was chosen was measured not to fit, again and again.
    """
    weights = _Weights(bundle)
    alone = [pool.subnets[i] for chosen in picks.values() for i in chosen]
    anyway = [pool.subnets[i] for i in ship]
    if weights.of([*alone, *anyway]) <= budget:
        proof = f"all weights take {show('bytes', weights.of([*alone, *anyway]))} together"
        return Together({t: list(chosen) for t, chosen in picks.items()}, budget, proof, None)
    wanted = [
        _Wanted(tier, limits[tier] if i == chosen[0] else _at_most(limits[tier], pool, i))
        for tier, chosen in picks.items()
        for i in chosen
    ]
    for _ in range(_TRIES):
        learned = len(pool.measured)
        found = _choose(pool, method, weights, wanted, anyway, budget, seconds)
        for i in found.picks:
            pool.settle(i)
        pairs = list(zip(wanted, found.picks, strict=True))
        if all(pool.over(limits[want.tier])[i] <= 0 for want, i in pairs):
            return _together(pool, pairs, found.room, budget, learned)
    raise HwnasError(
        f"subnets were chosen together {_TRIES} times, and each time one of them was measured to "
        "break a budget: predictions are far from what is measured",
        _CALIBRATE,
    )


def _together(
    pool: Pool, pairs: Sequence[tuple[_Wanted, int]], room: float, budget: float, learned: int
) -> Together:
    picks: dict[str, list[int]] = {}
    for want, i in pairs:
        chosen = picks.setdefault(want.tier, [])
        if i not in chosen:
            chosen.append(i)
    gap = room / (abs(sum(pool.value(i) for _, i in pairs)) or 1.0)
    what = "greatest sum" if gap == 0 else "time was up: best sum found"
    if pool.goal.minimize is not None:
        what = what.replace("greatest", "least")
    proof = f"chosen together within {show('bytes', budget)} of weights: {what}, gap {gap:.2g}"
    if pool.measuring:
        plural = "s" if learned > 1 else ""
        proof += f", under predictions corrected by {learned} measurement{plural}"
    proof += f", by {solver()}"
    if pool.measuring and any(want.limits for want, _ in pairs):
        proof += ", measured to fit"
    return Together(picks, budget, proof, gap)


def _at_most(limits: Sequence[Limit], pool: Pool, i: int) -> tuple[Limit, ...]:
    """``limits``, and at most as slow as subnet ``i`` is believed to be."""
    slow = float(pool.believed()[i, METRICS.index("p50")]) * (1 + _MARGIN)
    own = Limit(metric="p50", limit=slow, text="p50")
    return (*(limit for limit in limits if limit.metric != "p50"), own)


class _Weights:
    """Bytes that sets of subnets use."""

    def __init__(self, bundle: Bundle) -> None:
        blocks = bundle.manifest.blocks
        self._number = {unit: i for i, unit in enumerate(blocks)}
        self.atoms: tuple[Atom, ...] = cut_atoms(blocks)

    def blocks(self, subnets: Sequence[Subnet]) -> set[int]:
        """The numbers of all their blocks."""
        return {self._number[unit] for subnet in subnets for unit in subnet.blocks}

    def of(self, subnets: Sequence[Subnet]) -> int:
        """Bytes of all of them together."""
        chosen = self.blocks(subnets)
        return sum(size for size, users in self.atoms if not chosen.isdisjoint(users))


@dataclass(frozen=True)
class _Found:
    """What was chosen, and by how much the sum of its values may be better."""

    picks: tuple[int, ...]
    room: float


def _choose(
    pool: Pool,
    method: Method,
    weights: _Weights,
    wanted: Sequence[_Wanted],
    anyway: Sequence[Subnet],
    budget: float,
    seconds: float,
) -> _Found:
    if isinstance(method, Additive):
        ways: Sequence[_Way] = [_Solving(pool, method, want) for want in wanted]
    else:
        fitting = [np.flatnonzero(pool.over(want.limits) <= 0) for want in wanted]
        every = np.unique(np.concatenate(fitting))
        pool.rate(every)
        spread = float(np.ptp([pool.value(int(i)) for i in every])) or 1.0
        ways = [_Listing(pool, weights, fits, spread) for fits in fitting]
        listed = sum(len(way.copy.model.gain) for way in ways)
        if listed > _LISTED:
            raise UsageError(
                f"{listed:,} candidates fit, and at most {_LISTED:,} are chosen from together",
                "tighten budgets, ask for fewer subnets (-n), or drop --max-shipped-bytes",
            )
    copies = [way.copy for way in ways]
    fixed = weights.blocks(anyway)
    joint = solve_joint(copies, weights.atoms, fixed, budget, seconds)
    if joint.bytes == math.inf:
        raise HwnasError(
            "some of what was measured to fit is not believed to, by predictions that measurements "
            "corrected: with them nothing can be chosen together",
            _CALIBRATE,
        )
    if joint.parts is None:
        least = "the least is" if joint.room == 0 else "the least that was found is"
        raise Infeasible(
            f"no such {len(wanted)} subnets have weights of {show('bytes', budget)} together: "
            f"{least} {show('bytes', joint.bytes)}",
            f"--max-shipped-bytes {spell_up('bytes', joint.bytes).partition('=')[2]} admits them; "
            "or ask for fewer (-n), or loosen a tier's budgets",
        )
    picks = tuple(way.pick(x) for way, x in zip(ways, joint.parts, strict=True))
    return _Found(picks, joint.room * ways[0].unit)


class _Solving:
    """One subnet of a space that is not listed."""

    def __init__(self, pool: Pool, method: Additive, want: _Wanted) -> None:
        self._pool, self._problem = pool, method.problem
        # Those that were measured count as they were predicted, unless they do not fit.
        over = pool.over(want.limits)
        misfits = [pool.subnets[i] for i in pool.measured if over[i] > 0]
        goal = pool.goal
        bounds = corrected(want.limits, pool.correction())
        query = Query(bounds, goal.floor, goal.minimize, tuple(misfits))
        model, self.unit = method.problem.model(query)
        structure = method.problem.structure
        groups = [[(i, (i,)) for i in blocks] for blocks in structure.slots.values()]
        further = np.arange(len(structure.model.gain), len(model.gain))
        self.copy = Copy(model, groups, [np.append(part, further) for part in structure.parts()])

    def pick(self, x: Floats) -> int:
        """The index of the subnet with these columns."""
        return self._pool.add(self._problem.structure.subnet(x))


class _Listing:
    """One subnet of a list: of those with these indices; values have that range."""

    def __init__(
        self, pool: Pool, weights: _Weights, fitting: npt.NDArray[np.intp], spread: float
    ) -> None:
        self._fitting = fitting
        values = np.array([pool.value(int(i)) for i in fitting])
        gain = values if pool.goal.minimize is None else -values
        every, rows = np.ones(len(gain)), Rows()
        self.unit = spread / 1000.0
        rows.add(1.0, 1.0, np.arange(len(gain)))
        self.copy = Copy(
            Model.of(gain / self.unit, every, every.astype(np.bool_), rows),
            [[(c, weights.blocks([pool.subnets[int(i)]])) for c, i in enumerate(fitting)]],
            [np.arange(len(gain))],
        )

    def pick(self, x: Floats) -> int:
        """The index of the candidate whose column is 1."""
        return int(self._fitting[np.argmax(x)])


_Way = _Solving | _Listing
