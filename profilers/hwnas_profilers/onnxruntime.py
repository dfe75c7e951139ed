"""The profiler ``onnxruntime``: ONNX Runtime with one execution provider, on the CPU by default."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InputError, ProfileError, UnknownName
from hwnas.profile.protocol import Job, RuntimeInfo
from hwnas.profile.settings import Settings
from hwnas.program import TensorSpec

__all__ = ["OnnxRuntimeProfiler"]

_DEFAULT_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3
_IR_VERSION = 10
_OPSET = 20


class OnnxRuntimeProfiler:
    """Times ``run_with_iobinding`` of one session per job.

    The session is what a stock user gets: all graph optimisations, weights from the bundle's one
    file, ``settings.threads`` threads within an operator and none between operators.
    """

    name = "onnxruntime"

    def runtime(self, settings: Settings) -> RuntimeInfo:
        """Version of ONNX Runtime and the provider; see ``hwnas.profile.protocol.Profiler``."""
        ort = _onnxruntime()
        available = ort.get_available_providers()
        provider = settings.provider or _DEFAULT_PROVIDER
        if provider not in available:
            raise UnknownName("provider of this ONNX Runtime", provider, available)
        return RuntimeInfo("onnxruntime", ort.__version__, provider)

    def prepare(self, settings: Settings) -> None:
        """Load and run one matrix product: the first session of a process costs about 10 MB."""
        runner = self.load(_smallest_job(), settings)
        runner.run()
        runner.close()

    def load(self, job: Job, settings: Settings) -> _Runner:
        """One session, its random inputs and its outputs bound."""
        return _Runner(_session(job, settings), job, settings)


class _Runner:
    def __init__(self, session: Any, job: Job, settings: Settings) -> None:
        _check_inputs(session, job)
        ort = _onnxruntime()
        rng = np.random.default_rng(settings.seed)
        binding = session.io_binding()
        values = [ort.OrtValue.ortvalue_from_numpy(_random(spec, rng)) for spec in job.inputs]
        for spec, value in zip(job.inputs, values, strict=True):
            binding.bind_ortvalue_input(spec.name, value)
        for output in session.get_outputs():
            dtype = _DTYPES.get(output.type)
            if dtype is not None and all(isinstance(size, int) for size in output.shape):
                value = ort.OrtValue.ortvalue_from_shape_and_type(output.shape, dtype)
                binding.bind_ortvalue_output(output.name, value)
                values.append(value)
            else:
                binding.bind_output(output.name)
        self._session, self._binding, self._values = session, binding, values

    def run(self) -> int:
        """One inference; returns its wall time in ns."""
        run, binding = self._session.run_with_iobinding, self._binding
        start = time.perf_counter_ns()
        run(binding)
        return time.perf_counter_ns() - start

    def close(self) -> None:
        """Release the session and its buffers."""
        self._session = self._binding = None
        self._values = []


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


def _random(spec: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
    """Standard normal floats; integers and booleans of 0 and 1, valid as indices and masks."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(spec.shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, spec.shape)).astype(dtype)


def _smallest_job() -> Job:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "xy")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 8], [1.0] * 64)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "smallest", [x], [y], [weight]),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    return Job(
        key="",
        scope="block",
        label="smallest",
        model=bytes(model.SerializeToString()),
        folder=Path.cwd(),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(8, 8)),),
    )
