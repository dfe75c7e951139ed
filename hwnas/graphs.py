"""What hwnas asks of an ONNX graph: its weights by reference, its structural hash, its arithmetic.

Graphs are handled as ``onnx.ModelProto`` whose weights are external data: an initialiser carries
a location, a byte offset and a length, never bytes. Small constants (shapes, axes, scalars) stay
inline, because they are structure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from hwnas.errors import BundleError
from hwnas.manifest import WeightRange
from hwnas.program import TensorSpec
from hwnas.weights import Stored

__all__ = [
    "external_location",
    "external_range",
    "external_tensors",
    "graph_kind",
    "macs",
    "parse_model",
    "point_to",
    "point_to_stored",
    "shapes_of",
    "signature",
    "tensor_values",
]


def parse_model(data: bytes, what: str) -> ModelProto:
    """Parse a serialised model; :class:`BundleError` names ``what`` if it is damaged."""
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own DecodeError is not public API
        raise BundleError(
            f"{what} is not an ONNX model: {error}", "make the bundle again"
        ) from error


def external_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Initialisers of ``graph`` whose bytes lie in the weights file."""
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def external_location(tensor: TensorProto) -> str:
    """The file that holds the bytes of an external initialiser."""
    return next((e.value for e in tensor.external_data if e.key == "location"), "")


def external_range(tensor: TensorProto) -> tuple[int, int]:
    """Byte offset and length of an external initialiser within its file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return int(entries.get("offset", "0")), int(entries.get("length", "0"))


def point_to(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Make ``tensor`` external: ``length`` bytes from ``offset`` of the file ``location``."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def point_to_stored(
    graph: GraphProto, location: str, parts: Mapping[str, WeightRange], layout: Mapping[str, Stored]
) -> None:
    """Point every external initialiser to its part of a stored tensor.

    Args:
        graph: changed in place.
        location: the weights file, relative to the graph's folder.
        parts: initialiser name to what it uses.
        layout: of the weights file.
    """
    for tensor in external_tensors(graph):
        part = parts[tensor.name]
        point_to(tensor, location, layout[part.tensor].offset + part.offset, part.length)


def tensor_values(tensor: TensorProto, weights: Path) -> NDArray[Any]:
    """The values of an initialiser; where external, a read-only mapping of the file ``weights``."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    offset, length = external_range(tensor)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    raw = np.memmap(weights, np.uint8, "r", offset, (length,))
    return raw.view(dtype).reshape(tuple(tensor.dims))


def signature(graph: GraphProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of ``graph``, which must have static shapes."""
    return tuple(map(_spec, graph.input)), tuple(map(_spec, graph.output))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def graph_kind(model: ModelProto) -> str:
    """Structural hash: operators, attributes, shapes, dtypes and wiring.

    Names and the values of external weights are left out, so that equal layers are of one kind;
    inline constants count by value. Nodes are taken in their stored order: graphs that the same
    code produced agree in it.
    """
    digest = hashlib.sha256()
    for opset in sorted(model.opset_import, key=lambda o: o.domain):
        digest.update(f"opset {opset.domain} {opset.version}\n".encode())
    _hash_graph(digest, model.graph, {})
    return digest.hexdigest()[:32]


def _hash_graph(digest: hashlib._Hash, graph: GraphProto, outer: dict[str, str]) -> None:
    number = dict(outer)
    number[""] = "-"

    def name(value: str) -> str:
        return number.setdefault(value, f"v{len(number)}")

    for value in graph.input:
        digest.update(f"in {name(value.name)} {_spec(value)}\n".encode())
    for tensor in graph.initializer:
        shape = ",".join(map(str, tensor.dims))
        digest.update(f"const {name(tensor.name)} {tensor.data_type}[{shape}]".encode())
        if tensor.data_location != TensorProto.EXTERNAL:
            digest.update(onnx.numpy_helper.to_array(tensor).tobytes())
        digest.update(b"\n")
    for node in graph.node:
        ins, outs = " ".join(map(name, node.input)), " ".join(map(name, node.output))
        digest.update(f"{node.domain}:{node.op_type} ({ins}) ({outs})".encode())
        for attribute in sorted(node.attribute, key=lambda a: a.name):
            _hash_attribute(digest, attribute, number)
        digest.update(b"\n")
    for value in graph.output:
        digest.update(f"out {name(value.name)} {_spec(value)}\n".encode())


def _hash_attribute(
    digest: hashlib._Hash, attribute: AttributeProto, number: dict[str, str]
) -> None:
    digest.update(f" {attribute.name}=".encode())
    if attribute.type == AttributeProto.GRAPH:
        _hash_graph(digest, attribute.g, number)
    elif attribute.type == AttributeProto.TENSOR:
        array = onnx.numpy_helper.to_array(attribute.t)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    else:
        bare = AttributeProto()
        bare.CopyFrom(attribute)
        bare.doc_string = ""
        digest.update(bare.SerializeToString(deterministic=True))


def macs(model: ModelProto) -> int:
    """Multiply-accumulates of one run of ``model``: its convolutions and matrix products.

    All else counts 0, as papers count it: normalisations, activations, sums, pooling.

    Args:
        model: with static shapes; its weights need not be there.

    Raises:
        BundleError: a shape that is needed cannot be inferred, or it has branches or loops.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise BundleError(
            f"the shapes of a graph cannot be inferred: {error}", "make the bundle again"
        ) from error
    shapes = shapes_of(inferred.graph)
    return sum(_node_macs(node, shapes) for node in model.graph.node)


def shapes_of(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Static shapes of all values of ``graph`` that say theirs, by name."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            found[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    return found


def _node_macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    def shape(value: str) -> tuple[int, ...]:
        if value not in shapes:
            raise BundleError(
                f"the shape of {value!r} at {node.op_type} is not known", "export static shapes"
            )
        return shapes[value]

    if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
        raise BundleError(
            f"how often {node.op_type} runs its graphs is not known", "export without branches"
        )
    if node.op_type == "Conv":  # weights (out, in / groups, *kernel)
        return math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, *kernel)
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "MatMul":
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-1]
    if node.op_type == "Gemm":
        across = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(shape(node.output[0])) * shape(node.input[0])[0 if across else 1]
    return 0
