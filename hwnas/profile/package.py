"""A job made ready for a device: the document, and every file that it names, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas._version import __version__
from hwnas.agent.expected import Expected, expect
from hwnas.agent.inputs import make_inputs
from hwnas.agent.job import FILE_NAME, Document, Item, StoredFile
from hwnas.agent.protocol import Job
from hwnas.agent.settings import Settings
from hwnas.errors import BundleError, UnsafePath
from hwnas.files import sha256_file

__all__ = ["Package", "Reference", "make_package", "reference_outputs"]

Reference = Callable[[Job, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""What computes a job's outputs from inputs, for comparing; raises where it cannot."""


@dataclass(frozen=True)
class Package:
    """What a device needs to measure.

    Attributes:
        document: the exact bytes of ``job.json``.
        id: their SHA-256, in hex.
        blobs: content by SHA-256; a path where it is a file here.
        data: SHA-256 by the name under which models find the file.
    """

    document: bytes
    id: str
    blobs: Mapping[str, bytes | Path]
    data: Mapping[str, str]


def make_package(
    jobs: Iterable[Job],
    profiler: str,
    settings: Settings,
    reference: Reference | None = None,
    *,
    emulated: bool = False,
) -> Package:
    """Pack ``jobs``, whose models all find their data in folders of their own.

    Args:
        jobs: at least one; those of one job must not name different files alike.
        profiler: its name.
        settings: how to measure.
        emulated: the device is.
        reference: computes what outputs are compared with; ``None``: they are not.

    Raises:
        BundleError: a file that a model names cannot be read, or is outside its folder.
    """
    blobs: dict[str, bytes | Path] = {}
    data: dict[str, StoredFile] = {}
    items = []
    folders: dict[Path, dict[str, StoredFile]] = {}
    for job in jobs:
        if job.folder not in folders:
            folders[job.folder] = {}
        names = _locations(job.model)
        for name in sorted(names - set(folders[job.folder])):
            if not FILE_NAME.fullmatch(name):
                raise UnsafePath(
                    f"{job.label} names the file {name[:80]!a}, which is not one of the bundle's",
                    "compile the network again",
                )
            path = job.folder / name
            stored = _stored(path)
            if data.setdefault(name, stored) != stored:
                raise BundleError(f"two files are called {name}", "profile one bundle at a time")
            folders[job.folder][name] = stored
            blobs[stored.sha256] = path
        model = StoredFile(hashlib.sha256(job.model).hexdigest(), len(job.model))
        blobs[model.sha256] = job.model
        items.append(
            Item(
                job.key,
                job.scope,
                job.label,
                model,
                job.inputs,
                _expected(job, settings, reference),
            )
        )
    document = Document(__version__, emulated, profiler, settings, data, tuple(items)).encode()
    found = {name: stored.sha256 for name, stored in data.items()}
    return Package(document, hashlib.sha256(document).hexdigest(), blobs, found)


def _locations(model: bytes) -> set[str]:
    """Names of the files that a model's initialisers are in."""
    import onnx

    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception:
        return set()  # what is no model fails on the device, as a result
    found = set()
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return found


def _stored(path: Path) -> StoredFile:
    try:
        return StoredFile(sha256_file(path), path.stat().st_size)
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}", "compile the network again"
        ) from error


def _expected(job: Job, settings: Settings, reference: Reference | None) -> tuple[Expected, ...]:
    if reference is None:
        return ()
    try:
        outputs = reference(job, make_inputs(job.inputs, settings.seed))
    except Exception:
        # A model that cannot be run here may run there; then nobody says that it is right.
        return ()
    return tuple(expect(outputs))


def reference_outputs(job: Job, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Compute with ONNX Runtime on this machine's CPU, optimisations off: plain float32 kernels."""
    import os

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(job.folder)
    )
    session = ort.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, dict(inputs))
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    }
