"""One block from torch to ONNX, with its weights left out and named instead."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn

from hwnas.bundle import WEIGHTS
from hwnas.compile.structure import arguments_of
from hwnas.compile.trace import OUT
from hwnas.errors import SupernetError
from hwnas.program import TensorSpec

__all__ = ["ExportedBlock", "Source", "export_block"]

_LARGEST_INLINE = 1024
"""A constant that is no parameter stays in the graph up to this size, in bytes."""

OPSET = 20


@dataclass(frozen=True)
class Source:
    """Where an initialiser's values come from: a tensor of the block, then slices of it.

    ``slices`` holds ``(axis, start, stop, step)`` in the order in which they apply.
    """

    tensor: str
    slices: tuple[tuple[int, int, int, int], ...] = ()

    def of(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The tensor itself; a view wherever torch can make one."""
        value = tensors[self.tensor]
        for axis, start, stop, step in self.slices:
            index = [slice(None)] * value.dim()
            index[axis] = slice(start, stop, step)
            value = value[tuple(index)]
        return value


@dataclass(frozen=True)
class ExportedBlock:
    """A block's graph: its initialisers are external, ``sources`` says what each one is.

    ``constants`` holds computed tensors that are too large to stay inline. ``resized`` says that
    the graph was made from that of another block.
    """

    id: str
    model: bytes
    sources: dict[str, Source]
    constants: dict[str, torch.Tensor]
    resized: bool = False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports on itself at length; only its errors matter to a user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def export_block(
    block_id: str, module: nn.Module, inputs: tuple[TensorSpec, ...], writes: tuple[str, ...]
) -> ExportedBlock:
    """Export ``module`` with static shapes.

    Args:
        block_id: for messages.
        module: in eval mode; it runs once on zeros of the shapes of ``inputs``.
        inputs: its arguments in order.
        writes: names of what it returns, in order.

    Raises:
        SupernetError: torch cannot export it; names the block and torch's reason.
    """
    arguments = arguments_of(inputs)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                arguments,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                input_names=[spec.name for spec in inputs],
            )
        assert program is not None
        model = program.model
        outputs = [name + OUT for name in writes]
        _own_outputs(model.graph, outputs)
        sources = _fold(model, _tensor_names(module), outputs)
        _drop_zero_biases(model.graph)
    except Exception as error:
        if _interrupted(error):
            raise KeyboardInterrupt from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise SupernetError(
            f"block {block_id} cannot be exported to ONNX: {type(error).__name__}: {reason}",
            "rewrite the operation that torch.onnx.export does not take",
        ) from error
    _anonymise(model)
    constants = _move_constants(model, sources)
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    return ExportedBlock(block_id, data, sources, constants)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is what the exporter failed on: it reports that as a failed export."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _tensor_names(module: nn.Module) -> set[str]:
    return {name for name, _ in [*module.named_parameters(), *module.named_buffers()]}


def _own_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Name the outputs, each a value of its own that a node of the graph computes.

    A block may return its input, a weight or one tensor twice; the exporter then takes that one
    value for all of them, and it can have only one name. An Identity node makes it a second one.
    """
    for i, name in enumerate(names):
        value = graph.outputs[i]
        if value.producer() is None or value in graph.outputs[:i]:
            node = ir.node("Identity", [value], name=f"{name}_identity")
            graph.append(node)
            copy = node.outputs[0]
            copy.shape, copy.type = value.shape, value.type
            graph.outputs[i] = copy
            if value.name == name:
                value.name = f"{name}.constant"
            value = copy
        value.name = name


def _fold(model: ir.Model, names: set[str], outputs: Sequence[str]) -> dict[str, Source]:
    """Fold what depends on no weight; resolve constant slices of weights into views of them.

    Weights are hidden from the folder as graph inputs: a folded weight would lose its name, and
    with it what it shares with other blocks.
    """
    graph = model.graph
    weights = [value for name, value in graph.initializers.items() if name in names]
    for value in weights:
        graph.initializers.pop(str(value.name))
        value.const_value = None
        graph.inputs.append(value)
    optimizer.fold_constants(model)
    _own_outputs(graph, outputs)  # one that depends on nothing is folded into a constant
    sources = {str(value.name): Source(str(value.name)) for value in weights}
    _resolve_slices(graph, sources)
    for value in weights:
        graph.inputs.remove(value)
        if value.uses():
            value.const_value = _by_reference(value)
            graph.register_initializer(value)
        else:
            del sources[str(value.name)]
    optimizer.remove_unused_nodes(model)
    for name, constant in list(graph.initializers.items()):
        if not constant.uses():  # intermediate results, of the folder and of slices of slices
            graph.initializers.pop(name)
            sources.pop(name, None)
    return sources


def _drop_zero_biases(graph: ir.Graph) -> None:
    """The exporter gives a convolution without a bias one of zeros, which is as good as none."""
    for node in graph:
        bias = node.inputs[2] if node.op_type == "Conv" and len(node.inputs) > 2 else None
        constant = None if bias is None else ir.convenience.get_const_tensor(bias)
        if bias is None or constant is None or isinstance(constant, ir.ExternalTensor):
            continue
        if not constant.numpy().any():
            node.resize_inputs(2)
            if not bias.uses():
                graph.initializers.pop(str(bias.name), None)


def _resolve_slices(graph: ir.Graph, sources: dict[str, Source]) -> None:
    """``Slice(weight, constants)`` is no computation: it names a part of the weight."""
    for node in list(graph):
        data = node.inputs[0] if node.inputs else None
        if node.op_type != "Slice" or data is None or data.name not in sources:
            continue
        numbers = [_ints(value) for value in node.inputs[1:]]
        starts, stops = numbers[0], numbers[1]
        if starts is None or stops is None or data.shape is None or None in numbers[2:]:
            continue
        axes = numbers[2] if len(numbers) > 2 and numbers[2] else list(range(len(starts)))
        steps = numbers[3] if len(numbers) > 3 and numbers[3] else [1] * len(starts)
        if min(steps) < 1:
            continue
        shape = [int(dim) for dim in data.shape]  # type: ignore[arg-type]
        cuts = []
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
            axis %= len(shape)
            low, high, _ = slice(start, stop, step).indices(shape[axis])
            cuts.append((axis, low, high, step))
        result = node.outputs[0]
        if result.is_graph_output():
            continue
        parent = sources[data.name]
        sources[str(result.name)] = Source(parent.tensor, parent.slices + tuple(cuts))
        for axis, low, high, step in cuts:
            shape[axis] = len(range(low, high, step))
        part = ir.Value(name=result.name, shape=ir.Shape(shape), type=data.type)
        part.const_value = _by_reference(part)
        result.replace_all_uses_with(part)
        graph.remove(node, safe=True)
        graph.register_initializer(part)


def _by_reference(value: ir.Value) -> ir.ExternalTensor:
    """An initialiser without values; the compiler sets offset and length later."""
    assert value.dtype is not None and isinstance(value.shape, ir.Shape)
    return ir.ExternalTensor(
        WEIGHTS, None, None, value.dtype, shape=value.shape, name=str(value.name)
    )


def _ints(value: ir.Value | None) -> list[int] | None:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else [int(v) for v in tensor.numpy().reshape(-1)]


def _anonymise(model: ir.Model) -> None:
    """Leave out what tells of the building machine: source paths, stack traces, fx nodes."""
    model.producer_name, model.producer_version = "hwnas", None
    model.doc_string = None
    model.metadata_props.clear()
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
                value.doc_string = None
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
        value.doc_string = None


def _move_constants(model: ir.Model, sources: dict[str, Source]) -> dict[str, torch.Tensor]:
    """Take large constants that are no parameters out of the graph, to be stored by content."""
    moved = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if name in sources or tensor is None or tensor.nbytes <= _LARGEST_INLINE:
            continue
        moved[name] = torch.from_numpy(tensor.numpy().copy())
        sources[name] = Source(name)
        value.const_value = _by_reference(value)
    for node in list(model.graph):
        if node.op_type != "Constant" or "value" not in node.attributes:
            continue
        tensor = node.attributes["value"].as_tensor()
        if tensor.nbytes <= _LARGEST_INLINE:
            continue
        old = node.outputs[0]
        name = str(old.name)
        moved[name] = torch.from_numpy(tensor.numpy().copy())
        sources[name] = Source(name)
        part = ir.Value(
            name=name, shape=ir.Shape(tensor.numpy().shape), type=ir.TensorType(tensor.dtype)
        )
        part.const_value = _by_reference(part)
        old.replace_all_uses_with(part)
        model.graph.remove(node, safe=True)
        model.graph.register_initializer(part)
    return moved
