"""Reading a bundle's graphs for linking: each is what the manifest says, or it is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.errors import BundleError
from hwnas.graphs import (
    external_location,
    external_range,
    external_tensors,
    parse_model,
    signature,
)
from hwnas.weights import read_layout

__all__ = ["load_graphs"]


def load_graphs(bundle: Bundle, units: Iterable[str]) -> dict[str, ModelProto]:
    """The graphs of ``units``, with their weights by reference.

    Raises:
        BundleError: a graph takes or gives something else than the manifest says, or its weights
            from elsewhere than the weights file, or from bytes that are no tensor's.
    """
    spans = [
        (stored.offset, stored.offset + stored.length)
        for stored in read_layout(bundle.file(bundle.manifest.weights.file)).values()
    ]
    models = {}
    for unit in units:
        model = parse_model(bundle.model(unit), unit)
        try:
            _check(bundle, unit, model, spans)
        except (ValueError, TypeError, KeyError) as error:
            raise _lies(bundle, unit, str(error)) from error
        models[unit] = model
    return models


def _check(bundle: Bundle, unit: str, model: ModelProto, spans: list[tuple[int, int]]) -> None:
    graph = bundle.graphs[unit]
    if signature(model.graph) != (graph.inputs, graph.outputs):
        raise _lies(bundle, unit, "its inputs and outputs are not those of the manifest")
    for tensor in external_tensors(model.graph):
        location = external_location(tensor)
        if location != WEIGHTS:
            raise _lies(bundle, unit, f"it takes {tensor.name!r} from {location!r}")
        offset, length = external_range(tensor)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if length != math.prod(tensor.dims) * np.dtype(dtype).itemsize:
            raise _lies(bundle, unit, f"{tensor.name!r} has {length} bytes, its shape has not")
        if not any(low <= offset and offset + length <= high for low, high in spans):
            raise _lies(bundle, unit, f"{tensor.name!r} lies in no stored tensor")


def _lies(bundle: Bundle, unit: str, how: str) -> BundleError:
    return BundleError(
        f"the graph of {unit} in {bundle.path} is not what it should be: {how}",
        "make the bundle again, or get it again from where it was made",
    )
