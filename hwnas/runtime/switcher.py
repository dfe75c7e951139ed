"""The switcher: many subnets over one set of weights, one of them current."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, InputError
from hwnas.manifest import SubnetEntry
from hwnas.program import TensorSpec, check
from hwnas.runtime.chain import Buffers, Chain
from hwnas.runtime.session import open_session

__all__ = ["Switcher"]

Array = NDArray[Any]


@dataclass(frozen=True)
class _Open:
    """What an open switcher holds: its sessions, and each thread's chains and hop buffers."""

    sessions: Mapping[str, Any]
    local: threading.local = field(default_factory=threading.local)


class Switcher:
    """Opens a bundle and runs any of its subnets.

    Threads: :meth:`run` may be called from any number of threads at once; each thread binds its
    own hop buffers when it first runs a subnet. :attr:`current` may be set at any time from any
    thread: a run uses the subnet that was current when it was called. Nothing is loaded and
    nothing is copied at a switch.

    Ownership: returned arrays belong to the caller. Inputs are only read while :meth:`run` runs.

    Args:
        path: a bundle that ``hwnas export --to bundle`` wrote.
        subnet: the first current subnet; by default the one with the most weights.
        threads: threads that one run may use. Above 1, all switchers of a process share one pool
            and must agree.
        verify: compare the hash of every file before use.

    Raises:
        BundleError: the bundle is missing, cut off, altered or of another form.
        UnknownName: there is no such subnet; those that ship are listed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        subnet: str | None = None,
        threads: int = 1,
        verify: bool = True,
    ) -> None:
        self._bundle = Bundle.open(path, "subnets", verify=verify)
        manifest = self._bundle.manifest
        largest = max(manifest.subnets, key=lambda name: manifest.subnets[name].weight_bytes)
        self._current = largest
        if subnet is not None:
            self.current = subnet
        self._takes = [(spec, np.dtype(spec.dtype)) for spec in manifest.inputs]
        self._open: _Open | None = _Open(
            {unit: open_session(self._bundle, unit, threads=threads) for unit in manifest.segments}
        )

    @property
    def subnets(self) -> dict[str, SubnetEntry]:
        """The subnets that ship, by name, with their choices, quality and cost."""
        return dict(self._bundle.manifest.subnets)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every input."""
        return self._bundle.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every output."""
        return self._bundle.manifest.outputs

    @property
    def current(self) -> str:
        """Name of the subnet that :meth:`run` uses unless told otherwise. Setting it switches."""
        return self._current

    @current.setter
    def current(self, name: str) -> None:
        self._bundle.entry(name)
        self._current = name

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        subnet: str | None = None,
        out: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run one subnet once.

        Args:
            inputs: input name to array, of the dtypes and shapes of :attr:`inputs`. C-contiguous
                arrays are read in place; others are copied first.
            subnet: which subnet, for this call alone; by default the current one.
            out: output name to a C-contiguous array that receives it; others are allocated.

        Returns:
            Output name to array.

        Raises:
            InputError: a wrong name, dtype or shape.
            UnknownName: there is no such subnet.
            HwnasError: the switcher is closed.
        """
        chain = self._chain(subnet if subnet is not None else self._current)
        feeds = {spec.name: _checked(inputs, spec, dtype) for spec, dtype in self._takes}
        if len(inputs) != len(feeds):
            _refuse_names("input", inputs, self.inputs)
        if out is not None:
            _check_out(out, self.outputs)
        return chain.run(feeds, out)

    def _chain(self, name: str) -> Chain:
        state = self._open  # read once: another thread may close meanwhile
        if state is None:
            raise HwnasError("the switcher is closed", "open a new one")
        own = state.local.__dict__
        chains: dict[str, Chain] = own.setdefault("chains", {})
        chain = chains.get(name)
        if chain is None:
            program = self._bundle.entry(name).program
            manifest = self._bundle.manifest
            chain = chains[name] = Chain(
                program,
                manifest.segments,
                check(program, manifest.segments, manifest.inputs),
                state.sessions,
                own.setdefault("buffers", Buffers()),
            )
        return chain

    def close(self) -> None:
        """Release the sessions. Runs that are under way in other threads end well."""
        self._open = None

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
        state = "closed" if self._open is None else f"current {self._current!r}"
        return f"<Switcher {self._bundle.path} with {len(self.subnets)} subnets, {state}>"


def _checked(inputs: Mapping[str, Array], spec: TensorSpec, dtype: np.dtype[Any]) -> Array:
    try:
        array = np.asarray(inputs[spec.name])
    except KeyError:
        raise InputError(
            f"the input {spec.name!r} is missing; given: {', '.join(inputs) or 'nothing'}",
            f"give {spec.name}: {spec}",
        ) from None
    if array.dtype != dtype or array.shape != spec.shape:
        shape = ",".join(map(str, array.shape))
        raise InputError(
            f"the input {spec.name!r} is {array.dtype}[{shape}], the network takes {spec}",
            f"convert it, for example with numpy's astype({spec.dtype!r}) and reshape",
        )
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _refuse_names(what: str, given: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> None:
    known = [spec.name for spec in specs]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(
            f"unknown {what} {', '.join(map(repr, unknown))}", f"known: {', '.join(known)}"
        )


def _check_out(out: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> None:
    _refuse_names("output", out, specs)
    for spec in specs:
        array = out.get(spec.name)
        if array is None:
            continue
        fits = array.dtype == spec.dtype and array.shape == spec.shape
        if not (fits and array.flags.c_contiguous and array.flags.writeable):
            raise InputError(
                f"the array for output {spec.name!r} cannot take it",
                f"give a writeable C-contiguous array of {spec}",
            )
