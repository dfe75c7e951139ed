"""The profiler ``onnxruntime``: ONNX Runtime with one execution provider, on the CPU by default."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.protocol import Job, RuntimeInfo, Tensor
from hwnas.agent.settings import Settings
from hwnas.errors import InputError, ProfileError, UnknownName

__all__ = ["OnnxRuntimeProfiler"]

_DEFAULT_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_SMALLEST = (
    "CAo6RwoRCgF4CgF4EgF5IgZNYXRNdWwSCHNtYWxsZXN0WhMKAXgSDgoMCAESCAoCCAgKAggIYhMKAXkSDgoMCAES"
    "CAoCCAgKAggIQgQKABAU"
)
"""``y = x @ x`` of shape (8, 8) as ONNX: a device need not have the package to make it."""


class OnnxRuntimeProfiler:
    """Times ``run_with_iobinding`` of one session per job.

    The session is what a stock user gets: all graph optimisations, weights from the bundle's one
    file, ``settings.threads`` threads within an operator and none between operators.
    """

    name = "onnxruntime"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        """Version of ONNX Runtime and the provider; see ``hwnas.agent.protocol.Profiler``."""
        ort = _onnxruntime()
        available = ort.get_available_providers()
        provider = settings.provider or _DEFAULT_PROVIDER
        if provider not in available:
            raise UnknownName("provider of this ONNX Runtime", provider, available)
        return RuntimeInfo("onnxruntime", ort.__version__, provider)

    def prepare(self, settings: Settings) -> None:
        """Load and run one matrix product: the first session of a process costs about 10 MB."""
        job = _smallest_job()
        zeros = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in job.inputs}
        runner = self.load(job, settings, zeros)
        runner.run()
        runner.close()

    def load(self, job: Job, settings: Settings, inputs: Mapping[str, NDArray[Any]]) -> _Runner:
        """One session, its inputs and its outputs bound."""
        return _Runner(_session(job, settings), job, inputs)


class _Runner:
    def __init__(self, session: Any, job: Job, inputs: Mapping[str, NDArray[Any]]) -> None:
        _check_inputs(session, job)
        ort = _onnxruntime()
        binding = session.io_binding()
        self._inputs = []
        for tensor in job.inputs:
            array = np.ascontiguousarray(inputs[tensor.name])
            value = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
            binding.bind_ortvalue_input(tensor.name, value)
            self._inputs.append((value, array))
        self._outputs = []
        for output in session.get_outputs():
            dtype = _DTYPES.get(output.type)
            if dtype is not None and all(isinstance(size, int) for size in output.shape):
                value = ort.OrtValue.ortvalue_from_shape_and_type(output.shape, dtype)
                binding.bind_ortvalue_output(output.name, value)
                self._outputs.append(value)
            else:
                binding.bind_output(output.name)
        self._session, self._binding = session, binding
        self._names = [output.name for output in session.get_outputs()]
        self.refresh()

    def refresh(self) -> None:
        """Write the inputs again."""
        for value, array in self._inputs:
            value.update_inplace(array)

    def run(self) -> int:
        """One inference; returns its wall time in ns."""
        run, binding = self._session.run_with_iobinding, self._binding
        start = time.perf_counter_ns()
        run(binding)
        return time.perf_counter_ns() - start

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Copies of the outputs, by name."""
        values = self._binding.copy_outputs_to_cpu()
        return {
            name: np.array(value)
            for name, value in zip(self._names, values, strict=True)
            if isinstance(value, np.ndarray)
        }

    def close(self) -> None:
        """Release the session and its buffers."""
        self._session = self._binding = None
        self._inputs, self._outputs = [], []


def _onnxruntime() -> Any:
    # Imported late: the parent process only asks for the profiler's name.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def _session(job: Job, settings: Settings) -> Any:
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    if settings.threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(job.folder)
    )
    provider = settings.provider or _DEFAULT_PROVIDER
    session = ort.InferenceSession(job.model, options, providers=[provider])
    used = session.get_providers()[0]
    if used != provider:
        # ONNX Runtime falls back to the CPU with no more than a warning.
        raise ProfileError(
            f"{provider} cannot be used here: ONNX Runtime fell back to {used}",
            "install what the provider needs, or choose another provider",
        )
    return session


_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    **{
        f"tensor({name})": np.dtype(name).type
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}


def _check_inputs(session: Any, job: Job) -> None:
    takes = {node.name: node.type for node in session.get_inputs()}
    given = {spec.name: spec.dtype for spec in job.inputs}
    if set(takes) != set(given):
        raise InputError(
            f"the model takes {', '.join(takes) or 'nothing'}, the job gives "
            f"{', '.join(given) or 'nothing'}",
            "make the bundle again",
        )
    for name, kind in takes.items():
        if kind not in _DTYPES:
            raise InputError(f"input {name!r} is a {kind}, which cannot be made here")
        if np.dtype(_DTYPES[kind]).name != given[name]:
            raise InputError(
                f"input {name!r} is a {kind}, the job gives {given[name]}", "make the bundle again"
            )


def _smallest_job() -> Job:
    return Job(
        key="",
        scope="block",
        label="smallest",
        model=base64.b64decode(_SMALLEST),
        folder=Path.cwd(),
        inputs=(Tensor("x", "float32", (8, 8)),),
    )
