"""Running a supernet's blocks once to learn their signatures, and checking that they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwnas.errors import SignatureError, SupernetError
from hwnas.program import DTYPES, TensorSpec
from hwnas.space import Slot
from hwnas.supernets.protocol import Supernet
from hwnas.usercode import user_code

__all__ = ["TracedBlock", "describe", "trace"]

OUT = "_out"
"""Ends the name of a graph's output, so that a block may read and write one value."""


@dataclass(frozen=True)
class TracedBlock:
    """One choice at one slot, run once.

    Attributes:
        slot, choice: which.
        module: in eval mode; its tensors are views of the supernet's.
        inputs, outputs: its signature, with the names that the exported graph will have.
        arguments: the tensors that it was run on.
        results: what it gave.
    """

    slot: str
    choice: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    arguments: tuple[torch.Tensor, ...]
    results: tuple[torch.Tensor, ...]

    @property
    def id(self) -> str:
        """Block id."""
        return f"{self.slot}/{self.choice}"


def describe(name: str, tensor: torch.Tensor) -> TensorSpec:
    """Name, dtype and shape of a tensor; :class:`SupernetError` for a dtype that cannot be."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SupernetError(f"{name} is {dtype}", f"use one of {', '.join(sorted(DTYPES))}")
    return TensorSpec(name=name, dtype=dtype, shape=tuple(tensor.shape))


def trace(supernet: Supernet) -> tuple[tuple[TensorSpec, ...], list[TracedBlock]]:
    """Run every choice of every slot, at all values of its dimensions, on what reaches it there.

    Returns:
        The network's inputs at the largest values, and the blocks in the space's order.

    Raises:
        SupernetError: example inputs are missing, or a block fails; names the slot.
        SignatureError: choices of one slot differ in what they give, or a slot that can be
            skipped changes the shape of a value; names the slot and both shapes.
    """
    space = supernet.space
    tracer = _Tracer(supernet)
    inputs = tuple(describe(name, value) for name, value in tracer.values(0, {}).items())
    blocks: list[TracedBlock] = []
    for index, slot in enumerate(space.slots):
        at_values: dict[tuple[int, ...], list[str]] = {}
        for choice in space.written(slot.name):
            _, at = space.read(slot.name, choice)
            at_values.setdefault(tuple(at[name] for name in slot.dimensions), []).append(choice)
        for values, choices in at_values.items():
            at = dict(zip(slot.dimensions, values, strict=True))
            before = tracer.values(index, at)
            of_slot = [_run(supernet, slot, choice, before) for choice in choices]
            _same_outputs(slot, of_slot)
            written = dict(zip(slot.writes, of_slot[-1].results, strict=True))
            if slot.name in space.skippable:
                _may_be_skipped(slot, before, written)
            tracer.ran(index, at, written)
            blocks += of_slot
    always = {n for s in space.slots if s.name not in space.skippable for n in s.writes}
    missing = [name for name in space.outputs if name not in always]
    if missing:
        raise SignatureError(
            f"the network returns {', '.join(missing)}, which no slot that every subnet has writes",
            "check Space.outputs and the slots' writes",
        )
    return inputs, blocks


class _Tracer:
    """The values that reach a slot in the largest subnet that has given values of dimensions.

    What was run is kept, by the values of the dimensions that had a say in it.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._space = supernet.space
        self._largest = {d.name: d.values[-1] for d in self._space.dimensions}
        self._known: dict[tuple[int, tuple[tuple[str, int], ...]], dict[str, torch.Tensor]] = {}
        self._examples: dict[tuple[tuple[str, int], ...], dict[str, torch.Tensor]] = {}

    def values(self, index: int, at: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """Name to value before the slot of that index; all dimensions not in ``at`` largest."""
        everywhere = {**self._largest, **at}
        values = dict(self._example(everywhere))
        for i, slot in enumerate(self._space.slots[:index]):
            key = (i, self._said(i, everywhere))
            if key not in self._known:
                own = {name: everywhere[name] for name in slot.dimensions}
                choice = self._last_choice(slot, own)
                block = _run(self._supernet, slot, choice, values)
                self._known[key] = dict(zip(slot.writes, block.results, strict=True))
            values.update(self._known[key])
        return values

    def ran(self, index: int, at: Mapping[str, int], written: dict[str, torch.Tensor]) -> None:
        """What the last choice of that slot wrote, where all other dimensions are largest."""
        self._known[index, self._said(index, {**self._largest, **at})] = written

    def _said(self, index: int, at: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
        names = {name for slot in self._space.slots[: index + 1] for name in slot.dimensions}
        return tuple((name, at[name]) for name in sorted(names))

    def _last_choice(self, slot: Slot, at: Mapping[str, int]) -> str:
        written = self._space.written(slot.name)
        return [c for c in written if self._space.read(slot.name, c)[1] == dict(at)][-1]

    def _example(self, at: Mapping[str, int]) -> dict[str, torch.Tensor]:
        key = tuple(sorted(at.items()))
        if key not in self._examples:
            supernet, space = self._supernet, self._space
            give: Any = supernet.example_inputs  # with an argument only where there are dimensions
            with user_code("example_inputs()", SupernetError):
                example = dict(give(dict(at)) if at else give())
            if set(example) != set(space.inputs):
                raise SupernetError(
                    f"example_inputs() gives {sorted(example)}, the space takes "
                    f"{list(space.inputs)}",
                    "give one tensor for each name in Space.inputs",
                )
            self._examples[key] = {name: example[name] for name in space.inputs}
        return self._examples[key]


def _run(
    supernet: Supernet, slot: Slot, choice: str, values: dict[str, torch.Tensor]
) -> TracedBlock:
    where = f"slot {slot.name!r}, choice {choice!r}"
    missing = [name for name in slot.reads if name not in values]
    if missing:
        raise SignatureError(
            f"{where} reads {', '.join(missing)}, which nothing before it writes",
            f"values there: {', '.join(values)}",
        )
    arguments = tuple(values[name] for name in slot.reads)
    given = ", ".join(f"{n}: {describe(n, values[n])}" for n in slot.reads)
    with user_code(f"block({slot.name!r}, {choice!r})", SupernetError):
        module = supernet.block(slot.name, choice).eval()
    try:
        with torch.inference_mode():
            result = module(*(tensor.clone() for tensor in arguments))
    except Exception as error:
        raise SignatureError(
            f"{where} cannot run on what reaches it ({given}): {type(error).__name__}: {error}",
            "make the slots before it give what this block takes",
        ) from error
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(slot.writes) or not all(isinstance(r, torch.Tensor) for r in results):
        raise SignatureError(
            f"{where} gives {len(results)} values, the slot writes {', '.join(slot.writes)}",
            "return one tensor for each name in Slot.writes",
        )
    inputs = tuple(describe(n, t) for n, t in zip(slot.reads, arguments, strict=True))
    outputs = tuple(describe(n + OUT, t) for n, t in zip(slot.writes, results, strict=True))
    _runnable(f"{where} reads", slot.reads, inputs)
    _runnable(f"{where} writes", slot.writes, outputs)
    return TracedBlock(
        slot=slot.name,
        choice=choice,
        module=module,
        inputs=inputs,
        outputs=outputs,
        arguments=arguments,
        results=results,
    )


def _runnable(who: str, names: Sequence[str], specs: Sequence[TensorSpec]) -> None:
    """NumPy has no bfloat16 and ONNX Runtime's CPU kernels do not compute in it."""
    for name, spec in zip(names, specs, strict=True):
        if spec.dtype == "bfloat16":
            raise SupernetError(
                f"{who} {name!r} as {spec}, which ONNX Runtime cannot compute on a CPU",
                "convert it to float32; weights may stay bfloat16 if the block converts them",
            )


def _same_outputs(slot: Slot, blocks: Sequence[TracedBlock]) -> None:
    first = blocks[0]
    for other in blocks[1:]:
        for a, b in zip(first.outputs, other.outputs, strict=True):
            if not a.fits(b):
                raise SignatureError(
                    f"slot {slot.name!r}: choice {first.choice!r} writes {a}, "
                    f"choice {other.choice!r} writes {b}",
                    "make all choices of a slot give the same shape and dtype",
                )


def _may_be_skipped(
    slot: Slot, before: dict[str, torch.Tensor], written: dict[str, torch.Tensor]
) -> None:
    for name, tensor in written.items():
        if name not in before:
            raise SignatureError(
                f"slot {slot.name!r} can be skipped, but alone writes {name!r}",
                "let an earlier slot write it too, or take this slot out of the depth rule",
            )
        old, new = describe(name, before[name]), describe(name, tensor)
        if not old.fits(new):
            raise SignatureError(
                f"slot {slot.name!r} can be skipped, but turns {old} into {new}",
                "only slots that keep shape and dtype can be in a depth rule's optional part",
            )
