"""Widths that share weights in memory: each subnet's graph is computed in rings.

Narrow choices use a prefix of the rows of a wide one's weights. On disk they are the same bytes,
but a runtime packs each matrix for its own use, once for every width. So the elastic axis is cut
at the widths w1 < w2 < ... that the subnets have: ring r holds the rows from w(r-1) to w(r) of
every weight along it, and what sums over the axis adds the rings up in order,

    y = bias + act(x @ up[0:w1].T) @ down[0:w1] + act(x @ up[w1:w2].T) @ down[w1:w2] + ...

A subnet of width w(k) computes rings 1 to k, all of which every wider one computes as well, with
the same weights under the same names: linking then finds them equal and ships each once.
Sums are added in another order than in one product, so results differ in rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from hwnas.graphs import external_location, external_range, external_tensors
from hwnas.link.axes import View
from hwnas.link.names import without_choices
from hwnas.link.regions import find_regions
from hwnas.link.unroll import unroll

__all__ = ["Rings", "split_rings"]


@dataclass(frozen=True)
class Rings:
    """Graphs in rings.

    Attributes:
        models: subnet to graph, the further ones as well; the very graphs that were given if
            nothing was cut.
        cut: elastic weight by which a region was found, to the rows at which its rings end. Of
            several weights along one axis (up and down, query, key and value) the first is named.
        left: elastic weight that stays in one piece, to the reason.
    """

    models: dict[str, ModelProto]
    cut: dict[str, tuple[int, ...]]
    left: dict[str, str]


def split_rings(
    models: Mapping[str, ModelProto],
    slots: Collection[str],
    further: Mapping[str, ModelProto] | None = None,
) -> Rings:
    """Cut what is elastic between ``models`` into rings.

    A weight is elastic if in several subnets it has one name, starts at one byte of the weights
    file, and differs in its number of rows. What depends on no width is computed as before; its
    values lose the choice in their names (``slot/choice/value`` becomes ``slot/value``), so that it
    is equal in all subnets.

    Args:
        models: subnet to its whole graph, as :func:`hwnas.link.whole` makes it; not changed.
        slots: names of the space's slots.
        further: more subnets, cut at the widths of ``models`` and not at their own, so that they
            can be made of the same rings; what has another width stays in one piece.
    """
    everything = {**models, **(further or {})}
    renamed = {name: without_choices(model, slots) for name, model in everything.items()}
    rows = _rows({name: renamed[name] for name in models})
    if all(len(found) == 1 for found in rows.values()):
        return Rings(everything, {}, {})
    hints: dict[str, int] = {}
    views = {name: View(model, _elastic(model, rows), hints) for name, model in renamed.items()}
    for name, view in views.items():  # all are seen once for the hints that they give each other
        find_regions(renamed[name].graph, view)
    cut: dict[str, tuple[int, ...]] = {}
    left: dict[str, str] = {}
    for name, view in views.items():
        regions, alone = find_regions(renamed[name].graph, view)
        for region in regions:
            cut[region.weight] = max(region.rows, cut.get(region.weight, ()), key=len)
        left |= alone
        unroll(renamed[name], regions, view)
    if not cut:
        return Rings(everything, {}, left)
    return Rings(renamed, cut, left)


_Start = tuple[str, str, int, int, tuple[int, ...]]
"""Name, file, first byte, dtype and shape of a row: equal for prefixes of one tensor."""


def _start(tensor: TensorProto) -> _Start:
    offset, _ = external_range(tensor)
    row = tuple(tensor.dims[1:])
    return tensor.name, external_location(tensor), offset, tensor.data_type, row


def _rows(models: Mapping[str, ModelProto]) -> dict[_Start, set[int]]:
    found: dict[_Start, set[int]] = defaultdict(set)
    for model in models.values():
        for tensor in external_tensors(model.graph):
            if tensor.dims:
                found[_start(tensor)].add(tensor.dims[0])
    return found


def _elastic(model: ModelProto, rows: Mapping[_Start, set[int]]) -> dict[str, tuple[int, ...]]:
    """Matrices and kernels of ``model`` that have other numbers of rows elsewhere."""
    found = {}
    for tensor in external_tensors(model.graph):
        ends = rows.get(_start(tensor), set()) if len(tensor.dims) > 1 else set()
        if len(ends) > 1 and tensor.dims[0] in ends:
            found[tensor.name] = tuple(sorted(end for end in ends if end <= tensor.dims[0]))
    return found
