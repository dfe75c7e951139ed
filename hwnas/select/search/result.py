"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.select.pareto import pareto_front
from hwnas.select.search.hypervolume import Box, hypervolumes
from hwnas.space import Subnet

__all__ = ["SearchResult"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Everything that was evaluated, in the order in which it was chosen.

    Attributes:
        method: way of searching.
        seed: of all that was drawn.
        objectives: metrics that were to be small, beside the quality that was to be high.
        subnets: distinct; all met the budgets by their predicted costs.
        qualities: of these.
        costs: [n, objectives], predicted, in the metrics' units.
        min_quality: subnets below are not part of the front.
    """

    method: str
    seed: int
    objectives: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    qualities: tuple[float, ...]
    costs: Floats
    min_quality: float | None

    @property
    def evaluated(self) -> list[tuple[Subnet, float]]:
        """Subnets with their qualities."""
        return list(zip(self.subnets, self.qualities, strict=True))

    @property
    def points(self) -> Floats:
        """[n, 1 + objectives]: negated quality and costs; infinite where too low in quality."""
        quality = np.array(self.qualities)
        points = np.column_stack((-quality, self.costs))
        if self.min_quality is not None:
            points[quality < self.min_quality] = np.inf
        return points

    @property
    def front(self) -> list[int]:
        """Indices of what no other beats or equals in quality and all objectives."""
        points = self.points
        counted = np.flatnonzero(np.isfinite(points[:, 0]))
        return [int(counted[i]) for i in pareto_front(points[counted])]

    @property
    def box(self) -> Box:
        """The least box around all that counts: the default for :meth:`history`."""
        points = self.points
        return Box.around(points[np.isfinite(points[:, 0])])

    def history(self, box: Box | None = None) -> list[float]:
        """The hypervolume after each evaluation, as a share of ``box``.

        Within its own box a search always looks good: give one box to all that are compared.
        """
        return hypervolumes(self.points, box or self.box)
