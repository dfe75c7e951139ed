"""How fast the machine was in each round, from all items that had a turn in it.

On a shared machine everything gets slower and faster together, by 10 to 20% where a neighbour works
on the same core, and neither CPU time nor a dependent chain of arithmetic shows it. But items take
their turns in rounds, so it can be told apart from what an item costs:

    log of a turn = item + round

fitted by medians in turn (Tukey's median polish), so that single disturbed turns do not count.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST_ITEMS", "Pace", "group_medians", "round_factors"]

FEWEST_ITEMS = 5
"""With fewer items in a round, one that was disturbed would pass for the round."""

_SWEEPS = 10


class Pace:
    """How fast the machine was in each round, from the turns told so far.

    Items and rounds may be known by anything that can be a key. Not thread-safe.
    """

    def __init__(self) -> None:
        self._items: dict[Hashable, int] = {}
        self._rounds: dict[Hashable, int] = {}
        # Numbers of item and round, median in ns.
        self._turns: list[tuple[int, int, float]] = []
        self._factors: dict[Hashable, float] | None = None

    def tell(self, item: Hashable, place: Hashable, ns: Sequence[int]) -> None:
        """Tell the run times of a turn of ``item`` in ns, one at least; ``place`` is its round."""
        number = self._items.setdefault(item, len(self._items))
        place_number = self._rounds.setdefault(place, len(self._rounds))
        self._turns.append((number, place_number, float(median(ns))))
        self._factors = None

    def keep(self, items: Container[Hashable]) -> None:
        """Forget the turns of all other items."""
        kept = {number for item, number in self._items.items() if item in items}
        self._turns = [turn for turn in self._turns if turn[0] in kept]
        self._factors = None

    def factors(self) -> Mapping[Hashable, float]:
        """:func:`round_factors` by round, in the order in which rounds were first told of.

        What is missing is as one of which too little is known: 1.
        """
        if self._factors is None:
            turns = np.array(self._turns, dtype=float).reshape(-1, 3)
            items, rounds = turns[:, :2].astype(np.intp).T
            found = round_factors(items, rounds, turns[:, 2])
            self._factors = dict(zip(self._rounds, found.tolist(), strict=False))
        return self._factors


def round_factors(
    items: NDArray[np.intp], rounds: NDArray[np.intp], medians: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By what factor each round was slower than the typical one, shape (rounds,).

    1 for rounds with too few items, and for the middle round among those that share items. So
    items that were never measured together are not made comparable.

    Args:
        items: number of each turn's item, from 0, shape (turns,).
        rounds: number of its round, from 0.
        medians: its median in ns, greater than 0.
    """
    count = int(rounds.max(initial=-1)) + 1
    held = np.bincount(rounds, minlength=count)
    kept = held[rounds] >= FEWEST_ITEMS
    factors = np.ones(count)
    if not kept.any():
        return factors
    i, r, level = items[kept], rounds[kept], np.log(medians[kept])
    together = _components(i, r, count)
    present = np.unique(r)
    log_factor = np.zeros(count)
    for _ in range(_SWEEPS):
        of_item = group_medians(level - log_factor[r], i)
        of_round = group_medians(level - of_item[i], r)
        middle = group_medians(of_round[present], together[present])
        log_factor[present] = of_round[present] - middle[together[present]]
    factors[present] = np.exp(log_factor[present])
    return factors


def group_medians(values: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """Median of ``values`` by group number, shape (greatest number + 1,); NaN for empty groups."""
    found = np.full(int(groups.max(initial=-1)) + 1, np.nan)
    ordered = values[np.lexsort((values, groups))]
    counts = np.bincount(groups, minlength=len(found))
    starts = np.cumsum(counts) - counts
    some = counts > 0
    low, high = starts + (counts - 1) // 2, starts + counts // 2
    found[some] = (ordered[low[some]] + ordered[high[some]]) / 2
    return found


def _components(items: NDArray[np.intp], rounds: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """For each round, the least number of those that it is linked to by items."""
    label = np.arange(count)
    while True:
        least = np.full(int(items.max()) + 1, count)
        np.minimum.at(least, items, label[rounds])
        new = label.copy()
        np.minimum.at(new, rounds, least[items])
        if (new == label).all():
            return label
        label = new
