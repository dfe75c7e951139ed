"""Following an elastic axis through a graph, from the weights that make it to the sums that end it.

A *region* is what lies between: every value in it has one axis whose positions do not see each
other, so that the whole of it can be computed in rings, one range of positions at a time. It ends
in *sums* over that axis, which are added up ring by ring. Where an operator mixes positions in any
other way the region is lost, and its weights stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from hwnas.graphs import external_range

__all__ = ["Axis", "Lost", "Region", "Step", "View"]


class Lost(Exception):
    """An elastic axis cannot be followed; the text says why, as in ``Softmax mixes ...``."""


@dataclass(frozen=True)
class Axis:
    """Where a tensor is elastic.

    Attributes:
        at: the axis, from 0.
        cuts: where each ring ends along it, ascending; the last is the axis's size.
    """

    at: int
    cuts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Positions along the axis."""
        return self.cuts[-1]

    def span(self, ring: int) -> tuple[int, int]:
        """First position of a ring, and the one behind its last."""
        return (self.cuts[ring - 1] if ring else 0), self.cuts[ring]


@dataclass(frozen=True)
class Step:
    """How a node of a region is done ring by ring.

    Attributes:
        out: the axis in each of the node's outputs; None if the node sums over it.
        cut: constant inputs of which each ring takes its own part, by position.
        shape: for a reshape, of the whole output; its second input becomes that, cut to the ring.
        groups: whether the attribute ``group`` counts the axis's positions.
    """

    out: Axis | None
    cut: Mapping[int, Axis] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    groups: bool = False


@dataclass
class Region:
    """Nodes that are computed in rings.

    Attributes:
        weight: name of the elastic weight that it was found by.
        rows: where each ring ends in the rows of that weight.
        steps: index of each node, in the graph's order, to how it is done.
    """

    weight: str
    rows: tuple[int, ...]
    steps: dict[int, Step] = field(default_factory=dict)

    def tag(self, ring: int) -> str:
        """Name of a ring: equal for the same rows, however many rings a subnet has."""
        return f"ring{self.rows[ring - 1] if ring else 0}-{self.rows[ring]}"


class View:
    """What the rules may ask about a graph.

    Args:
        model: whose shapes are static; not changed.
        elastic: initialiser to where its rows are to be cut.
        hints: value to its elastic axis in graphs that leave no doubt; added to. A network with
            one head alone does not show which of its axes of length 1 are the heads.
    """

    def __init__(
        self,
        model: ModelProto,
        elastic: Mapping[str, tuple[int, ...]],
        hints: dict[str, int] | None = None,
    ) -> None:
        self.elastic = elastic
        self.hints: dict[str, int] = {} if hints is None else hints
        self.axes: dict[str, Axis] = {}
        self._constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        graph = onnx.shape_inference.infer_shapes(model).graph
        self._shapes: dict[str, tuple[int, ...]] = {}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            tensor = value.type.tensor_type
            dims = tensor.shape.dim
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                self._shapes[value.name] = tuple(dim.dim_value for dim in dims)
        self._shapes |= {name: tuple(t.dims) for name, t in self._constants.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value; :class:`Lost` if it is not known."""
        if name not in self._shapes:
            raise Lost(f"the shape of {name} is not known")
        return self._shapes[name]

    def constant(self, name: str) -> TensorProto | None:
        """The tensor behind ``name``, if it is one that never changes."""
        return self._constants.get(name)

    def numbers(self, node: NodeProto, index: int) -> list[int] | None:
        """An input that is a list of numbers in the graph; None if there is no such input."""
        if index >= len(node.input) or not node.input[index]:
            return None
        tensor = self._constants.get(node.input[index])
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            raise Lost(f"{node.op_type} computes where it cuts")
        values: NDArray[np.int64] = onnx.numpy_helper.to_array(tensor)
        return [int(value) for value in values.reshape(-1)]

    def rows(self, name: str) -> Axis | None:
        """The rows of an elastic weight."""
        cuts = self.elastic.get(name)
        return None if cuts is None else Axis(0, cuts)

    def take(self, name: str, axis: Axis) -> Axis:
        """Where to cut the constant ``name``, so that each ring gets its part.

        Raises:
            Lost: it is computed, of another size, or its part would not be one range of bytes.
        """
        tensor = self._constants.get(name)
        if tensor is None:
            raise Lost(f"{name} is as wide, but not made by the same weights")
        dims = tuple(tensor.dims)
        if dims[axis.at] != axis.size:
            raise Lost(f"{name} has {dims[axis.at]} rows where {axis.size} are used")
        if tensor.data_location == TensorProto.EXTERNAL:
            _, length = external_range(tensor)
            if math.prod(dims[: axis.at]) != 1 or length % axis.size:
                raise Lost(f"{name} is not stored by rows")
        return axis
