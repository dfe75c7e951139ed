"""What a block of a mobile network is made of, read from its graph.

Latency tables of such networks have one entry for each layer: a first convolution, an inverted
residual, a 1x1 convolution, a global pooling, a classifier. A block may hold several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnx import ModelProto, NodeProto, shape_inference
from onnx.helper import get_attribute_value

from hwnas.errors import TableError
from hwnas.graphs import shapes_of

__all__ = ["Layer", "read_layers"]

_Shape = tuple[int, ...]

_POOLS = frozenset(["GlobalAveragePool", "ReduceMean"])
_ELEMENTWISE = (
    frozenset(
        ["Add", "BatchNormalization", "Cast", "CastLike", "Clip", "Div", "Dropout", "Flatten"]
    )
    | frozenset(
        ["HardSigmoid", "HardSwish", "Identity", "Max", "Min", "Mul", "Relu", "Reshape", "Sigmoid"]
    )
    | frozenset(["Squeeze", "Sub", "Unsqueeze"])
)


@dataclass(frozen=True)
class Layer:
    """One layer, batch left out.

    Attributes:
        kind: ``conv``, ``inverted`` (expand, depthwise convolution, project), ``pool`` (over all
            pixels) or ``linear``.
        input, output: (height, width, channels); (channels,) of what has no pixels.
        middle: channels of the depthwise convolution; 0 of other kinds.
        kernel, stride: of it, or of the convolution.
        residual: whether the input is added to the output.
        squeeze: squeeze and excitation.
        gated: hard swish: the value times a function of itself.
    """

    kind: Literal["conv", "inverted", "pool", "linear"]
    input: _Shape
    output: _Shape
    middle: int = 0
    kernel: int = 1
    stride: int = 1
    residual: bool = False
    squeeze: bool = False
    gated: bool = False


_WORDS = {"squeeze": "a mean over pixels", "gate": "a product", "add": "a sum"}


@dataclass(frozen=True)
class _Step:
    """Something that matters, in the order of the graph; ``layer`` of convolutions and pools."""

    what: Literal["conv", "depthwise", "pool", "linear", "squeeze", "gate", "add"]
    layer: Layer | None = None


def read_layers(model: ModelProto, block: str) -> list[Layer]:
    """The layers of a block, in order.

    Args:
        model: with static shapes; weights need not be there.
        block: its id, for errors.

    Raises:
        TableError: it holds something that no such layer has.
    """
    steps = _Walk(model, block).steps()
    found: list[Layer] = []
    while steps:
        layer, taken = _next_layer(steps, block)
        found.append(layer)
        steps = steps[taken:]
    return found


def _next_layer(steps: Sequence[_Step], block: str) -> tuple[Layer, int]:
    """The first layer of ``steps``, and how many of them it takes."""
    shape = [step.what for step in steps if step.what in ("conv", "depthwise", "pool", "linear")]
    first = steps[0].layer
    expands = first is not None and first.kernel == 1 and shape[:2] == ["conv", "depthwise"]
    if expands or steps[0].what == "depthwise":
        return _inverted(steps, block)
    if first is None:
        raise _foreign(block, f"{_WORDS[steps[0].what]} that belongs to no layer")
    after = 1
    while after < len(steps) and steps[after].what == "gate":
        after += 1
    return replace(first, gated=after > 1), after


def _inverted(steps: Sequence[_Step], block: str) -> tuple[Layer, int]:
    convs = 3 if steps[0].what == "conv" else 2
    places = [i for i, step in enumerate(steps) if step.what in ("conv", "depthwise")][:convs]
    layers = [layer for i in places if (layer := steps[i].layer) is not None]
    if len(layers) < convs or [steps[i].what for i in places[-2:]] != ["depthwise", "conv"]:
        raise _foreign(block, "a depthwise convolution without one that projects")
    deep = layers[-2]
    if any(layer is not deep and (layer.kernel, layer.stride) != (1, 1) for layer in layers):
        raise _foreign(block, "an inverted residual whose other convolutions are not 1x1")
    within = [step.what for step in steps[: places[-1]]]
    end = places[-1] + 1
    residual = end < len(steps) and steps[end].what == "add"
    layer = Layer(
        "inverted",
        layers[0].input,
        layers[-1].output,
        middle=deep.input[-1],
        kernel=deep.kernel,
        stride=deep.stride,
        residual=residual,
        squeeze="squeeze" in within,
        gated="gate" in within,
    )
    return layer, end + residual


class _Walk:
    """Follows what depends on the graph's inputs: the trunk, and branches that only weigh it."""

    def __init__(self, model: ModelProto, block: str) -> None:
        self._block = block
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        self._shapes = shapes_of(inferred.graph)
        self._graph = model.graph
        self._uses = Counter(name for node in model.graph.node for name in node.input)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [value.name for value in model.graph.input if value.name not in constants]
        self._state = dict.fromkeys(inputs, "trunk")

    def steps(self) -> list[_Step]:
        """What matters of the trunk, in order."""
        found: list[_Step] = []
        for node in self._graph.node:
            states = [self._state.get(name, "") for name in _values(node)]
            if "branch" in states:
                ends = node.op_type == "Mul" and "trunk" in states
                if "trunk" in states and not ends:
                    raise _foreign(self._block, f"a branch that ends in {node.op_type}")
                self._state |= dict.fromkeys(node.output, "trunk" if ends else "branch")
            elif "trunk" in states:
                step = self._step(node, states)
                if step is not None:
                    self._append(found, step)
                elif node.op_type not in _ELEMENTWISE:
                    raise _foreign(self._block, f"the operator {node.op_type}")
                begins = step is not None and step.what == "squeeze"
                self._state |= dict.fromkeys(node.output, "branch" if begins else "trunk")
        return found

    def _append(self, found: list[_Step], step: _Step) -> None:
        before = found[-1].layer if found and found[-1].what == step.what == "pool" else None
        if before is None:
            found.append(step)
        elif step.layer is not None:  # a mean over rows, then over columns
            found[-1] = _Step("pool", replace(before, output=step.layer.output))

    def _step(self, node: NodeProto, states: Sequence[str]) -> _Step | None:
        """What a node of the trunk is, if it matters."""
        given = [name for name, state in zip(node.input, states, strict=True) if state]
        if node.op_type == "Conv" and states[0]:
            return self._conv(node)
        if node.op_type in ("Gemm", "MatMul") and len(given) == 1:
            ends = self._shape(given[0])[1:], self._shape(node.output[0])[1:]
            return _Step("linear", Layer("linear", *ends))
        if node.op_type in _POOLS:
            # What is used beside its own mean is weighed by that.
            if self._uses[node.input[0]] > 1:
                return _Step("squeeze")
            ends = self._pixels(node.input[0]), self._pixels(node.output[0])
            return _Step("pool", Layer("pool", *ends))
        if node.op_type == "HardSwish" or (node.op_type == "Mul" and len(given) == 2):
            return _Step("gate")
        if node.op_type == "Add" and len(given) == 2:
            # x + 3 of a hard swish has one; a residual adds two that depend on the input.
            return _Step("add")
        return None

    def _conv(self, node: NodeProto) -> _Step:
        attributes = {a.name: get_attribute_value(a) for a in node.attribute}
        weights = self._shape(node.input[1])
        ends = self._pixels(node.input[0]), self._pixels(node.output[0])
        group = int(attributes.get("group", 1))
        strides = attributes.get("strides") or [1, 1]
        dilated = any(d != 1 for d in attributes.get("dilations") or [1])
        if len(weights) != 4 or weights[2] != weights[3] or len(set(strides)) > 1 or dilated:
            raise _foreign(self._block, f"a convolution with kernel {weights[2:]}")
        if group not in (1, ends[0][-1]):
            raise _foreign(self._block, f"a convolution in {group} groups")
        deep = group > 1 or (weights[0] == 1 and ends[0][-1] == 1 and weights[2] > 1)
        layer = Layer("conv", *ends, kernel=weights[2], stride=int(strides[0]))
        return _Step("depthwise" if deep else "conv", layer)

    def _shape(self, name: str) -> _Shape:
        if name not in self._shapes:
            raise _foreign(self._block, "a shape that is not known")
        return self._shapes[name]

    def _pixels(self, name: str) -> _Shape:
        """Height, width and channels; 1 for what was pooled away."""
        _, channels, *pixels = (*self._shape(name), 1, 1)[:4]
        return (*pixels, channels)


def _values(node: NodeProto) -> Sequence[str]:
    """The inputs whose values count: not those of which only the shape or the type does."""
    if node.op_type in ("Shape", "Size"):
        return ()
    names: Sequence[str] = node.input
    return names[:1] if node.op_type == "CastLike" else names


def _foreign(block: str, what: str) -> TableError:
    return TableError(
        f"{block} holds {what}, which no entry of such a table describes",
        "import such tables for bundles of MobileNetV3 or ProxylessNAS networks, or measure: "
        "hwnas profile",
    )
