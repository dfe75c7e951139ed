"""The Python backend: the same switcher on the onnxruntime package alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError
from hwnas.manifest import Manifest
from hwnas.program import TensorSpec, check
from hwnas.runtime.arrays import (
    Array,
    Takers,
    as_dtype,
    check_overlap,
    given,
    refuse_names,
    taken,
)
from hwnas.runtime.chain import Buffers, Chain
from hwnas.runtime.isa import refuse_foreign
from hwnas.runtime.ort import onnxruntime
from hwnas.runtime.session import open_session

__all__ = ["PythonSwitcher"]


_Port = tuple[str, np.dtype[Any], tuple[int, ...]]
"""Name, dtype and shape."""


@dataclass(frozen=True)
class _Signature:
    """What one subnet takes and gives; ``name`` is empty where all subnets do the same."""

    name: str
    takes: tuple[_Port, ...]
    gives: tuple[_Port, ...]


@dataclass(frozen=True)
class _Open:
    """What an open switcher holds: its sessions, and each thread's chains and hop buffers."""

    sessions: Mapping[str, Any]
    local: threading.local = field(default_factory=threading.local)


class PythonSwitcher:
    """Runs the subnets of ``bundle``; see :class:`hwnas.runtime.switcher.Backend`."""

    def __init__(self, bundle: Bundle, *, subnet: str, threads: int) -> None:
        self._bundle = bundle
        self._current = subnet
        manifest = bundle.manifest
        refuse_foreign(manifest.finalised, onnxruntime.__version__, str(bundle.path))
        self._signatures, self._takers = _signatures(manifest)
        self._open: _Open | None = _Open(
            {unit: open_session(bundle, unit, threads=threads) for unit in manifest.segments}
        )

    @property
    def current(self) -> str:
        """Name of the current subnet."""
        return self._current

    @current.setter
    def current(self, name: str) -> None:
        self._state()
        self._bundle.entry(name)
        self._current = name

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._open is None

    def run(
        self, inputs: Mapping[str, Any], subnet: str | None, out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run one subnet once."""
        ran = subnet if subnet is not None else self._current
        chain, own = self._chain(ran), self._signatures[ran]
        feeds = {
            name: given(inputs, name, dtype, shape, own.name, self._takers)
            for name, dtype, shape in own.takes
        }
        if len(inputs) != len(feeds):
            refuse_names("input", inputs, [name for name, _, _ in own.takes])
        if out is None:
            return chain.run(feeds, None)
        views: dict[str, Array] = {}
        for name, dtype, shape in own.gives:
            view = taken(out, name, dtype, shape, own.name)
            if view is not None:
                views[name] = view
        refuse_names("output", out, [name for name, _, _ in own.gives])
        check_overlap(feeds, views)
        results = chain.run(feeds, views)
        # The caller's own objects: a view may stand for a tensor of another library.
        return {name: out[name] if name in views else array for name, array in results.items()}

    def _state(self) -> _Open:
        state = self._open  # read once: another thread may close meanwhile
        if state is None:
            raise HwnasError("the switcher is closed", "open a new one")
        return state

    def _chain(self, name: str) -> Chain:
        state = self._state()
        own = state.local.__dict__
        chains: dict[str, Chain] = own.setdefault("chains", {})
        chain = chains.get(name)
        if chain is None:
            entry = self._bundle.entry(name)
            manifest = self._bundle.manifest
            chain = chains[name] = Chain(
                entry.program,
                manifest.segments,
                check(entry.program, manifest.segments, entry.inputs or manifest.inputs),
                state.sessions,
                own.setdefault("buffers", Buffers()),
            )
        return chain

    def close(self) -> None:
        """Release the sessions. Runs that are under way in other threads end well."""
        self._open = None


def _signatures(manifest: Manifest) -> tuple[dict[str, _Signature], Takers]:
    """Of each subnet, and which subnets take what; the latter empty where that is one for all."""
    differ = any(entry.inputs or entry.outputs for entry in manifest.subnets.values())
    found: dict[str, _Signature] = {}
    takers: dict[_Port, list[str]] = {}
    network = _ports(manifest.inputs), _ports(manifest.outputs)
    for name, entry in manifest.subnets.items():
        takes = _ports(entry.inputs) if entry.inputs else network[0]
        gives = _ports(entry.outputs) if entry.outputs else network[1]
        found[name] = _Signature(name if differ else "", takes, gives)
        for port in takes if differ else ():
            takers.setdefault(port, []).append(name)
    return found, takers


def _ports(specs: Iterable[TensorSpec]) -> tuple[_Port, ...]:
    return tuple((spec.name, as_dtype(spec.dtype), spec.shape) for spec in specs)
