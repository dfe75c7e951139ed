"""Programs: the ordered block or segment calls of one subnet, over named values.

Values are versioned (``x.0``, ``x.1``, ...), each written once, so that what a call reads and
writes is plain, and buffers can be planned by liveness. Skip connections, masks and caches are
values like any other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Protocol

from pydantic import AfterValidator, NonNegativeInt

from hwnas.errors import SignatureError
from hwnas.frozen import Frozen
from hwnas.space import Space, Subnet

__all__ = [
    "DTYPES",
    "Call",
    "HasSignature",
    "Program",
    "TensorSpec",
    "assemble",
    "check",
    "input_types",
    "output_names",
    "program_kind",
]


DTYPES = frozenset(
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
    ]
)
"""NumPy's names of the dtypes that values may have."""


_LARGEST = 2**36
"""Elements of a tensor; a file that says more is not asked for the memory."""


def _known(dtype: str) -> str:
    if dtype not in DTYPES:
        raise ValueError(f"{dtype!r} is none of {', '.join(sorted(DTYPES))}")
    return dtype


def _sane(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > _LARGEST:
        raise ValueError(f"{shape} has more than {_LARGEST} elements")
    return shape


class TensorSpec(Frozen):
    """Name, dtype (NumPy's name, such as ``float32``) and shape of a tensor."""

    name: str
    dtype: Annotated[str, AfterValidator(_known)]
    shape: Annotated[tuple[NonNegativeInt, ...], AfterValidator(_sane)]

    def fits(self, other: TensorSpec) -> bool:
        """Whether dtype and shape are equal; names may differ."""
        return self.dtype == other.dtype and self.shape == other.shape

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class HasSignature(Protocol):
    """Anything with typed inputs and outputs: a block, a segment."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In order."""


class Call(Frozen):
    """One call: ``unit`` is a block id or a segment id; values by position of its signature."""

    unit: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Program(Frozen):
    """The calls of one subnet.

    Attributes:
        inputs: values that the network is given; their names are the network's input names.
        calls: in order; each value is written by exactly one call or is an input.
        outputs: the network's output names, each with the value that it is.
    """

    inputs: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: dict[str, str]


def output_names(space: Space) -> tuple[str, ...]:
    """Names of the network's outputs: a value that is also an input gets ``_out`` appended.

    ONNX does not allow an input and an output of one name.
    """
    return tuple(f"{name}_out" if name in space.inputs else name for name in space.outputs)


def assemble(space: Space, subnet: Subnet) -> Program:
    """The program of block calls that ``subnet`` is.

    Raises:
        SignatureError: a slot reads a value that nothing before it writes.
    """
    current = {name: name for name in space.inputs}
    version: dict[str, int] = {}
    calls = []
    for slot in space.slots:
        if slot.name not in subnet.choices:
            continue
        unit = f"{slot.name}/{subnet.choices[slot.name]}"
        inputs = tuple(_lookup(current, name, f"slot {slot.name!r} reads") for name in slot.reads)
        for name in slot.writes:
            version[name] = version.get(name, -1) + 1
            current[name] = f"{name}.{version[name]}"
        calls.append(
            Call(unit=unit, inputs=inputs, outputs=tuple(current[name] for name in slot.writes))
        )
    outputs = {
        public: _lookup(current, name, "the network returns")
        for public, name in zip(output_names(space), space.outputs, strict=True)
    }
    return Program(inputs=space.inputs, calls=tuple(calls), outputs=outputs)


def _lookup(current: Mapping[str, str], name: str, who: str) -> str:
    if name not in current:
        raise SignatureError(
            f"{who} the value {name!r}, which nothing before it writes",
            f"values there: {', '.join(sorted(current))}; check reads, writes, inputs and outputs",
        )
    return current[name]


def check(
    program: Program, units: Mapping[str, HasSignature], inputs: tuple[TensorSpec, ...]
) -> dict[str, TensorSpec]:
    """Type-check ``program``: every call gets values of the dtype and shape that it takes.

    Args:
        program: what to check.
        units: signature of each block or segment that is called.
        inputs: the network's inputs.

    Returns:
        The type of every value.

    Raises:
        SignatureError: an unknown unit or value, a value written twice, or a misfit; names the
            unit and both shapes.
    """
    types = {spec.name: spec for spec in inputs}
    missing = [name for name in program.inputs if name not in types]
    if missing:
        raise SignatureError(f"the program takes {', '.join(missing)}, which no input gives")
    for call in program.calls:
        unit = units.get(call.unit)
        if unit is None:
            raise SignatureError(f"the program calls {call.unit!r}, which does not exist")
        if (len(call.inputs), len(call.outputs)) != (len(unit.inputs), len(unit.outputs)):
            raise SignatureError(f"{call.unit!r} is called with a wrong number of values")
        for name, wanted in zip(call.inputs, unit.inputs, strict=True):
            if name not in types:
                raise SignatureError(f"{call.unit!r} reads {name!r}, which nothing writes")
            if not types[name].fits(wanted):
                raise SignatureError(
                    f"{call.unit!r} takes {wanted} as {wanted.name!r}, but gets {types[name]}",
                    "make the blocks before it give that shape and dtype",
                )
        for name, spec in zip(call.outputs, unit.outputs, strict=True):
            if name in types:
                raise SignatureError(f"{call.unit!r} writes {name!r}, which exists already")
            types[name] = spec
    written = {name for call in program.calls for name in call.outputs}
    for public, name in program.outputs.items():
        if name not in written:
            raise SignatureError(f"the output {public!r} is {name!r}, which no call writes")
    if len(set(program.outputs.values())) != len(program.outputs):
        raise SignatureError("two outputs of the network are one value")
    return types


def input_types(
    program: Program, units: Mapping[str, HasSignature], inputs: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    """The network's inputs as ``program`` takes them, which may differ between subnets.

    Args:
        program: of a subnet.
        units: signature of each block or segment that is called.
        inputs: the network's inputs, as its largest subnet takes them.

    Returns:
        Each of ``inputs``, with the dtype and shape that the first call that reads it wants.
    """
    found: dict[str, TensorSpec] = {}
    for call in program.calls:
        unit = units.get(call.unit)
        for name, wanted in zip(call.inputs, unit.inputs if unit else (), strict=False):
            found.setdefault(name, wanted)
    return tuple(
        found.get(spec.name, spec).model_copy(update={"name": spec.name}) for spec in inputs
    )


def program_kind(program: Program, kinds: Mapping[str, str]) -> str:
    """Structural hash of a whole subnet: its wiring and the kinds that it calls.

    Two subnets with one hash cost the same, whatever their weights: a whole-subnet measurement is
    kept under this hash.
    """
    number: dict[str, int] = {}
    for name in program.inputs:
        number[name] = len(number)
    calls = []
    for call in program.calls:
        reads = [number[name] for name in call.inputs]
        for name in call.outputs:
            number[name] = len(number)
        calls.append([kinds[call.unit], reads, [number[name] for name in call.outputs]])
    body = [len(program.inputs), calls, [number[name] for name in program.outputs.values()]]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:32]
