"""What a block's graph depends on, but for the sizes of its tensors.

Exporting a block takes about a second, most of which does not depend on the block; tracing it
takes some 50 ms. Blocks whose traces differ in sizes alone have graphs that differ in sizes alone,
so that one of them is exported and the others are made from it (``resize``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from hwnas.program import TensorSpec

__all__ = ["arguments_of", "structure"]


def arguments_of(inputs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """Zeros of the shapes and dtypes that a block takes."""
    return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)


def structure(module: nn.Module, inputs: Sequence[TensorSpec], writes: Sequence[str]) -> str | None:
    """A key that modules share whose graphs differ in sizes alone; None if there is no telling.

    Args:
        module: a block in eval mode.
        inputs: its arguments in order.
        writes: names of what it returns.
    """
    try:
        with torch.no_grad():
            program = torch.export.export(module.eval(), arguments_of(inputs), strict=False)
    except Exception:  # the export itself says what is wrong, in the words of the exporter
        return None
    lines = [repr([*writes]), repr([(spec.name, spec.dtype, len(spec.shape)) for spec in inputs])]
    lines += _constants(program)
    number: dict[Node, int] = {}
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    for node in program.graph.nodes:
        number[node] = len(number)
        value = node.meta.get("val")
        kind = f"{value.dtype} {value.dim()}" if isinstance(value, torch.Tensor) else ""
        what = names.get(node.name, "") if node.op == "placeholder" else _arguments(node, number)
        lines.append(f"{number[node]} {node.op} {what} {kind}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _constants(program: ExportedProgram) -> list[str]:
    found = []
    for name, value in program.constants.items():
        if isinstance(value, torch.Tensor):
            data = value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            found.append(f"{name} {value.dtype} {hashlib.sha256(data).hexdigest()}")
        else:
            found.append(f"{name} {value!r}")
    return sorted(found)


def _arguments(node: Node, number: dict[Node, int]) -> str:
    arguments: Any = node.args
    if _is_depthwise(node):
        arguments = (*node.args[:6], "depthwise")

    def show(value: Any) -> str:
        if isinstance(value, Node):
            return f"%{number[value]}"
        if isinstance(value, tuple | list):
            return f"({', '.join(map(show, value))})"
        return repr(value)

    pairs = sorted(f"{key}={show(value)}" for key, value in node.kwargs.items())
    return f"{node.target} {show(arguments)} {' '.join(pairs)}"


def _is_depthwise(node: Node) -> bool:
    """A convolution with as many groups as channels: their number is a size as well."""
    if "conv" not in str(node.target) or len(node.args) < 7 or not isinstance(node.args[1], Node):
        return False
    weight = node.args[1].meta.get("val")
    return isinstance(weight, torch.Tensor) and bool(node.args[6] == weight.shape[0] != 1)
