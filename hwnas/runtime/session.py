"""Opening ONNX Runtime sessions over one shared weights file, arena and thread pool.

Without a shared arena a chain of sessions was measured 2.5% slower than one session, and takes
more memory; without a shared thread pool each session would have threads of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from hwnas.bundle import Bundle
from hwnas.errors import BundleError, UsageError
from hwnas.program import TensorSpec
from hwnas.runtime.ort import onnxruntime as ort

__all__ = ["open_model", "open_session", "session_options"]

_lock = threading.Lock()
_arena_registered = False
_pool_threads: int | None = None


def _register_arena() -> None:
    """One arena for all sessions of this process; ONNX Runtime keeps it until the process ends."""
    global _arena_registered
    with _lock:
        if _arena_registered:
            return
        info = ort.OrtMemoryInfo(
            "Cpu",
            ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            ort.capi._pybind_state.OrtMemType.DEFAULT,
        )
        ort.create_and_register_allocator(info, None)
        _arena_registered = True


def _share_threads(threads: int) -> None:
    """One pool for all sessions of this process; its size is fixed by whoever asks first."""
    global _pool_threads
    with _lock:
        if _pool_threads is None:
            ort.set_global_thread_pool_sizes(threads, 1)
            _pool_threads = threads
        elif _pool_threads != threads:
            raise UsageError(
                f"this process already runs subnets with {_pool_threads} threads, not {threads}",
                "use one number of threads per process",
            )


def session_options(
    folder: str,
    level: ort.GraphOptimizationLevel,
    *,
    threads: int | None = 1,
    packed: bool = True,
) -> ort.SessionOptions:
    """What every session on a graph with external weights has in common.

    Args:
        folder: where external locations are relative to; ONNX Runtime refuses any that leave it.
        level: how far the graph is optimised.
        threads: that one run may use, of the session's own; ``None`` if it has none of its own.
        packed: lay weights out for fast runs, in memory of the session's own.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4  # what is wrong is raised, and said once
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def open_model(
    model: bytes,
    folder: str,
    what: str,
    *,
    threads: int = 1,
    shared: bool = True,
    finished: bool = False,
) -> ort.InferenceSession:
    """Open a session on a serialised model whose weights are external files in ``folder``.

    Args:
        model: serialised ONNX.
        folder: where external locations are relative to; ONNX Runtime refuses any that leave it.
        what: for messages.
        threads: that one run may use.
        shared: use this process's shared arena and thread pool.
        finished: the graph has been optimised for this CPU; it is run as it is.

    Raises:
        BundleError: ONNX Runtime refuses the model; gives its reason.
    """
    levels = ort.GraphOptimizationLevel
    level = levels.ORT_DISABLE_ALL if finished else levels.ORT_ENABLE_ALL
    pooled = shared and threads > 1
    options = session_options(folder, level, threads=None if pooled else threads)
    if shared:
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    if pooled:
        _share_threads(threads)
        options.use_per_session_threads = False
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common public base
        raise BundleError(
            f"ONNX Runtime {ort.__version__} cannot load {what}: {error}",
            "make the bundle again with this version, or upgrade onnxruntime",
        ) from error


def open_session(
    bundle: Bundle, unit: str, *, threads: int = 1, shared: bool = True
) -> ort.InferenceSession:
    """Open a session on one block or segment of ``bundle``; see :func:`open_model`."""
    what = f"{unit} of {bundle.path}"
    folder = str(bundle.path.resolve())
    session = open_model(
        bundle.model(unit),
        folder,
        what,
        threads=threads,
        shared=shared,
        finished=bundle.manifest.finalised is not None,
    )
    graph = bundle.graphs[unit]
    for ports, specs in (
        (session.get_inputs(), graph.inputs),
        (session.get_outputs(), graph.outputs),
    ):
        if not _same(ports, specs):
            raise BundleError(
                f"{what} does not take and give what the manifest says",
                "make the bundle again, or copy it again in full",
            )
    return session


_DTYPES = {"float": "float32", "double": "float64"}
"""Where ONNX Runtime's name of a dtype is not NumPy's."""


def _same(ports: Sequence[Any], specs: Sequence[TensorSpec]) -> bool:
    found = []
    for port in ports:
        dtype = port.type.removeprefix("tensor(").removesuffix(")")
        found.append((port.name, _DTYPES.get(dtype, dtype), tuple(port.shape)))
    return found == [(spec.name, spec.dtype, spec.shape) for spec in specs]
