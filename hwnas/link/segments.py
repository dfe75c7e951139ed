"""Cutting the programs of several subnets into the segments that they share.

Blocks that every subnet runs directly after one another are one segment: inside it the runtime's
optimiser can fuse, and there is no hop. A cut falls only where subnets part or meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from hwnas.bundle import Bundle
from hwnas.link.load import load_graphs
from hwnas.link.merge import merge
from hwnas.program import Call, Program, TensorSpec, check
from hwnas.space import Subnet

__all__ = ["Linked", "Run", "cut", "link"]


@dataclass(frozen=True)
class Run:
    """Consecutive calls that become one segment, and the values that enter and leave it."""

    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def units(self) -> tuple[str, ...]:
        """Ids of the blocks, in order."""
        return tuple(call.unit for call in self.calls)


@dataclass(frozen=True)
class Linked:
    """Segments and the programs over them.

    Attributes:
        segments: id to graph, its weights external as in the blocks.
        blocks: id to the blocks that it holds.
        programs: subnet name to program.
    """

    segments: dict[str, ModelProto]
    blocks: dict[str, tuple[str, ...]]
    programs: dict[str, Program]


def link(bundle: Bundle, subnets: Sequence[Subnet]) -> Linked:
    """Link ``subnets`` of a space into shared segments.

    Args:
        bundle: of form ``space``.
        subnets: at least one.
    """
    whole = {subnet.name: bundle.program(subnet) for subnet in subnets}
    units = dict.fromkeys(call.unit for p in whole.values() for call in p.calls)
    models = load_graphs(bundle, units)
    segments: dict[str, ModelProto] = {}
    blocks: dict[str, tuple[str, ...]] = {}
    names: dict[object, str] = {}
    programs: dict[str, Program] = {}
    for name, runs in cut(whole).items():
        calls = []
        types = check(whole[name], bundle.graphs, bundle.inputs_of(whole[name]))
        for run in runs:
            key = _shape(run)
            if key not in names:
                names[key] = _name(run, segments)
                segments[names[key]] = _graph(run, models, types, names[key])
                blocks[names[key]] = run.units
            calls.append(Call(unit=names[key], inputs=run.inputs, outputs=run.outputs))
        programs[name] = whole[name].model_copy(update={"calls": tuple(calls)})
    return Linked(segments, blocks, programs)


def cut(programs: Mapping[str, Program]) -> dict[str, list[Run]]:
    """Split each program into runs such that equal runs are whole segments everywhere."""
    after: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for program in programs.values():
        units = ["", *(call.unit for call in program.calls), ""]
        for left, right in itertools.pairwise(units):
            after.setdefault(left, set()).add(right)
            before.setdefault(right, set()).add(left)
    after[""] = before[""] = {"", "ends"}
    result = {}
    for name, program in programs.items():
        groups: list[list[Call]] = []
        for call in program.calls:
            previous = groups[-1][-1].unit if groups else ""
            if len(after[previous]) == 1 and len(before[call.unit]) == 1:
                groups[-1].append(call)
            else:
                groups.append([call])
        result[name] = [_boundary(program, group) for group in groups]
    return _agree(result)


def _boundary(program: Program, group: Sequence[Call]) -> Run:
    written = [value for call in group for value in call.outputs]
    read = [value for call in group for value in call.inputs]
    inside = {id(call) for call in group}
    later = {v for call in program.calls if id(call) not in inside for v in call.inputs}
    later.update(program.outputs.values())
    return Run(
        calls=tuple(group),
        inputs=tuple(dict.fromkeys(value for value in read if value not in written)),
        outputs=tuple(value for value in written if value in later),
    )


def _agree(programs: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """Give runs of the same blocks the same outputs: what any of the subnets reads later."""
    wanted: dict[tuple[str, ...], set[int]] = {}
    for runs in programs.values():
        for run in runs:
            written = [value for call in run.calls for value in call.outputs]
            leaving = {i for i, value in enumerate(written) if value in run.outputs}
            wanted.setdefault(run.units, set()).update(leaving)
    agreed: dict[str, list[Run]] = {}
    for name, runs in programs.items():
        agreed[name] = []
        for run in runs:
            written = [value for call in run.calls for value in call.outputs]
            outputs = tuple(v for i, v in enumerate(written) if i in wanted[run.units])
            agreed[name].append(Run(run.calls, run.inputs, outputs))
    return agreed


def _shape(run: Run) -> object:
    """Equal for runs that may share a segment: the same blocks, wired in the same way."""
    number: dict[str, int] = {}
    for value in run.inputs:
        number[value] = len(number)
    calls = []
    for call in run.calls:
        reads = tuple(number.setdefault(value, len(number)) for value in call.inputs)
        for value in call.outputs:
            number[value] = len(number)
        calls.append((call.unit, reads))
    return tuple(calls), tuple(number[value] for value in run.outputs)


def _name(run: Run, taken: Mapping[str, object]) -> str:
    first, last = run.units[0].replace("/", "."), run.units[-1].replace("/", ".")
    name = first if len(run.units) == 1 else f"{first}--{last}"
    suffix = 2
    unique = name
    while unique in taken:
        unique = f"{name}-{suffix}"
        suffix += 1
    return unique


def _graph(
    run: Run, models: Mapping[str, ModelProto], types: Mapping[str, TensorSpec], name: str
) -> ModelProto:
    # Names inside a segment must not depend on which subnet is looked at first.
    inputs = {value: f"in{i}" for i, value in enumerate(run.inputs)}
    outputs = {f"out{i}": value for i, value in enumerate(run.outputs)}
    return merge(run.calls, models, inputs, outputs, types, name)
