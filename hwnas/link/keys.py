"""Hash-consing: which nodes of the subnets' finished graphs are one and the same.

A node is known by its operator, its attributes, the content of its weights, the shapes of its
values and the name of the value that it computes, which is the name of a value of its block. Where
the optimiser has made the value up, the nodes that it reads from stand in. What a node reads is
left out on purpose: the head is one node whichever layer comes before it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from hwnas.link.optimise import Finished
from hwnas.link.pool import Pool, Pooled
from hwnas.link.rename import captured, rename_node

__all__ = ["KeyedGraph", "KeyedNode", "Source", "key_nodes"]

Source = tuple[str, int]
"""The ``i``-th result of the node of a key; of a network input, its name and -1."""

_LAYOUT = "_nchwc"
"""ONNX Runtime appends this to the name of a value for the node that computes its blocked form."""


@dataclass(frozen=True)
class KeyedNode:
    """One node of one finished graph.

    Attributes:
        key: equal for nodes that are one and the same.
        node: as the optimiser wrote it.
        label: the name that it is known by, for readers.
        reads: of every name that it reads, captured ones included: where it comes from.
        weights: of every name that is an initialiser: its content.
    """

    key: str
    node: NodeProto
    label: str
    reads: dict[str, Source]
    weights: dict[str, Pooled | TensorProto]


@dataclass(frozen=True)
class KeyedGraph:
    """The nodes of one subnet in topological order, and its own inputs and outputs.

    Attributes:
        inputs: names of the network's inputs.
        nodes: in topological order.
        outputs: name in the finished graph to where it comes from.
    """

    inputs: tuple[str, ...]
    nodes: tuple[KeyedNode, ...]
    outputs: dict[str, Source]


def key_nodes(finished: Finished, shapes: Mapping[str, str], pool: Pool, inline: int) -> KeyedGraph:
    """Key the nodes of one finished graph, and keep its weights in ``pool``.

    Args:
        finished: see :func:`hwnas.link.optimise.optimise`.
        shapes: every value before optimisation, with its shape if that is known, or "".
        pool: takes every initialiser larger than ``inline`` bytes.
        inline: smaller ones stay in the graph.
    """
    graph = finished.model.graph
    known = shapes.__contains__
    sources: dict[str, Source] = {value.name: (value.name, -1) for value in graph.input}
    readers = {
        name: node for node in reversed(graph.node) for name in (*node.input, *captured(node))
    }
    weights: dict[str, Pooled | TensorProto] = {}
    digests: dict[str, str] = {}
    for tensor in graph.initializer:
        array = finished.array(tensor)
        if array.nbytes > inline:
            reader = readers.get(tensor.name)
            label = _label(reader, known) if reader is not None else ""
            name = tensor.name if known(tensor.name) or not label else f"{label}.weight"
            pooled = pool.add(array, name)
            weights[tensor.name] = pooled
            digests[tensor.name] = f"{pooled.dtype}{pooled.shape}{pooled.digest}"
        else:
            bare = TensorProto(data_type=tensor.data_type, dims=tensor.dims)
            bare.raw_data = array.tobytes()
            weights[tensor.name] = bare
            digests[tensor.name] = bare.SerializeToString(deterministic=True).hex()
    taken = " ".join(shapes.get(value.name, "") for value in graph.input)
    seen: Counter[str] = Counter()
    nodes = []
    for node in graph.node:
        names = dict.fromkeys(name for name in (*node.input, *captured(node)) if name)
        reads = {name: sources[name] for name in names if name in sources}
        own = {name: weights[name] for name in names if name in weights}
        label = _label(node, known)
        identity = label or " ".join(f"{key}:{i}" for key, i in reads.values())
        # Widths that are not cut, and dimensions, give other shapes to values of one name.
        identity += "".join(f" {shapes.get(name, '')}" for name in (*node.input, *node.output))
        # What the optimiser has laid out otherwise has a shape that ONNX does not know: that of
        # the value it stands for, or else what the subnet takes, tells it apart.
        identity += f" {shapes[label] or taken}" if label else ""
        key = _digest(node, identity, digests)
        seen[key] += 1
        key = f"{key}.{seen[key]}"
        for i, name in enumerate(node.output):
            sources[name] = (key, i)
        nodes.append(KeyedNode(key, node, label, reads, own))
    return KeyedGraph(
        inputs=tuple(value.name for value in graph.input),
        nodes=tuple(nodes),
        outputs={value.name: sources[value.name] for value in graph.output},
    )


def _label(node: NodeProto, known: Callable[[str], bool]) -> str:
    """What the node is known by: the value that it computes, by its name before optimisation."""
    first = next((name for name in node.output if name), "")
    if known(first):
        return first
    plain = node.name.removesuffix(_LAYOUT)
    return plain if plain != node.name and known(plain) else ""


def _digest(node: NodeProto, identity: str, digests: dict[str, str]) -> str:
    bare = NodeProto()
    bare.CopyFrom(node)
    names = {name: f"w{digests[name]}" for name in digests}
    position: dict[str, str] = {}

    def placed(name: str) -> str:
        if not name:
            return ""
        return names.get(name) or position.setdefault(name, f"v{len(position)}")

    rename_node(bare, placed)
    bare.name = identity
    bare.doc_string = ""
    bare.ClearField("metadata_props")
    attributes = sorted(bare.attribute, key=lambda a: a.name)
    del bare.attribute[:]
    bare.attribute.extend(attributes)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:24]
