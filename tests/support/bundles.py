"""A small, real bundle of form ``space``, made by hand with ``onnx.helper``.

Network: ``image[B,dim]`` -> stem -> ``depth`` residual layers -> head -> ``logits[B,4]``. A layer
is ``x + relu(x @ W1[:k].T + b1[:k]) @ W2[:k]``, whose width ``k`` is the choice ``h{k}``. Narrow
choices are prefixes of the wide one's tensors: the same offset in the weights file with a shorter
length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from hwnas.bundle import WEIGHTS, Block, Bundle, BundleWriter, Manifest, WeightRange, write_bundle
from hwnas.program import TensorSpec
from hwnas.space import EqualChoice, PrefixDepth, Rule, Slot, Space, Subnet

__all__ = ["CLASSES", "make_bundle", "make_space", "reference_output", "subnet_names"]

CLASSES = 4
_BYTES = 4


def make_space(depth: int = 3, widths: Sequence[int] = (8, 16), *, equal: bool = True) -> Space:
    """The space of :func:`make_bundle`: ``depth * len(widths)`` subnets if ``equal``.

    Names are ``d2-h8`` if ``equal``, ``d2-layers.0.h8-layers.1.h16`` if not, ``d2`` if there is
    one width (the choice is then named ``base``).
    """
    names = tuple(f"layers.{i}" for i in range(depth))
    choices = tuple(f"h{w}" for w in widths) if len(widths) > 1 else ("base",)
    rules: list[Rule] = [PrefixDepth(slots=names, depths=tuple(range(1, depth + 1)))]
    if equal and len(widths) > 1:
        rules.append(EqualChoice(slots=names))
    slots = (
        Slot(name="stem", reads=("image",), writes=("x",)),
        *(Slot(name=name, choices=choices) for name in names),
        Slot(name="head", reads=("x",), writes=("logits",)),
    )
    return Space(
        slots=slots, rules=tuple(rules), inputs=("image",), outputs=("logits",), nested=True
    )


def make_bundle(
    path: Path,
    depth: int = 3,
    widths: Sequence[int] = (8, 16),
    *,
    dim: int = 16,
    batch: int = 1,
    equal: bool = True,
    seed: int = 0,
) -> Bundle:
    """Write the bundle at ``path`` and open it.

    Args:
        path: its folder; must not exist.
        depth: number of layers, each of which may be left out from the end.
        widths: hidden widths of a layer, ascending.
        dim: width of ``image`` and ``x``. 256 or more for blocks that take measurable time.
        batch: first dimension of everything.
        equal: all layers have the same width.
        seed: of the weights.
    """
    space = make_space(depth, widths, equal=equal)
    tensors = _tensors(depth, max(widths), dim, seed)
    with write_bundle(path, "space") as writer:
        save_file(tensors, writer.folder / WEIGHTS)
        starts = _starts(writer.folder / WEIGHTS)
        blocks = {}
        for slot, choice in space.blocks:
            width = int(choice[1:]) if choice != "base" else max(widths)
            part = _part(slot, width, dim, batch)
            blocks[f"{slot}/{choice}"] = _write_block(writer, starts, part, slot, choice)
        writer.finish(
            Manifest(
                hwnas="0.0.0+test",
                form="space",
                space=space,
                inputs=(TensorSpec(name="image", dtype="float32", shape=(batch, dim)),),
                outputs=(TensorSpec(name="logits", dtype="float32", shape=(batch, CLASSES)),),
                weights=writer.weights(),
                blocks=blocks,
            )
        )
    return Bundle.open(path, "space")


def subnet_names(bundle: Bundle) -> list[str]:
    """Every subnet of the space, in its order."""
    return [subnet.name for subnet in bundle.manifest.space.subnets()]


def reference_output(bundle: Bundle, subnet: Subnet, image: np.ndarray) -> np.ndarray:
    """What ``subnet`` computes, in NumPy: ``logits`` of ``image``."""
    tensors = load_file(bundle.path / WEIGHTS)
    x = image @ tensors["stem.w"].T + tensors["stem.b"]
    for slot, choice in subnet.choices.items():
        if slot.startswith("layers."):
            w1, b1, w2 = (tensors[f"{slot}.{name}"] for name in ("w1", "b1", "w2"))
            k = int(choice[1:]) if choice != "base" else len(b1)
            x = x + np.maximum(x @ w1[:k].T + b1[:k], 0) @ w2[:k]
    return x @ tensors["head.w"].T + tensors["head.b"]


@dataclass(frozen=True)
class _Part:
    """What a block is made of: its nodes, weights by stored name and shape, and signature."""

    nodes: list[onnx.NodeProto]
    weights: dict[str, tuple[int, ...]]
    input: TensorSpec
    output: TensorSpec


def _tensors(depth: int, hidden: int, dim: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    tensors = {"stem.w": draw(dim, dim), "stem.b": draw(dim)}
    for i in range(depth):
        tensors[f"layers.{i}.w1"] = draw(hidden, dim)
        tensors[f"layers.{i}.b1"] = draw(hidden)
        tensors[f"layers.{i}.w2"] = draw(hidden, dim)
    return tensors | {"head.w": draw(CLASSES, dim), "head.b": draw(CLASSES)}


def _starts(weights: Path) -> dict[str, int]:
    """Byte offset in the file at which each stored tensor begins."""
    with weights.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    return {name: 8 + size + entry["data_offsets"][0] for name, entry in header.items()}


def _part(slot: str, width: int, dim: int, batch: int) -> _Part:
    def spec(name: str, size: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(batch, size))

    if slot in ("stem", "head"):
        read, write, size = ("image", "x", dim) if slot == "stem" else ("x", "logits", CLASSES)
        names = [f"{slot}.w", f"{slot}.b"]
        return _Part(
            [helper.make_node("Gemm", [read, *names], [f"{write}_out"], slot, transB=1)],
            {names[0]: (size, dim), names[1]: (size,)},
            spec(read, dim),
            spec(f"{write}_out", size),
        )
    w1, b1, w2 = (f"{slot}.{name}" for name in ("w1", "b1", "w2"))
    return _Part(
        [
            helper.make_node("Gemm", ["x", w1, b1], ["h"], "fc1", transB=1),
            helper.make_node("Relu", ["h"], ["a"], "relu"),
            helper.make_node("MatMul", ["a", w2], ["y"], "fc2"),
            helper.make_node("Add", ["x", "y"], ["x_out"], "add"),
        ],
        {w1: (width, dim), b1: (width,), w2: (width, dim)},
        spec("x", dim),
        spec("x_out", dim),
    )


def _write_block(
    writer: BundleWriter, starts: dict[str, int], part: _Part, slot: str, choice: str
) -> Block:
    unit = f"{slot}/{choice}"
    lengths = {name: int(np.prod(shape)) * _BYTES for name, shape in part.weights.items()}
    graph = helper.make_graph(
        part.nodes,
        unit,
        [_value(part.input)],
        [_value(part.output)],
        [
            _external(name, shape, starts[name], lengths[name])
            for name, shape in part.weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    file = f"blocks/{slot}.{choice}.onnx"
    sha256, size = writer.add_graph(file, model.SerializeToString(deterministic=True))
    return Block(
        file=file,
        sha256=sha256,
        bytes=size,
        kind=_kind(part),
        inputs=(part.input,),
        outputs=(part.output,),
        weights=tuple(
            WeightRange(tensor=name, offset=0, length=length) for name, length in lengths.items()
        ),
        slot=slot,
        choice=choice,
    )


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape)


def _external(name: str, shape: tuple[int, ...], offset: int, length: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name,
        dims=shape,
        data_type=TensorProto.FLOAT,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in {"location": WEIGHTS, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _kind(part: _Part) -> str:
    """Equal for blocks that differ only in names and in the values of their weights."""
    body = [
        [node.op_type for node in part.nodes],
        list(part.weights.values()),
        [part.input.shape, part.output.shape],
    ]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:32]
