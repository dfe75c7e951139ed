"""An additive quality that is fitted on what was evaluated, for the exact methods to start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwnas.select.protocol import Progress, Terms
from hwnas.select.search.encoding import Encoding, Genomes
from hwnas.select.search.predictor import check_sklearn
from hwnas.space import Space, Subnet

__all__ = ["Surrogate"]

Floats = npt.NDArray[np.float64]

_STRENGTHS = tuple(float(x) for x in np.logspace(-2, 3, 16))


class Surrogate:
    """Follows :class:`hwnas.select.AdditiveQuality`: ridge regression on the blocks of subnets.

    A slot's choice has a coefficient, and so has each value of a dimension, so that few evaluations
    do for many blocks. Its strength is the best in leaving one out.

    Args:
        encoding: of the space.
        genomes: [n, genes], what was evaluated; n at least 2.
        quality: [n].
    """

    kind = "fitted predictor"

    def __init__(self, encoding: Encoding, genomes: Genomes, quality: Floats) -> None:
        check_sklearn()
        from sklearn.linear_model import RidgeCV

        self._encoding, self._rows = encoding, len(genomes)
        self._names = _names(encoding.space)
        model = RidgeCV(alphas=_STRENGTHS).fit(self._features(genomes), quality)
        self._weights = dict(zip(self._names, np.asarray(model.coef_).tolist(), strict=True))
        self._constant = float(model.intercept_)

    @property
    def source(self) -> str:
        """What it was fitted on."""
        return f"additive surrogate of {self._rows} evaluated subnets"

    def rated(self) -> None:
        """None: it rates any subnet."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """What it predicts."""
        weights = np.array([self._weights[name] for name in self._names])
        predicted = self._features(self._encoding.encode(subnets)) @ weights + self._constant
        return [float(value) for value in predicted]

    def terms(self, space: Space) -> Terms:
        """The same as a sum over blocks.

        A dimension's value is counted at the first slot that depends on it and that no subnet
        skips; a space has one for each.
        """
        counted = {
            d.name: next(
                s.name
                for s in space.slots
                if d.name in s.dimensions and s.name not in space.skippable
            )
            for d in space.dimensions
        }
        per_block = {}
        for slot, written in space.blocks:
            choice, at = space.read(slot, written)
            per_block[slot, written] = self._weights[slot, choice] + sum(
                self._weights["", f"{name}{value}"]
                for name, value in at.items()
                if counted[name] == slot
            )
        return Terms(self._constant, per_block)

    def _features(self, genomes: Genomes) -> Floats:
        encoding, space = self._encoding, self._encoding.space
        columns: list[npt.NDArray[np.bool_]] = []
        for slot in space.slots:
            used, picked = encoding.active(slot.name, genomes), encoding.choice(slot.name, genomes)
            columns += [used & (picked == i) for i in range(len(slot.choices))]
        for dimension in space.dimensions:
            value = encoding.dimension(dimension.name, genomes)
            columns += [value == i for i in range(len(dimension.values))]
        return np.column_stack(columns).astype(np.float64)


def _names(space: Space) -> list[tuple[str, str]]:
    """Of each column: a slot and its choice; then no slot, and a value of a dimension."""
    names = [(slot.name, choice) for slot in space.slots for choice in slot.choices]
    return names + [("", f"{d.name}{value}") for d in space.dimensions for value in d.values]
