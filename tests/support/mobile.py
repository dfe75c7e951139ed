"""Blocks of mobile networks, and a small bundle of them, made by hand with ``onnx.helper``.

What a torch export looks like is varied: activations as one operator or spelled out, pooling as
one operator or as two means, batch norms that stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from hwnas.bundle import WEIGHTS, Block, Bundle, Manifest, WeightRange, write_bundle
from hwnas.graphs import graph_kind, point_to, signature
from hwnas.space import Dimension, PrefixDepth, Slot, Space
from hwnas.weights import read_layout

__all__ = ["CLASSES", "Net", "make_mobile", "mobile_blocks"]

CLASSES = 10


@dataclass
class Net:
    """One graph that grows by layers.

    Attributes:
        shape: of the value so far: (channels, height, width), or (channels,).
        spelled: operators that exports may decompose are.
        weights: shapes of the weights so far, by name.
    """

    shape: tuple[int, ...]
    spelled: bool = False
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.value, self._given, self._count = "x", self.shape, 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        """A node; gives its value and makes it the one so far."""
        self._count += 1
        self.value = f"v{self._count}"
        self._nodes.append(helper.make_node(kind, inputs, [self.value], **attributes))
        return self.value

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = shape
        return name

    def constant(self, *values: float, dtype: type = np.float32) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def conv(self, out: int, kernel: int = 1, stride: int = 1, group: int = 1) -> Net:
        channels, height, width = self.shape
        kernels = self.weight(out, channels // group, kernel, kernel)
        self.add(
            "Conv", [self.value, kernels], group=group, strides=[stride, stride],
            kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4,
        )  # fmt: skip
        self.shape = (out, -(-height // stride), -(-width // stride))
        self.add("BatchNormalization", [self.value, *(self.weight(out) for _ in range(4))])
        return self

    def act(self, how: str) -> Net:
        if how == "hswish" and self.spelled:
            x = self.value
            gate = self.add("Clip", [self.add("Add", [x, self.constant(3.0)]), self._scalar(0.0),
                                     self._scalar(6.0)])  # fmt: skip
            self.add("Div", [self.add("Mul", [x, gate]), self.constant(6.0)])
        elif how == "relu6":
            self.add("Clip", [self.value, self._scalar(0.0), self._scalar(6.0)])
        elif how:
            self.add({"hswish": "HardSwish", "relu": "Relu"}[how], [self.value])
        return self

    def _scalar(self, value: float) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def pool(self) -> Net:
        if self.spelled:
            for axis in (3, 2):
                axes = self.constant(axis, dtype=np.int64)
                self.add("ReduceMean", [self.value, axes], keepdims=1)
        else:
            self.add("GlobalAveragePool", [self.value])
        self.shape = (self.shape[0], 1, 1)
        return self

    def squeeze(self, middle: int) -> Net:
        trunk, shape = self.value, self.shape
        self.pool()
        for out in (middle, shape[0]):
            kernels, bias = self.weight(out, self.shape[0], 1, 1), self.weight(out)
            self.add("Conv", [self.value, kernels, bias])
            self.shape = (out, 1, 1)
            self.add("Relu" if out == middle else "HardSigmoid", [self.value])
        self.add("Mul", [trunk, self.value])
        self.shape = shape
        return self

    def inverted(
        self,
        out: int,
        middle: int,
        kernel: int = 3,
        stride: int = 1,
        act: str = "relu",
        se: int = 0,
        expands: bool = True,
    ) -> Net:
        before, shape = self.value, self.shape
        if expands:
            self.conv(middle).act(act)
        self.conv(middle, kernel, stride, group=middle).act(act)
        if se:
            self.squeeze(se)
        self.conv(out)
        if shape == self.shape:
            self.add("Add", [before, self.value])
        return self

    def linear(self, out: int) -> Net:
        if len(self.shape) > 1:
            self.add("Flatten", [self.value])
        self.add("Gemm", [self.value, self.weight(out, self.shape[0]), self.weight(out)], transB=1)
        self.shape = (out,)
        return self

    def model(self, reads: str = "x", writes: str = "x", file: str = WEIGHTS) -> onnx.ModelProto:
        """The graph with external weights that nobody has placed yet."""
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self._nodes]
        for node in nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = {"x": reads, self.value: f"{writes}_out"}.get(name, name)
        given, made = ((1, *shape) for shape in (self._given, self.shape))
        graph = helper.make_graph(
            nodes,
            "block",
            [helper.make_tensor_value_info(reads, TensorProto.FLOAT, given)],
            [helper.make_tensor_value_info(f"{writes}_out", TensorProto.FLOAT, made)],
            [*self._constants, *(_external(n, s, file) for n, s in self.weights.items())],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _external(name: str, shape: Sequence[int], file: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
    point_to(tensor, file, 0, 4 * int(np.prod(shape)))
    return tensor


def mobile_blocks(resolution: int, proxyless: bool, spelled: bool) -> dict[str, Net]:
    """By block id without its resolution: stem, two choices at two slots, final, head."""
    half = resolution // 2

    def at(channels: int, size: int) -> Net:
        return Net((channels, size, size), spelled)

    act = "relu6" if proxyless else "hswish"
    stem = at(3, resolution).conv(8, 3, 2).act(act)
    found = {"stem/base": stem.inverted(8, 8, act="relu", expands=False)}
    for choice, kernel, expand in (("k3e3", 3, 3), ("k5e6", 5, 6)):
        first, second = at(8, half), at(16, half // 2)
        se = 0 if proxyless else 8
        found[f"stage.0/{choice}"] = first.inverted(16, 8 * expand, kernel, 2, act, se)
        later = "relu6" if proxyless else "relu"
        found[f"stage.1/{choice}"] = second.inverted(16, 16 * expand, kernel, 1, later)
    found["final/base"] = at(16, half // 2).conv(32).act(act).pool()
    head = at(32, 1)
    found["head/base"] = (
        head.linear(CLASSES) if proxyless else head.conv(48).act(act).linear(CLASSES)
    )
    return found


def make_mobile(
    path: Path, resolutions: Sequence[int] = (32, 48), *, proxyless: bool = False,
    spelled: bool = False,
) -> Bundle:  # fmt: skip
    """Write a bundle of those blocks, all weights 0, and open it."""
    stages = ("stage.0", "stage.1")
    at = ("r",)
    space = Space(
        slots=(
            Slot(name="stem", dimensions=at, reads=("image",)),
            *(Slot(name=name, choices=("k3e3", "k5e6"), dimensions=at) for name in stages),
            Slot(name="final", dimensions=at, writes=("pooled",)),
            Slot(name="head", reads=("pooled",), writes=("logits",)),
        ),
        rules=(PrefixDepth(slots=stages, depths=(1, 2)),),
        dimensions=(Dimension(name="r", values=tuple(resolutions)),),
        inputs=("image",),
        outputs=("logits",),
    )
    nets = {r: mobile_blocks(r, proxyless, spelled) for r in resolutions}
    tensors = {
        f"{unit}.{name}": np.zeros(shape, np.float32)
        for unit, net in nets[resolutions[0]].items()
        for name, shape in net.weights.items()
    }
    blocks = {}
    with write_bundle(path, "space") as writer:
        save_file(tensors, writer.folder / WEIGHTS)
        layout = read_layout(writer.folder / WEIGHTS)
        for slot, written in space.blocks:
            choice, values = space.read(slot, written)
            unit = f"{slot}/{choice}"
            net = nets[values.get("r", resolutions[0])][unit]
            place = space.slot(slot)
            model = net.model(place.reads[0], place.writes[0])
            ranges = []
            for tensor in model.graph.initializer:
                if tensor.data_location == TensorProto.EXTERNAL:
                    stored = layout[f"{unit}.{tensor.name}"]
                    point_to(tensor, WEIGHTS, stored.offset, stored.length)
                    ranges.append(
                        WeightRange(tensor=f"{unit}.{tensor.name}", offset=0, length=stored.length)
                    )
            file = f"blocks/{slot}--{written}.onnx"
            sha256, size = writer.add_graph(file, model.SerializeToString(deterministic=True))
            inputs, outputs = signature(model.graph)
            blocks[f"{slot}/{written}"] = Block(
                file=file, sha256=sha256, bytes=size, kind=graph_kind(model), inputs=inputs,
                outputs=outputs, weights=tuple(ranges), slot=slot, choice=written,
            )  # fmt: skip
        writer.finish(
            Manifest(
                hwnas="0.2.0",
                form="space",
                space=space,
                weights=writer.weights(),
                blocks=blocks,
                inputs=blocks[f"stem/{space.written('stem')[-1]}"].inputs,
                outputs=blocks["head/base"].outputs,
            )
        )
    return Bundle.open(path, "space")
