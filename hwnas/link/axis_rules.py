"""Which way an elastic axis goes through each operator, and what ends it."""

from __future__ import annotations

import math
from collections.abc import Callable

from onnx import NodeProto

from hwnas.link.axes import Axis, Lost, Step, View

__all__ = ["step"]


def step(node: NodeProto, view: View) -> Step | None:
    """How ``node`` is done in rings; None if it has no part in any region.

    Raises:
        Lost: it takes an elastic value and mixes its positions, or is not known here.
    """
    inside = any(name in view.axes for name in node.input)
    if node.domain not in ("", "ai.onnx"):
        if inside:
            raise Lost(f"{node.domain}.{node.op_type} is not known")
        return None
    if node.op_type in _SEEDS:
        return _SEEDS[node.op_type](node, view)
    if not inside:
        return None
    if node.op_type in _UNARY | _BROADCAST:
        return _elementwise(node, view)
    if node.op_type not in _RULES:
        raise Lost(f"{node.op_type} is not known to keep positions apart")
    if any(name in view.axes for name in node.input[1:]) and node.op_type != "Concat":
        raise Lost(f"{node.op_type} takes an elastic value as a parameter")
    return _RULES[node.op_type](node, view)


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _meet(axes: list[Axis]) -> Axis:
    if any(axis != axes[0] for axis in axes):
        raise Lost("values that are elastic in different ways meet")
    return axes[0]


def _elementwise(node: NodeProto, view: View) -> Step:
    rank = max(len(view.shape(name)) for name in node.input if name)
    axes = [
        Axis(axis.at + rank - len(view.shape(name)), axis.cuts)
        for name in node.input
        if (axis := view.axes.get(name))
    ]
    axis = _meet(axes)
    return Step(axis, _aligned(node, view, axis, rank))


def _aligned(node: NodeProto, view: View, axis: Axis, rank: int, start: int = 0) -> dict[int, Axis]:
    """The constants among the inputs that are as wide as the axis they are broadcast against."""
    cut = {}
    for i, name in enumerate(node.input):
        if i < start or not name or name in view.axes:
            continue
        shape = view.shape(name)
        at = axis.at - rank + len(shape)
        if at >= 0 and shape[at] != 1:
            cut[i] = view.take(name, Axis(at, axis.cuts))
    return cut


def _reshape(node: NodeProto, view: View) -> Step:
    """Positions stay apart if they are whole ranges of the new axis, or it of them."""
    axis = view.axes[node.input[0]]
    old, new = view.shape(node.input[0]), view.shape(node.output[0])
    before, each = math.prod(old[: axis.at]), math.prod(old[axis.at + 1 :])
    found = []
    for at, size in enumerate(new):
        inner = math.prod(new[at + 1 :])
        scaled = [cut * each for cut in axis.cuts]
        fits = math.prod(new[:at]) == before and size * inner == scaled[-1]
        if fits and all(cut % inner == 0 for cut in scaled):
            found.append(Axis(at, tuple(cut // inner for cut in scaled)))
    if not found:
        raise Lost("Reshape mixes elastic positions with others")
    if len(found) == 1:
        view.hints.setdefault(node.output[0], found[0].at)
    hint = view.hints.get(node.output[0])
    out = next((one for one in found if one.at == hint), found[-1])
    return Step(out, shape=new if node.op_type == "Reshape" else None)


def _squeeze(node: NodeProto, view: View) -> Step:
    if len(node.input) < 2:  # it would squeeze a ring of one position away
        raise Lost("Squeeze does not say which axes it takes away")
    return _reshape(node, view)


def _transpose(node: NodeProto, view: View) -> Step | None:
    name = node.input[0]
    axis, rows = view.axes.get(name), view.rows(name)
    found = axis or rows
    if found is None:
        return None
    rank = len(view.shape(name))
    listed = [list(a.ints) for a in node.attribute if a.name == "perm"]
    order = listed[0] if listed else list(reversed(range(rank)))
    out = Axis(order.index(found.at), found.cuts)
    return Step(out, {} if axis else {0: found})


def _along(node: NodeProto, view: View) -> Step:
    """Operators that work along one axis, and leave the others alone."""
    axis = view.axes[node.input[0]]
    rank = len(view.shape(node.input[0]))
    default = {"Split": 0}.get(node.op_type, -1)
    if _attribute(node, "axis", default) % rank == axis.at:
        raise Lost(f"{node.op_type} mixes elastic positions")
    return Step(axis)


def _normalise(node: NodeProto, view: View) -> Step:
    """Normalisation over the trailing axes."""
    axis = view.axes[node.input[0]]
    first = _attribute(node, "axis", -1) % len(view.shape(node.input[0]))
    if first <= axis.at or len(list(filter(None, node.output))) > 1:
        raise Lost(f"{node.op_type} mixes elastic positions")
    return Step(axis)


def _concat(node: NodeProto, view: View) -> Step:
    if not all(name in view.axes for name in node.input):
        raise Lost("Concat joins an elastic value with another")
    axis = _meet([view.axes[name] for name in node.input])
    if _attribute(node, "axis", 0) % len(view.shape(node.input[0])) == axis.at:
        raise Lost("Concat mixes elastic positions")
    return Step(axis)


def _slice(node: NodeProto, view: View) -> Step:
    axis = view.axes[node.input[0]]
    starts = view.numbers(node, 1) or []
    axes = view.numbers(node, 3) or list(range(len(starts)))
    if axis.at in [a % len(view.shape(node.input[0])) for a in axes]:
        raise Lost("Slice cuts the elastic axis")
    return Step(axis)


def _reduce(node: NodeProto, view: View) -> Step:
    axis = view.axes[node.input[0]]
    rank = len(view.shape(node.input[0]))
    listed = [list(a.ints) for a in node.attribute if a.name == "axes"]
    axes = {a % rank for a in (listed[0] if listed else view.numbers(node, 1) or [])}
    if not axes or axis.at in axes:
        raise Lost(f"{node.op_type} mixes elastic positions")
    if _attribute(node, "keepdims", 1):
        return Step(axis)
    return Step(Axis(axis.at - sum(a < axis.at for a in axes), axis.cuts))


def _channels(node: NodeProto, view: View) -> Step:
    """Pooling: each channel on its own."""
    axis = view.axes[node.input[0]]
    if axis.at > 1 or len(node.output) > 1:
        raise Lost(f"{node.op_type} mixes elastic positions")
    return Step(axis)


def _batch_norm(node: NodeProto, view: View) -> Step:
    axis = view.axes[node.input[0]]
    if axis.at != 1 or len(node.output) > 1:
        raise Lost("BatchNormalization mixes elastic positions")
    rows = Axis(0, axis.cuts)
    return Step(axis, {i: view.take(node.input[i], rows) for i in range(1, 5)})


def _gemm(node: NodeProto, view: View) -> Step | None:
    left, right = node.input[0], node.input[1]
    if any(name in view.axes for name in node.input[2:]):
        raise Lost("Gemm adds an elastic value")
    summed = (1 - _attribute(node, "transA", 0), _attribute(node, "transB", 0))
    axis = view.axes.get(left)
    if axis is not None and axis.at == summed[0]:
        return _sum(right, Axis(summed[1], axis.cuts), view)
    if axis is not None:
        if right in view.axes:
            raise Lost("Gemm multiplies two elastic values")
        out, cut = Axis(0, axis.cuts), dict[int, Axis]()
    else:
        made, cut = _right(right, 1 - summed[1], view)
        if made is None:
            return None
        out = Axis(1, made.cuts)
    return Step(out, cut | _aligned(node, view, out, 2, start=2))


def _right(name: str, free: int, view: View) -> tuple[Axis | None, dict[int, Axis]]:
    """The axis of a right factor that is kept, if that is the elastic one."""
    axis, rows = view.axes.get(name), view.rows(name)
    if axis is None:
        return (rows, {1: rows}) if rows is not None and free == 0 else (None, {})
    if axis.at != free:
        raise Lost("an elastic weight is summed over, but what it is multiplied with is not")
    return axis, {}


def _sum(right: str, wanted: Axis, view: View) -> Step:
    """A sum over the axis: the right factor has it too, or its rows are taken ring by ring."""
    axis = view.axes.get(right)
    if axis is None:
        return Step(None, {1: view.take(right, wanted)})
    if axis != wanted:
        raise Lost("values that are elastic in different ways are multiplied")
    return Step(None)


def _matmul(node: NodeProto, view: View) -> Step | None:
    left, right = node.input
    found, cut = (view.axes.get(left), view.axes.get(right)), dict[int, Axis]()
    if found == (None, None):
        rows = view.rows(right)
        if rows is None or len(view.shape(right)) < 3:
            return None  # a prefix of a matrix's rows is a sum, and over nothing elastic
        found, cut = (None, rows), {1: rows}
    ranks = len(view.shape(left)), len(view.shape(right))
    if min(ranks) < 2:
        raise Lost("MatMul takes an elastic value with a vector")
    rank = max(ranks)
    a, b = (
        axis and Axis(axis.at + rank - r, axis.cuts) for axis, r in zip(found, ranks, strict=True)
    )
    if a is not None and a.at == rank - 1:
        return _sum(right, Axis(ranks[1] - 2, a.cuts), view)
    if b is not None and b.at == rank - 2:
        raise Lost("an elastic weight is summed over, but what it is multiplied with is not")
    out = _meet([axis for axis in (a, b) if axis])
    if a and b and out.at >= rank - 2:
        raise Lost("MatMul multiplies two elastic values")
    other = None if a and b else (right if a else left)
    if other is not None and out.at < rank - 2:
        shape = view.shape(other)
        at = out.at - rank + len(shape)
        if at >= 0 and shape[at] != 1:
            raise Lost(f"{other} is as wide, but not made by the same weights")
    return Step(out, cut)


def _conv(node: NodeProto, view: View) -> Step | None:
    image, weight = node.input[0], node.input[1]
    axis, kernel = view.axes.get(image), view.axes.get(weight) or view.rows(weight)
    group = _attribute(node, "group", 1)
    if any(name in view.axes for name in node.input[2:]):
        raise Lost("Conv adds an elastic value")
    if axis is None:
        if kernel is None or (weight not in view.axes and group > 1):
            return None
        if kernel.at != 0 or group > 1:
            raise Lost("an elastic kernel is applied to what is not elastic")
        out = Axis(1, kernel.cuts)
        cut = {} if weight in view.axes else {1: kernel}
    elif axis.at != 1:
        raise Lost("Conv mixes elastic positions")
    elif group == 1:
        if weight not in view.axes:
            raise Lost(f"{weight} is not stored by the channels that it takes")
        return _sum(weight, Axis(1, axis.cuts), view)
    elif group == axis.size == view.shape(weight)[0] and weight not in view.axes:
        out, cut = axis, {1: view.take(weight, Axis(0, axis.cuts))}
    else:
        raise Lost("Conv mixes elastic positions in groups")
    if len(node.input) > 2:
        cut[2] = view.take(node.input[2], Axis(0, out.cuts))
    return Step(out, cut, groups=axis is not None)


_SEEDS: dict[str, Callable[[NodeProto, View], Step | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _conv,
    "Transpose": _transpose,
}
_RULES: dict[str, Callable[[NodeProto, View], Step | None]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Unsqueeze": _reshape,
    "Squeeze": _squeeze,
    "Softmax": _along,
    "LogSoftmax": _along,
    "Split": _along,
    "LayerNormalization": _normalise,
    "RMSNormalization": _normalise,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Slice": _slice,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool"), _channels),
}
# Operators of one value and of several that are broadcast, position by position.
_UNARY = {
    *("Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
    *("HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu"),
    *("Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh"),
}
_BROADCAST = {"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where"}
