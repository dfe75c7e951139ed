"""The contenders: each a network in memory that runs its subnets, opened and closed as one.

All are given the same arrays to read and have arrays of their own to write, bound beforehand where
the runtime allows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import BundleError, UnknownName
from hwnas.program import TensorSpec
from hwnas.runtime import Switcher
from hwnas.runtime.arrays import as_dtype

__all__ = ["MODEL", "Contender", "Runner", "Stock", "SwitchModel", "Switched", "outputs_for"]

Arrays = dict[str, NDArray[Any]]

MODEL = "model.onnx"
"""The one graph of ``--to onnx-switch``."""


@dataclass(frozen=True)
class Runner:
    """One subnet of one contender: ``run`` reads the arrays given and writes ``out``."""

    run: Callable[[], object]
    out: Arrays


class Contender(Protocol):
    """An open network. One thread at a time; ``close`` comes last."""

    def runner(self, name: str, feeds: Arrays) -> Runner:
        """Run subnet ``name`` on ``feeds``, which must stay where they are."""

    def close(self) -> None:
        """Release it all."""


def outputs_for(specs: Sequence[TensorSpec]) -> Arrays:
    """Memory for the outputs of a subnet."""
    return {spec.name: np.empty(spec.shape, as_dtype(spec.dtype)) for spec in specs}


class Switched:
    """A bundle by the switcher: a chain of segments, or the one segment of a static export."""

    def __init__(self, path: Path, backend: str, threads: int, *, verify: bool = False) -> None:
        self.switcher = Switcher(path, backend=backend, threads=threads, verify=verify)

    def runner(self, name: str, feeds: Arrays) -> Runner:
        """As :meth:`Contender.runner`."""
        run, out = self.switcher.run, outputs_for(self.switcher.outputs_of(name))
        return Runner(lambda: run(feeds, subnet=name, out=out), out)

    def close(self) -> None:
        """As :meth:`Contender.close`."""
        self.switcher.close()


class Stock:
    """Static exports as ordinary sessions of the onnxruntime package, each with its own arena.

    Args:
        models: subnet name to (model file, folder of its weights).
        threads: that one run may use.
    """

    def __init__(self, models: Mapping[str, tuple[Path, Path]], threads: int) -> None:
        from hwnas.runtime.session import open_model  # imports onnxruntime

        self._sessions = {
            name: open_model(
                file.read_bytes(),
                str(folder.resolve()),
                f"the whole of {name}",
                threads=threads,
                shared=False,
            )
            for name, (file, folder) in models.items()
        }

    def runner(self, name: str, feeds: Arrays) -> Runner:
        """As :meth:`Contender.runner`: everything is bound, the fastest that Python offers."""
        return _bound(self._sessions[name], feeds)

    def close(self) -> None:
        """As :meth:`Contender.close`."""
        self._sessions.clear()


class SwitchModel:
    """The single file of ``--to onnx-switch``: an int64 input ``subnet`` says which one runs.

    Raises:
        BundleError: ``folder`` holds no such model.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        from hwnas.runtime.ort import onnxruntime as ort

        file = folder / MODEL
        again = "give the folder that 'hwnas export --to onnx-switch' wrote"
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            found = self._session.get_modelmeta().custom_metadata_map["hwnas.subnets"]
            self.names: list[str] = json.loads(found)
            port = next(i for i in self._session.get_inputs() if i.name == "subnet")
        except (KeyError, ValueError, StopIteration) as error:
            raise BundleError(f"{file} has no input that chooses a subnet", again) from error
        except Exception as error:  # ONNX Runtime's exceptions have no common public base
            raise BundleError(f"ONNX Runtime cannot load {file}: {error}", again) from error
        self._shape: list[int] = port.shape

    def runner(self, name: str, feeds: Arrays) -> Runner:
        """As :meth:`Contender.runner`."""
        if name not in self.names:
            raise UnknownName("subnet", name, self.names)
        number = np.full(self._shape, self.names.index(name), np.int64)
        return _bound(self._session, {**feeds, "subnet": number})

    def close(self) -> None:
        """As :meth:`Contender.close`."""
        del self._session


def _bound(session: Any, feeds: Arrays) -> Runner:
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    out: Arrays = {}
    for port in session.get_outputs():
        kind = port.type.removeprefix("tensor(").removesuffix(")")
        dtype = as_dtype({"float": "float32", "double": "float64"}.get(kind, kind))
        out[port.name] = np.empty(port.shape, dtype)
        array = out[port.name]
        binding.bind_output(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    kept = [dict(feeds), out]  # the binding knows addresses only

    def run(_kept: object = kept) -> None:
        session.run_with_iobinding(binding)

    return Runner(run, out)
