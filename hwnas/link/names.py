"""Names that do not depend on the choice at a slot, so that equal nodes are named equal."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto

from hwnas.link.rename import rename_node

__all__ = ["without_choices"]


def without_choices(model: ModelProto, slots: Collection[str]) -> ModelProto:
    """A copy in which what was named ``slot/choice/value`` is named ``slot/value``.

    A subnet has one choice at a slot, so names stay unique. Nodes are named after what they give.

    Args:
        model: of one subnet, its values named as :func:`hwnas.link.merge` does.
        slots: names of the space's slots.
    """

    def shorter(name: str) -> str:
        slot, _, rest = name.partition("/")
        _, found, value = rest.partition("/")
        return f"{slot}/{value}" if found and slot in slots else name

    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for named in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        named.name = shorter(named.name)
    for node in graph.node:
        rename_node(node, shorter)
        node.name = next(filter(None, node.output), node.name)
    return copy
