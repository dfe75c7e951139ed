"""One subnet bound for one thread: its segments' sessions with their hop buffers in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import HwnasError
from hwnas.manifest import Segment
from hwnas.program import Program, TensorSpec
from hwnas.runtime.arrays import as_dtype
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.runtime.plan import Buffer, plan_buffers

__all__ = ["Buffers", "Chain", "element_type"]

Array = NDArray[np.generic]


_BFLOAT16 = 16
"""ONNX's number of the one dtype that ONNX Runtime does not know as NumPy's."""


def element_type(dtype: np.dtype[np.generic]) -> np.dtype[np.generic] | int:
    """``dtype`` as ONNX Runtime's bindings take it."""
    return _BFLOAT16 if dtype.name == "bfloat16" else dtype


@dataclass
class Buffers:
    """Hop buffers of one thread, shared by all subnets that it runs."""

    made: dict[Buffer, ort.OrtValue] = field(default_factory=dict)

    def get(self, buffer: Buffer) -> ort.OrtValue:
        """The memory of ``buffer``, allocated when first asked for."""
        if buffer not in self.made:
            self.made[buffer] = ort.OrtValue.ortvalue_from_shape_and_type(
                list(buffer.shape), element_type(as_dtype(buffer.dtype)), "cpu"
            )
        return self.made[buffer]


_OUT_OF_MEMORY = ("std::bad_alloc", "Failed to allocate memory for requested buffer")
"""ONNX Runtime has no exception for it: the text is all that tells."""


def _failed(error: Exception) -> Exception:
    if any(text in str(error) for text in _OUT_OF_MEMORY):
        return MemoryError(
            "out of memory; free some memory, or run a smaller subnet or fewer threads"
        )
    return HwnasError(
        f"ONNX Runtime {ort.__version__} cannot run a segment: {error}",
        "check the inputs' values; if they are right, make the bundle again",
    )


class _Port:
    """An input or output of a session that is bound to the caller's memory."""

    def __init__(self, binding: ort.IOBinding, name: str, value: str, *, is_input: bool) -> None:
        self.value = value
        self._bind = binding.bind_input if is_input else binding.bind_output
        self._name = name
        self._address = 0

    def bind(self, array: Array) -> None:
        """Bind ``array``; free of cost where the last one had the same address."""
        address = array.__array_interface__["data"][0]
        if address != self._address:
            self._bind(self._name, "cpu", 0, element_type(array.dtype), array.shape, address)
            self._address = address


class Chain:
    """Runs the segments of one subnet in order. Belongs to one thread.

    Hops are bound once, here. At a run only the network's own inputs and outputs are bound, to
    the caller's arrays: no tensor is copied.
    """

    def __init__(
        self,
        program: Program,
        segments: Mapping[str, Segment],
        types: Mapping[str, TensorSpec],
        sessions: Mapping[str, ort.InferenceSession],
        buffers: Buffers,
    ) -> None:
        planned = plan_buffers(program, types)
        self._steps: list[tuple[ort.InferenceSession, ort.IOBinding]] = []
        self._ports: list[_Port] = []
        self._outputs = [
            (public, value, types[value].shape, as_dtype(types[value].dtype))
            for public, value in program.outputs.items()
        ]
        for call in program.calls:
            session, unit = sessions[call.unit], segments[call.unit]
            binding = session.io_binding()
            for spec, value in zip(unit.inputs, call.inputs, strict=True):
                if value in planned:
                    binding.bind_ortvalue_input(spec.name, buffers.get(planned[value]))
                else:
                    self._ports.append(_Port(binding, spec.name, value, is_input=True))
            for spec, value in zip(unit.outputs, call.outputs, strict=True):
                if value in planned:
                    binding.bind_ortvalue_output(spec.name, buffers.get(planned[value]))
                else:
                    self._ports.append(_Port(binding, spec.name, value, is_input=False))
            self._steps.append((session, binding))

    def run(self, inputs: Mapping[str, Array], out: Mapping[str, Array] | None) -> dict[str, Array]:
        """Run once on checked inputs; results go into ``out`` where it has an array."""
        values = dict(inputs)
        for public, value, shape, dtype in self._outputs:
            given = out.get(public) if out is not None else None
            values[value] = np.empty(shape, dtype) if given is None else given
        for port in self._ports:
            port.bind(values[port.value])
        try:
            for session, binding in self._steps:
                session.run_with_iobinding(binding)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common public base
            raise _failed(error) from error
        return {public: values[value] for public, value, _, _ in self._outputs}
