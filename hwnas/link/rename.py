"""Renaming the values that nodes read and write, inside nested graphs too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto

__all__ = ["captured", "rename_node"]


def rename_node(node: NodeProto, renamed: Callable[[str], str]) -> None:
    """Rename every value of ``node`` in place."""
    node.input[:] = [renamed(name) for name in node.input]
    node.output[:] = [renamed(name) for name in node.output]
    for graph in _nested(node):
        _rename_graph(graph, renamed)


def _rename_graph(graph: GraphProto, renamed: Callable[[str], str]) -> None:
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = renamed(named.name)
    for node in graph.node:
        rename_node(node, renamed)


def captured(node: NodeProto) -> tuple[str, ...]:
    """Names that graphs nested in ``node`` read from outside, each once, in order."""
    found: dict[str, None] = {}
    for graph in _nested(node):
        found.update(dict.fromkeys(_free(graph)))
    return tuple(found)


def _free(graph: GraphProto) -> Iterator[str]:
    known = {"", *(v.name for v in graph.input), *(t.name for t in graph.initializer)}
    for node in graph.node:
        yield from (name for name in (*node.input, *captured(node)) if name not in known)
        known.update(node.output)
    yield from (value.name for value in graph.output if value.name not in known)


def _nested(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs
