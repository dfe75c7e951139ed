"""The weights that a set of graphs uses, cut out of a bundle into one new file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.errors import BundleError
from hwnas.graphs import external_range, external_tensors, point_to_stored
from hwnas.manifest import WeightRange
from hwnas.weights import map_weights, read_layout, write_weights

__all__ = ["WeightCut"]


class WeightCut:
    """Copies what ``models`` use of a bundle's weights, and points the models to the copy.

    A tensor that is used as prefixes only is cut to the longest of them.
    """

    def __init__(self, bundle: Bundle, models: Iterable[ModelProto]) -> None:
        self._source = bundle.file(bundle.manifest.weights.file)
        self._layout = read_layout(self._source)
        self._by_offset = sorted((s.offset, name) for name, s in self._layout.items())
        self._models = list(models)
        self._used: dict[str, int] = {}
        for model in self._models:
            for part in self.ranges(model):
                end = part.offset + part.length
                self._used[part.tensor] = max(self._used.get(part.tensor, 0), end)

    def ranges(self, model: ModelProto) -> tuple[WeightRange, ...]:
        """What ``model`` uses, in terms of the source; call before :meth:`write`."""
        found = (self._find(*external_range(t)) for t in external_tensors(model.graph))
        return tuple(dict.fromkeys(found))

    def _find(self, offset: int, length: int) -> WeightRange:
        low, high = 0, len(self._by_offset)
        while low < high:
            middle = (low + high) // 2
            if self._by_offset[middle][0] <= offset:
                low = middle + 1
            else:
                high = middle
        name = self._by_offset[low - 1][1] if low else ""
        stored = self._layout.get(name)
        if stored is None or offset + length > stored.offset + stored.length:
            raise BundleError(
                f"a graph points to bytes {offset} to {offset + length} of {self._source}, "
                "which are no tensor",
                "make the bundle again",
            )
        return WeightRange(tensor=name, offset=offset - stored.offset, length=length)

    def write(self, folder: Path) -> None:
        """Write the weights file into ``folder`` and point the models to it, in place."""
        parts = [
            {t.name: self._find(*external_range(t)) for t in external_tensors(m.graph)}
            for m in self._models
        ]
        whole = map_weights(self._source)
        write_weights(
            folder / WEIGHTS,
            {name: self._cut(end, whole[name]) for name, end in self._used.items()},
        )
        layout = read_layout(folder / WEIGHTS)
        for model, ranges in zip(self._models, parts, strict=True):
            point_to_stored(model.graph, WEIGHTS, ranges, layout)

    @staticmethod
    def _cut(end: int, whole: NDArray[Any]) -> NDArray[Any]:
        """The first rows of a tensor, as many as reach byte ``end``."""
        if not whole.shape or end >= whole.nbytes:
            return whole
        return whole[: -(-end // whole[0].nbytes)]
