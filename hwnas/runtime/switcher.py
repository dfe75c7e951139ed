"""The switcher: many subnets over one set of weights, one of them current."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from hwnas.bundle import Bundle
from hwnas.errors import BundleError, InputError, UnknownName, UsageError
from hwnas.manifest import Manifest, SubnetEntry
from hwnas.program import TensorSpec
from hwnas.runtime.arrays import as_dtype
from hwnas.runtime.native import native_missing, open_native

__all__ = ["BACKEND", "Backend", "Switcher", "largest_subnet"]

BACKEND = "HWNAS_BACKEND"
"""Environment variable: the backend of switchers that do not name one."""

_BACKENDS = ("auto", "native", "python")


class Backend(Protocol):
    """What runs an open bundle. All of it may be called from any thread at any time."""

    @property
    def current(self) -> str:
        """Name of the current subnet; may be set. Still there when closed."""

    @current.setter
    def current(self, name: str, /) -> None: ...

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""

    def run(
        self, inputs: Mapping[str, Any], subnet: str | None, out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """As :meth:`Switcher.run`."""

    def close(self) -> None:
        """As :meth:`Switcher.close`."""


class Switcher:
    """Opens a bundle and runs any of its subnets.

    Threads: :meth:`run` may be called from any number of threads at once; each thread binds its
    own hop buffers when it first runs a subnet. :attr:`current` may be set at any time from any
    thread: a run uses the subnet that was current when it was called. Nothing is loaded and
    nothing is copied at a switch.

    Ownership: returned arrays belong to the caller. Inputs are only read while :meth:`run` runs.

    Backends: ``native`` is the C++ core on ONNX Runtime's C library, ``python`` the onnxruntime
    package. They take and give the same; the native one costs less per call and lets other
    threads run meanwhile from end to end.

    Args:
        path: a bundle that ``hwnas export --to bundle`` wrote.
        subnet: the first current subnet; by default the one with the most weights, and of those
            with as many the one that takes the largest inputs.
        threads: threads that one run may use. Above 1, all switchers of a process share one pool
            and must agree.
        verify: compare the hash of every file before use.
        backend: ``native``, ``python``, or ``auto``: what the environment's ``HWNAS_BACKEND``
            says, else ``native`` where it is there (see
            :func:`hwnas.runtime.native.native_missing`), else ``python``.

    Raises:
        BundleError: the bundle is missing, cut off, altered or of another form.
        UnknownName: there is no such subnet or backend; those that are there are listed.
        UsageError: ``native`` is asked for and not there, ``threads`` does not agree, or
            ``subnet`` is no text.
        MemoryError: there is no memory for it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        subnet: str | None = None,
        threads: int = 1,
        verify: bool = True,
        backend: str = "auto",
    ) -> None:
        self._backend_name = _choose(backend)
        native = self._backend_name == "native"
        # The native core compares the hashes by itself, of the very bytes that it then uses.
        self._bundle = Bundle.open(path, "subnets", verify=verify and not native)
        if subnet is None:
            subnet = largest_subnet(self._bundle.manifest)
        _expect_name(subnet)
        self._bundle.entry(subnet)
        self._backend: Backend
        if native:
            opened = open_native(self._bundle.path, subnet=subnet, threads=threads, verify=verify)
            if opened.subnets != tuple(self._bundle.manifest.subnets):  # each read it by itself
                opened.close()
                raise BundleError(
                    f"{self._bundle.path} was replaced while it was opened", "open it again"
                )
            self._backend = opened
        else:
            from hwnas.runtime.python_backend import PythonSwitcher  # imports onnxruntime

            self._backend = PythonSwitcher(self._bundle, subnet=subnet, threads=threads)

    @property
    def backend(self) -> str:
        """What runs the subnets: ``native`` or ``python``."""
        return self._backend_name

    @property
    def subnets(self) -> dict[str, SubnetEntry]:
        """The subnets that ship, by name, with their choices, quality and cost."""
        return dict(self._bundle.manifest.subnets)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every input, as the subnet that takes the most takes it."""
        return self._bundle.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every output, as the subnet that takes the most gives it."""
        return self._bundle.manifest.outputs

    def inputs_of(self, subnet: str) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every input of one subnet.

        They differ from :attr:`inputs` in shape where the network has elastic dimensions such as
        the resolution. Names and their order are the same.

        Raises:
            UnknownName: there is no such subnet.
            UsageError: ``subnet`` is no text.
        """
        _expect_name(subnet)
        return self._bundle.entry(subnet).inputs or self.inputs

    def outputs_of(self, subnet: str) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every output of one subnet; see :meth:`inputs_of`."""
        _expect_name(subnet)
        return self._bundle.entry(subnet).outputs or self.outputs

    @property
    def current(self) -> str:
        """Name of the subnet that :meth:`run` uses unless told otherwise. Setting it switches."""
        return self._backend.current

    @current.setter
    def current(self, name: str) -> None:
        _expect_name(name)
        self._backend.current = name

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        subnet: str | None = None,
        out: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run one subnet once.

        Args:
            inputs: input name to array, of the dtypes and shapes of :meth:`inputs_of` the subnet
                that runs: a NumPy array, a torch tensor on the CPU, or what NumPy or DLPack can
                read. C-contiguous memory is read in place; other arrays are copied first.
            subnet: which subnet, for this call alone; by default the current one.
            out: output name to a C-contiguous array or tensor that receives it, in memory of its
                own; others are allocated.

        Returns:
            Output name to array: NumPy arrays, and what ``out`` gave, as it is.

        Raises:
            InputError: a wrong name, dtype or shape (names the subnets that take that shape),
                memory that is not the CPU's, or an output that shares memory with an input or
                another output.
            UnknownName: there is no such subnet.
            UsageError: ``subnet`` is no text.
            HwnasError: the switcher is closed, or the runtime failed.
            MemoryError: there is no memory for hop buffers or results; the switcher stays usable.
        """
        if subnet is not None:
            _expect_name(subnet)
        if type(inputs) is not dict:
            _expect_mapping("inputs", inputs)
        if out is not None and type(out) is not dict:
            _expect_mapping("out", out)
        return self._backend.run(inputs, subnet, out)

    def close(self) -> None:
        """Release the sessions. Runs that are under way in other threads end well."""
        self._backend.close()

    def __enter__(self) -> Switcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._backend.closed else f"current {self.current!r}"
        return f"<Switcher {self._bundle.path} with {len(self.subnets)} subnets, {state}>"


def largest_subnet(manifest: Manifest) -> str:
    """The shipped subnet with the most weights; of several, the one with the largest inputs."""

    def size(name: str) -> tuple[int, int]:
        entry = manifest.subnets[name]
        taken = entry.inputs or manifest.inputs
        return entry.weight_bytes, sum(as_dtype(s.dtype).itemsize * prod(s.shape) for s in taken)

    return max(manifest.subnets, key=size)


def _expect_name(subnet: object) -> None:
    if not isinstance(subnet, str):
        raise UsageError(f"the subnet is {subnet!r}, not a name", "give a name as in 'subnets'")


def _expect_mapping(what: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise InputError(
            f"{what} is of type {type(given).__name__}, not a mapping", "give a dict: name to array"
        )


def _choose(backend: str) -> str:
    what = "backend"
    if backend == "auto" and os.environ.get(BACKEND):
        what, backend = f"backend in {BACKEND}", os.environ[BACKEND]
    if backend not in _BACKENDS:
        raise UnknownName(what, backend, _BACKENDS)
    if backend == "auto":
        return "python" if native_missing() is not None else "native"
    return backend
