"""Finalising one graph: the runtime's own optimiser, run ahead for this type of CPU.

ONNX Runtime fuses nodes and lays convolutions' weights out for the CPU when it opens a session.
Done once here and saved, that work is not repeated at load, and what several subnets share can be
found in the finished graphs. Packing of weights stays for the load: it is the runtime's own memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from hwnas.errors import HwnasError
from hwnas.graphs import tensor_values
from hwnas.link.rename import captured, rename_node
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.runtime.session import session_options

__all__ = ["OPTIONS", "Finished", "Level", "optimise"]

Level = Literal["all", "extended"]
"""``all`` lays weights out for this type of CPU; ``extended`` fuses nodes and fits any CPU."""

OPTIONS: Mapping[str, str] = {
    "graph_optimization_level": "ORT_ENABLE_ALL",
    "execution_provider": "CPUExecutionProvider",
}
"""How graphs are finalised; recorded in the manifest."""

_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}
_MODEL, _WEIGHTS = "finished.onnx", "finished.weights"


@dataclass(frozen=True)
class Finished:
    """A finished graph and the file of its large initialisers, which :meth:`array` reads."""

    model: ModelProto
    folder: Path

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """The values of one of the model's initialisers; a mapping of the file where external."""
        return tensor_values(tensor, self.folder / _WEIGHTS)


def optimise(
    model: ModelProto, weights: Path, folder: Path, what: str, level: Level = "all"
) -> Finished:
    """Finish ``model`` with this version of ONNX Runtime, for this CPU unless ``extended``.

    Args:
        model: whole graph of one subnet; external initialisers lie under ``weights``.
        weights: the bundle's folder.
        folder: an empty folder that the finished weights are written into.
        what: for messages.
        level: how far to go.

    Raises:
        HwnasError: ONNX Runtime refuses the graph, or the disk is full.
    """
    options = session_options(str(weights.resolve()), _LEVELS[level], packed=False)
    options.optimized_model_filepath = str(folder / _MODEL)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", _WEIGHTS
    )
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        finished = onnx.load(folder / _MODEL, load_external_data=False)
    except Exception as error:  # ONNX Runtime's exceptions have no common public base
        raise HwnasError(
            f"ONNX Runtime {ort.__version__} cannot finalise {what}: {error}",
            "export the portable bundle instead (without --finalise), or free some disk space",
        ) from error
    _compute_outputs(finished.graph)
    _drop_unread(finished.graph)
    return Finished(finished, folder)


def _compute_outputs(graph: GraphProto) -> None:
    """Let a node compute each output: one that depends on no input is left a constant."""
    computed = {name for node in graph.node for name in node.output}
    for output in graph.output:
        if output.name in computed:
            continue
        names = {output.name: f"{output.name}.constant"}
        for tensor in graph.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        for node in graph.node:
            rename_node(node, partial(_renamed, names))
        graph.node.append(helper.make_node("Identity", list(names.values()), list(names)))


def _renamed(names: Mapping[str, str], name: str) -> str:
    return names.get(name, name)


def _drop_unread(graph: GraphProto) -> None:
    """Leave out what no output needs; the runtime leaves some of it behind."""
    wanted = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(NodeProto.FromString(node.SerializeToString()))
            wanted.update((*node.input, *captured(node)))
    tensors = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensor for tensor in tensors if tensor.name in wanted)
