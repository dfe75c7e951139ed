"""Small graphs whose weights are prefixes of rows of tensors in one file, made by hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper

from hwnas.graphs import external_range, point_to

__all__ = [
    "DIM",
    "TOKENS",
    "Net",
    "attention",
    "gated",
    "ints",
    "inverted",
    "keys",
    "node",
    "rotated",
]

FILE = "weights.safetensors"
DIM, TOKENS = 12, 5
"""Width and number of tokens of ``x`` where no shape is given."""

SIZE = 4
"""Values of a head."""


class Net:
    """Writes graphs whose weights are prefixes of rows of tensors in one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets: dict[str, int] = {}
        self._random = np.random.default_rng(0)
        (folder / FILE).touch()

    def weight(self, name: str, full: tuple[int, ...], rows: int) -> TensorProto:
        """The first rows of a tensor; ``slot/choice/name`` is stored once for all choices."""
        stored = name.replace(name.split("/")[1], "", 1)
        data = (self._random.standard_normal(full) / np.sqrt(full[-1])).astype(np.float32)
        if stored not in self._offsets:
            with (self.folder / FILE).open("ab") as stream:
                self._offsets[stored] = stream.tell()
                stream.write(data.tobytes())
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=(rows, *full[1:]))
        point_to(tensor, FILE, self._offsets[stored], data.nbytes // full[0] * rows)
        return tensor

    def model(
        self,
        nodes: list[NodeProto],
        tensors: list[TensorProto],
        shape: tuple[int, ...] = (TOKENS, DIM),
        result: str = "y",
    ) -> ModelProto:
        """``x`` of ``shape`` to ``result``."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "net", [x], [y], tensors)
        opset = [helper.make_opsetid("", 20)]
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opset, ir_version=10)
        )

    def run(self, model: ModelProto) -> np.ndarray:
        path = self.folder / "run.onnx"
        path.write_bytes(model.SerializeToString())
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        [found] = session.run(None, {session.get_inputs()[0].name: x})
        return np.asarray(found)


def node(kind: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), output, **attributes)


def ints(name: str, *values: int) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def keys(model: ModelProto) -> Counter[tuple[object, ...]]:
    """What linking knows a node by: operator, attributes, content of its weights, first result."""
    ranges = {
        t.name: external_range(t) if t.external_data else t.raw_data or tuple(t.int64_data)
        for t in model.graph.initializer
    }
    return Counter(
        (
            n.op_type,
            tuple(sorted(a.SerializeToString(deterministic=True) for a in n.attribute)),
            tuple(ranges[name] for name in n.input if name in ranges),
            n.output[0],
        )
        for n in model.graph.node
    )


def linear(p: str, x: str, weight: str, y: str) -> list[NodeProto]:
    """As exported for tensors of more than two axes."""
    return [
        node("Transpose", f"{p}/{weight}", f"{p}/{weight}T", perm=[1, 0]),
        node("MatMul", f"{x} {p}/{weight}T", f"{y}0"),
        node("Add", f"{y}0 {p}/{weight}b", y),
    ]


def gated(net: Net, width: int) -> ModelProto:
    """SwiGLU on three axes: two elastic weights meet, and the sum has no bias."""
    p = f"mlp/w{width}"
    full = {"gate": (16, DIM), "gateb": (16,), "up": (16, DIM), "upb": (16,), "down": (16, DIM)}
    return net.model(
        [
            *linear(p, "x", "gate", f"{p}/g"),
            *linear(p, "x", "up", f"{p}/u"),
            node("Sigmoid", f"{p}/g", f"{p}/s"),
            node("Mul", f"{p}/g {p}/s", f"{p}/silu"),
            node("Mul", f"{p}/silu {p}/u", f"{p}/h"),
            node("MatMul", f"{p}/h {p}/down", f"{p}/d"),
            node("Add", f"x {p}/d", "y"),
        ],
        [net.weight(f"{p}/{name}", shape, width) for name, shape in full.items()],
        (2, TOKENS, DIM),
    )


def attention(net: Net, heads: int, batch: int, *, ended: bool = True) -> ModelProto:
    p, n = f"attn/heads{heads}", heads * SIZE
    nodes = [
        node("Transpose", f"{p}/k3", f"{p}/kT", perm=[0, 2, 3, 1]),
        node("Mul", f"{p}/qT {p}/scale", f"{p}/qs"),
        node("MatMul", f"{p}/qs {p}/kT", f"{p}/scores"),
        node("Add", f"{p}/scores {p}/slope", f"{p}/biased"),
        node("Softmax", f"{p}/biased", f"{p}/probs", axis=-1),
        node("MatMul", f"{p}/probs {p}/vT", f"{p}/mixed"),
        node("Transpose", f"{p}/mixed", f"{p}/back", perm=[0, 2, 1, 3]),
        node("Reshape", f"{p}/back {p}/flat", f"{p}/joined"),
        node("Gemm", f"{p}/joined {p}/project {p}/projectb", f"{p}/out" if ended else "y"),
    ]
    tensors = [
        ints(f"{p}/split", -1, TOKENS, heads, SIZE),
        ints(f"{p}/flat", -1, n),
        helper.make_tensor(f"{p}/scale", TensorProto.FLOAT, [], [SIZE**-0.5]),
        net.weight(f"{p}/slope", (3, 1, 1), heads),
        net.weight(f"{p}/project", (3 * SIZE, DIM), n),
        net.weight(f"{p}/projectb", (DIM,), DIM),
    ]
    before = []
    for name in "qkv":
        before.append(node("Gemm", f"x {p}/w{name} {p}/b{name}", f"{p}/{name}", transB=1))
        before.append(node("Reshape", f"{p}/{name} {p}/split", f"{p}/{name}3"))
        if name != "k":
            perm = [0, 2, 1, 3]
            before.append(node("Transpose", f"{p}/{name}3", f"{p}/{name}T", perm=perm))
        tensors.append(net.weight(f"{p}/w{name}", (3 * SIZE, DIM), n))
        tensors.append(net.weight(f"{p}/b{name}", (3 * SIZE,), n))
    after = [node("Add", f"x {p}/out", "y")] if ended else []
    return net.model([*before, *nodes, *after], tensors, (batch * TOKENS, DIM))


def rotated(net: Net, heads: int) -> ModelProto:
    """What stands around a head elsewhere: a norm of its own, halves that are turned, a gate."""
    p, n = f"attn/heads{heads}", heads * SIZE
    ones = np.linspace(0.5, 1.5, SIZE, dtype=np.float32)
    return net.model(
        [
            node("Gemm", f"x {p}/wq", f"{p}/q", transB=1),
            node("Reshape", f"{p}/q {p}/split", f"{p}/q3"),
            node("LayerNormalization", f"{p}/q3 {p}/scale", f"{p}/normed", axis=-1),
            node("Pow", f"{p}/normed {p}/two", f"{p}/square"),
            node("ReduceMean", f"{p}/square {p}/last", f"{p}/mean", keepdims=0),
            node("Unsqueeze", f"{p}/mean {p}/last", f"{p}/mean1"),
            node("Div", f"{p}/normed {p}/mean1", f"{p}/n"),
            node("Split", f"{p}/n", f"{p}/left {p}/right", axis=-1, num_outputs=2),
            node("Slice", f"{p}/n {p}/zero {p}/half {p}/last", f"{p}/first"),
            node("Sub", f"{p}/left {p}/first", f"{p}/nothing"),
            node("Add", f"{p}/right {p}/nothing", f"{p}/same"),
            node("Neg", f"{p}/same", f"{p}/turned"),
            node("Concat", f"{p}/turned {p}/left", f"{p}/rope", axis=2),
            node("Mul", f"{p}/rope {p}/table", f"{p}/out3"),
            node("Flatten", f"{p}/out3", f"{p}/out", axis=1),
            node("Gemm", f"{p}/out {p}/project", f"{p}/sum"),
            node("Add", f"x {p}/sum", "y"),
        ],
        [
            net.weight(f"{p}/wq", (3 * SIZE, DIM), n),
            net.weight(f"{p}/project", (3 * SIZE, DIM), n),
            net.weight(f"{p}/table", (TOKENS, 1, SIZE), TOKENS),
            helper.make_tensor(f"{p}/scale", TensorProto.FLOAT, [SIZE], ones),
            helper.make_tensor(f"{p}/two", TensorProto.FLOAT, [], [2.0]),
            ints(f"{p}/split", TOKENS, heads, SIZE),
            *(ints(f"{p}/{k}", v) for k, v in {"last": 2, "zero": 0, "half": SIZE // 2}.items()),
        ],
    )


def inverted(net: Net, width: int, *, mean: bool = False, usual: bool = False) -> ModelProto:
    """Expand, depthwise, project.

    The last weight is stored by the channels that it takes, or as usual by those that it gives.
    """
    p = f"conv/w{width}"
    shape = {"s": (24,), "t": (24,), "m": (24,), "v": (24,)}
    middle = [
        node("GlobalAveragePool", f"{p}/d", f"{p}/pool"),
        node("ReduceMean", f"{p}/pool {p}/one", f"{p}/mean", keepdims=1),
        node("Mul", f"{p}/d {p}/mean", f"{p}/m2"),
    ]
    return net.model(
        [
            node("Conv", f"x {p}/expand {p}/expandb", f"{p}/e"),
            node("BatchNormalization", f"{p}/e {p}/s {p}/t {p}/m {p}/v2", f"{p}/n"),
            node("HardSwish", f"{p}/n", f"{p}/a"),
            node("Conv", f"{p}/a {p}/depth {p}/depthb", f"{p}/d", group=width, pads=[1, 1, 1, 1]),
            *(middle if mean else [node("Relu", f"{p}/d", f"{p}/m2")]),
            node("Transpose", f"{p}/project", f"{p}/projectT", perm=[1, 0, 2, 3])
            if not usual
            else node("Identity", f"{p}/usual{width}", f"{p}/projectT"),
            node("Conv", f"{p}/m2 {p}/projectT {p}/projectb", f"{p}/p"),
            node("Add", f"x {p}/p", "y"),
        ],
        [
            net.weight(f"{p}/expand", (24, 6, 1, 1), width),
            net.weight(f"{p}/expandb", (24,), width),
            net.weight(f"{p}/depth", (24, 1, 3, 3), width),
            net.weight(f"{p}/depthb", (24,), width),
            net.weight(f"{p}/usual{width}", (6, width, 1, 1), 6)
            if usual
            else net.weight(f"{p}/project", (24, 6, 1, 1), width),
            net.weight(f"{p}/projectb", (6,), 6),
            *(net.weight(f"{p}/{name}", size, width) for name, size in shape.items()),
            helper.make_tensor(f"{p}/v2", TensorProto.FLOAT, [width], [1.5] * width),
            ints(f"{p}/one", 1),
        ],
        (1, 6, 7, 7),
    )
