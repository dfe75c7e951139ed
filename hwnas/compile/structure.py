"""What a block does, but for the sizes of its tensors.

Exporting a block takes about a second, running it once some milliseconds. Blocks that call the same
functions of torch with the same arguments, sizes of tensors left out, have graphs that differ in
sizes alone, so that one of them is exported and the others are made from it (``resize``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from hwnas.program import TensorSpec

__all__ = ["arguments_of", "structure"]

_GETTER = "__get__"
_GROUPS = 6
"""Place of the number of groups among the arguments of a convolution."""


def arguments_of(inputs: Sequence[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """Zeros of the shapes and dtypes that a block takes."""
    return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)


def structure(module: nn.Module, inputs: Sequence[TensorSpec], writes: Sequence[str]) -> str | None:
    """A key that modules share which do the same to tensors of other sizes; None if it cannot run.

    Constants that torch works out by itself from a size, such as the scale of attention, do not
    show: what is made from another block is held to what torch computes.

    Args:
        module: a block in eval mode.
        inputs: its arguments in order.
        writes: names of what it returns.
    """
    arguments = arguments_of(inputs)
    calls = _Calls({**dict(module.named_parameters()), **dict(module.named_buffers())}, arguments)
    try:
        with torch.no_grad(), calls:
            results = module.eval()(*arguments)
        given = calls.show(results)
    except Exception:  # the export itself says what is wrong, in the words of the exporter
        return None
    lines = [repr([*writes]), repr([(spec.name, spec.dtype, len(spec.shape)) for spec in inputs])]
    lines += [*calls.lines, given]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Calls(TorchFunctionMode):
    """Writes down what is called in its scope.

    Of weights and inputs their names, of results number, dtype and rank, of all else the value.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], arguments: Iterable[torch.Tensor]
    ) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._names = {id(tensor): name for name, tensor in weights.items()}
        self._names |= {id(tensor): f"input {i}" for i, tensor in enumerate(arguments)}
        self._kept: list[object] = [weights, arguments]  # a number may be given away again

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, and write it down unless it only asks for a size or the like."""
        name = resolve_name(func) or repr(func)
        told = self.show(_without_depthwise(name, args)), self.show(dict(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if _GETTER not in name or isinstance(result, torch.Tensor):
            self._number(result)
            self.lines.append(f"{name} {told[0]} {told[1]} {self._kinds(result)}")
        return result

    def show(self, value: Any) -> str:
        """How a value is written down."""
        if isinstance(value, torch.Tensor):
            return self._names.get(id(value)) or _content(value)
        if isinstance(value, np.ndarray):
            return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        if isinstance(value, Mapping):
            pairs = sorted((str(key), self.show(item)) for key, item in value.items())
            return ", ".join(f"{key}={item}" for key, item in pairs)
        if isinstance(value, tuple | list):
            return f"({', '.join(map(self.show, value))})"
        return repr(value)

    def _number(self, result: Any) -> None:
        if isinstance(result, torch.Tensor):
            self._kept.append(result)
            self._names.setdefault(id(result), f"%{len(self._kept)}")
        elif isinstance(result, tuple | list):
            for item in result:
                self._number(item)

    def _kinds(self, result: Any) -> str:
        if isinstance(result, torch.Tensor):
            return f"{self._names[id(result)]} {result.dtype} {result.dim()}"
        if isinstance(result, tuple | list):
            return " ".join(map(self._kinds, result))
        return ""


def _content(tensor: torch.Tensor) -> str:
    """A tensor that is neither given nor made there, such as an attribute."""
    with torch._C.DisableTorchFunction():
        data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data).hexdigest()}"


def _without_depthwise(name: str, args: Sequence[Any]) -> Sequence[Any]:
    """Of a convolution with as many groups as channels, their number is a size as well."""
    if "functional.conv" not in name or "transpose" in name or len(args) <= _GROUPS:
        return args
    weight = args[1]
    if isinstance(weight, torch.Tensor) and args[_GROUPS] == weight.shape[0] != 1:
        return (*args[:_GROUPS], "depthwise")
    return args
