"""Merging the programs of several subnets into one graph that runs any of them, by its index.

What all subnets use runs always; every other segment is the ``then`` of an ``If`` whose ``else``
hands the value before it on. The ``If`` nodes stand in a row and never inside each other: below the
first level the runtime does not pack weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from hwnas.link.rename import rename_node
from hwnas.program import Program, TensorSpec

__all__ = ["INDEX", "merge_programs"]

INDEX = "subnet"
"""Name of the input that says which subnet runs."""
_CONV = ("Conv", "FusedConv")

_Source = tuple[str, int]
"""The ``i``-th result of a call, by its key; of a network input, its name and -1."""
_Port = dict[str, _Source]
"""What is read at one place: where it comes from, in each subnet."""


@dataclass
class _Call:
    """The call of one segment in all subnets that make it."""

    unit: str
    ports: list[_Port]
    subnets: frozenset[str] = frozenset()


@dataclass
class _Gate:
    """Calls in a row that the same subnets make.

    ``results`` are the values that leave: which result of a call each is, and the name of what it
    is instead where the gate is closed; None if nobody looks then.
    """

    keys: list[str]
    subnets: frozenset[str]
    always: bool = False
    results: dict[str, tuple[_Source, str | None]] = field(default_factory=dict)


def merge_programs(
    segments: Mapping[str, ModelProto],
    programs: Mapping[str, Program],
    inputs: Sequence[TensorSpec],
) -> ModelProto:
    """One model that runs any of ``programs``, by its index in their order.

    Where subnets call segments in orders that do not fit each other, each gets calls of its own.

    Args:
        segments: id to graph; weights stay where they say. All of the same opsets.
        programs: subnet name to program.
        inputs: of the network.
    """
    calls: dict[str, _Call] = {}
    outputs: dict[str, _Port] = {}
    for name, program in programs.items():
        value: dict[str, _Source] = {given: (given, -1) for given in program.inputs}
        for step in program.calls:
            key = step.unit
            while key in calls and name in calls[key].subnets:
                key += "+"  # called again by the same subnet
            call = calls.setdefault(key, _Call(step.unit, [{} for _ in step.inputs]))
            call.subnets |= {name}
            for port, read in zip(call.ports, step.inputs, strict=True):
                port[name] = value[read]
            value.update({written: (key, i) for i, written in enumerate(step.outputs)})
        for public, read in program.outputs.items():
            outputs.setdefault(public, {})[name] = value[read]
    while True:
        try:
            gates = _gates(calls, frozenset(programs))
        except CycleError as error:
            _split(calls, outputs, set(error.args[1]))
        else:
            return _Writer(segments, list(programs), calls, gates).model(inputs, outputs)


def _split(calls: dict[str, _Call], outputs: dict[str, _Port], cycle: set[str]) -> None:
    """Give each subnet its own calls of what is in ``cycle``; in one subnet alone there is none."""
    for key in sorted(cycle):
        call = calls.pop(key)
        for name in sorted(call.subnets):
            own = [{name: port[name]} for port in call.ports]
            calls[f"{key}@{name}"] = _Call(call.unit, own, frozenset([name]))
    for port in [*(port for call in calls.values() for port in call.ports), *outputs.values()]:
        for name, (key, i) in port.items():
            if key in cycle and i >= 0:
                port[name] = (f"{key}@{name}", i)


def _gates(calls: Mapping[str, _Call], everyone: frozenset[str]) -> list[_Gate]:
    """All calls in an order that suits every subnet; :class:`CycleError` if there is none."""
    sorter = TopologicalSorter(
        {
            key: {source for port in call.ports for source, i in port.values() if i >= 0}
            for key, call in calls.items()
        }
    )
    sorter.prepare()
    place = {key: i for i, key in enumerate(calls)}
    gates = [_Gate([], frozenset())]
    ready: list[str] = []
    while sorter.is_active():
        ready.extend(sorter.get_ready())
        # Each gate costs time: what fits into the last one comes first.
        key = min(ready, key=lambda k: (not _fits(calls[k], gates[-1]), place[k]))
        ready.remove(key)
        sorter.done(key)
        if not _fits(calls[key], gates[-1]):
            gates.append(_Gate([], calls[key].subnets, calls[key].subnets == everyone))
        gates[-1].keys.append(key)
    gates[-1].always &= not all(gate.always for gate in gates[1:])  # a wrong index is refused
    return gates[1:]


def _fits(call: _Call, gate: _Gate) -> bool:
    """Whether ``call`` can follow the others in ``gate``: what it reads there is one value."""
    ports = [set(port.values()) for port in call.ports]
    mixed = any(len(port) > 1 and any(key in gate.keys for key, _ in port) for port in ports)
    return call.subnets == gate.subnets and not mixed


class _Writer:
    """Finds a value for each port and writes the model."""

    def __init__(
        self,
        segments: Mapping[str, ModelProto],
        names: Sequence[str],
        calls: Mapping[str, _Call],
        gates: Sequence[_Gate],
    ) -> None:
        self._segments, self._names = segments, names
        self._calls, self._gates = calls, gates
        self._at = {key: i for i, gate in enumerate(gates) for key in gate.keys}
        self._selects: dict[int, dict[tuple[frozenset[str], str, str], str]] = {}
        self._kinds: dict[str, ValueInfoProto] = {}
        self._conditions: dict[frozenset[str], str] = {}
        self._hollow: set[str | None] = {None}  # nothing, for subnets that do not look

    def model(self, inputs: Sequence[TensorSpec], outputs: Mapping[str, _Port]) -> ModelProto:
        reads = {
            key: [self._value(port, self._at[key]) for port in call.ports]
            for key, call in self._calls.items()
        }
        public = {self._value(port): name for name, port in outputs.items()}
        graph = GraphProto(name="switch")
        for spec in (*inputs, TensorSpec(name=INDEX, dtype="int64", shape=(1,))):
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            graph.input.append(helper.make_tensor_value_info(spec.name, dtype, spec.shape))
        body = GraphProto()
        for index, gate in enumerate(self._gates):
            if gate.always:
                for key in gate.keys:
                    self._append(body, key, reads[key], f"{key}:", body)
            elif gate.results:
                self._append_gate(body, gate, reads)
            for (users, chosen, otherwise), name in self._selects.get(index, {}).items():
                arms = GraphProto(name=f"{name}/then"), GraphProto(name=f"{name}/else")
                for arm, value in zip(arms, (chosen, otherwise), strict=True):
                    hollow = arm is arms[1] and otherwise in self._hollow
                    _hand_on(arm, value, f"{arm.name}:", self._kinds[chosen], hollow)
                self._hollow.update({name} if otherwise in self._hollow else ())
                self._append_if(body, users, [name], *arms)
        self._append_conditions(graph)
        graph.node.extend(body.node)
        graph.initializer.extend(body.initializer)
        for node in graph.node:
            rename_node(node, lambda name: public.get(name, name))
        for value, name in public.items():
            graph.output.append(_named(self._kinds[value], name))
        first = next(iter(self._segments.values()))
        return ModelProto(
            ir_version=first.ir_version,
            opset_import=first.opset_import,
            producer_name="hwnas",
            graph=graph,
        )

    def _value(self, port: _Port, at: int | None = None) -> str:
        """Name of the value that is each subnet's own at ``port``, read in the gate ``at``."""
        sources = sorted(set(port.values()), key=lambda s: (self._position(s), s))
        first = sources[0]
        if self._position(first) == at and not self._gates[at].always:
            return f"{first[0]}/then:{first[1]}"
        value, done = self._result(first), {n for n, s in port.items() if s == first}
        for source in sources[1:]:
            users = frozenset(name for name, found in port.items() if found == source)
            gate = self._gates[self._position(source)]
            if gate.always or gate.subnets & done:
                value = self._select(source, users, value)
            else:
                value = self._result(source, value)
            done |= users
        return value

    def _position(self, source: _Source) -> int:
        return self._at[source[0]] if source[1] >= 0 else -1

    def _result(self, source: _Source, otherwise: str | None = None) -> str:
        """Name of ``source`` outside its gate, with ``otherwise`` where the gate is closed."""
        key, i = source
        if i < 0:
            return key
        results = self._gates[self._at[key]].results
        found = {other: name for name, (s, other) in results.items() if s == source}
        if otherwise in found:
            return found[otherwise]
        if otherwise is None and found:
            return next(iter(found.values()))
        name = found.get(None) or (f"{key}:{i}" if not found else f"{key}:{i}.{len(found)}")
        results[name] = (source, otherwise)
        self._kinds[name] = self._segments[self._calls[key].unit].graph.output[i]
        return name

    def _select(self, source: _Source, users: frozenset[str], otherwise: str) -> str:
        """Name of a value that is ``source`` for ``users`` and ``otherwise`` for others."""
        chosen = self._result(source)
        made = self._selects.setdefault(self._position(source), {})
        name = made.setdefault((users, chosen, otherwise), f"{chosen}/or{len(made)}")
        self._kinds[name] = self._kinds[chosen]
        return name

    def _append(
        self, graph: GraphProto, key: str, reads: Sequence[str], results: str, top: GraphProto
    ) -> None:
        """The nodes of one call; its results are called ``results`` and a number.

        Large weights go to ``top``: once packed, the runtime gives them back there, but not in a
        branch. Those of convolutions stay: at load it lays them out for the CPU only in a branch.
        """
        segment = self._segments[self._calls[key].unit].graph
        names = {"": ""} | dict(zip((v.name for v in segment.input), reads, strict=True))
        written = {name for node in segment.node for name in node.output}
        handed_on = []
        for i, value in enumerate(segment.output):
            if value.name in written:
                names[value.name] = f"{results}{i}"
            else:
                handed_on.append((value.name, f"{results}{i}"))

        def renamed(name: str) -> str:
            return names.get(name, f"{key}/{name}")

        convolved = {name for node in segment.node if node.op_type in _CONV for name in node.input}
        for tensor in segment.initializer:
            large = tensor.data_location == TensorProto.EXTERNAL
            place = top if large and tensor.name not in convolved else graph
            place.initializer.add().CopyFrom(tensor)
            place.initializer[-1].name = renamed(tensor.name)
        for position, node in enumerate(segment.node):
            graph.node.add().CopyFrom(node)
            graph.node[-1].name = f"{key}/{node.name or position}"
            rename_node(graph.node[-1], renamed)
        for old, new in handed_on:
            graph.node.append(helper.make_node("Identity", [renamed(old)], [new], new))

    def _append_gate(
        self, graph: GraphProto, gate: _Gate, reads: Mapping[str, Sequence[str]]
    ) -> None:
        then, other = (
            GraphProto(name=f"{gate.keys[0]}/then"),
            GraphProto(name=f"{gate.keys[0]}/else"),
        )
        for key in gate.keys:
            self._append(then, key, reads[key], f"{key}/then:", graph)
        for name, ((key, i), otherwise) in gate.results.items():
            kind, result = self._kinds[name], f"{key}/then:{i}"
            if result in {value.name for value in then.output}:
                _hand_on(then, result, f"{name}/then", kind, hollow=False)
            else:
                then.output.append(_named(kind, result))
            _hand_on(other, otherwise, f"{name}/else", kind, hollow=otherwise in self._hollow)
            self._hollow.update({name} if otherwise in self._hollow else ())
        self._append_if(graph, gate.subnets, list(gate.results), then, other)

    def _append_if(
        self,
        graph: GraphProto,
        subnets: frozenset[str],
        results: list[str],
        then: GraphProto,
        other: GraphProto,
    ) -> None:
        condition = self._conditions.setdefault(subnets, f"{INDEX}/is{len(self._conditions)}")
        arms = {"then_branch": then, "else_branch": other}
        graph.node.append(
            helper.make_node("If", [condition], results, then.name.removesuffix("/then"), **arms)
        )

    def _append_conditions(self, graph: GraphProto) -> None:
        """Which gates are open, from a table; a negative index would else count from its end."""
        table = [[name in subnets for subnets in self._conditions] for name in self._names]
        for name, dtype, array in (
            ("table", TensorProto.BOOL, np.array(table)),
            ("zero", TensorProto.INT64, np.zeros(1, np.int64)),
            ("none", TensorProto.INT64, np.array([np.iinfo(np.int64).min])),
        ):
            graph.initializer.append(
                helper.make_tensor(f"{INDEX}/{name}", dtype, array.shape, array.tobytes(), raw=True)
            )
        names = [f"{INDEX}/{name}" for name in ("zero", "negative", "none", "row", "table", "is")]
        zero, negative, none, row, table_name, flags = names
        conditions = list(self._conditions.values())
        graph.node.extend(
            [
                helper.make_node("Less", [INDEX, zero], [negative], negative),
                helper.make_node("Where", [negative, none, INDEX], [row], row),
                helper.make_node("Gather", [table_name, row], [flags], f"index {INDEX!r}", axis=0),
                helper.make_node(
                    "Split", [flags], conditions, flags, axis=1, num_outputs=len(conditions)
                ),
            ]
        )


def _named(kind: ValueInfoProto, name: str) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.CopyFrom(kind)
    copy.name = name
    return copy


def _hand_on(
    graph: GraphProto, value: str | None, name: str, kind: ValueInfoProto, hollow: bool
) -> None:
    """Add ``name`` to the outputs of a branch: ``value`` of outside, or nothing of that kind."""
    graph.output.append(_named(kind, name))
    dims = graph.output[-1].type.tensor_type.shape.dim
    if hollow and dims:  # the runtime holds a branch to the size that it declares
        dims[0].Clear()
    if value is not None:
        graph.node.append(helper.make_node("Identity", [value], [name], name))
        return
    empty = TensorProto(data_type=kind.type.tensor_type.elem_type)
    empty.dims.extend([0, *(dim.dim_value for dim in dims[1:])] if dims else [])
    size = np.dtype(helper.tensor_dtype_to_np_dtype(empty.data_type)).itemsize
    empty.raw_data = b"" if dims else bytes(size)
    graph.node.append(helper.make_node("Constant", [], [name], name, value=empty))
