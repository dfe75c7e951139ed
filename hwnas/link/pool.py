"""The pool of initialisers: each content once, and one that begins another is a part of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.files import disk_errors
from hwnas.manifest import WeightRange

__all__ = ["Pool", "Pooled"]


@dataclass(frozen=True)
class Pooled:
    """A tensor by content: equal for equal dtype, shape and bytes."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    bytes: int


@dataclass
class Pool:
    """Collects tensors in a scratch file, so that the weights of one subnet at a time are open.

    Args:
        file: scratch file, made new; the caller removes it.
    """

    file: Path
    _where: dict[Pooled, int] = field(default_factory=dict)
    _names: dict[Pooled, str] = field(default_factory=dict)
    _end: int = 0

    def add(self, array: NDArray[Any], name: str) -> Pooled:
        """Keep ``array``; ``name`` is what it is called if its content is new."""
        data = np.ascontiguousarray(array)
        raw = data.reshape(-1).view(np.uint8)
        digest = hashlib.sha256(raw.data).hexdigest()
        found = Pooled(data.dtype.name, data.shape, digest, data.nbytes)
        if found not in self._where:
            taken = set(self._names.values())
            unique, suffix = name, 2
            while unique in taken:
                unique, suffix = f"{name}-{suffix}", suffix + 1
            with disk_errors(self.file), self.file.open("ab") as stream:
                stream.write(raw.data)
            self._where[found], self._names[found] = self._end, unique
            self._end += data.nbytes
        return found

    def offset(self, tensor: Pooled) -> int:
        """Where ``tensor`` begins in the scratch file, in bytes."""
        return self._where[tensor]

    def array(self, tensor: Pooled) -> NDArray[Any]:
        """The values of ``tensor``, as a read-only mapping."""
        if not tensor.bytes:
            return np.empty(tensor.shape, np.dtype(tensor.dtype))
        raw = np.memmap(self.file, np.uint8, "r", self._where[tensor], (tensor.bytes,))
        return raw.view(np.dtype(tensor.dtype)).reshape(tensor.shape)

    def stored(
        self, used: Mapping[Pooled, object]
    ) -> tuple[dict[str, NDArray[Any]], dict[Pooled, WeightRange]]:
        """What to write for ``used``, by name, and where in it each of them is.

        A tensor whose bytes are the first of another one of its dtype is a range of that one.
        """
        tensors: dict[str, NDArray[Any]] = {}
        ranges: dict[Pooled, WeightRange] = {}
        longest: dict[tuple[str, tuple[int, ...]], list[Pooled]] = {}
        for tensor in sorted(used, key=lambda t: (-t.bytes, self._names[t])):
            group = longest.setdefault((tensor.dtype, tensor.shape[1:]), [])
            raw = self.array(tensor).reshape(-1)
            base = next((b for b in group if _begins(self.array(b).reshape(-1), raw)), None)
            if base is None:
                group.append(tensor)
                tensors[self._names[tensor]] = self.array(tensor)
                base = tensor
            ranges[tensor] = WeightRange(tensor=self._names[base], offset=0, length=tensor.bytes)
        return tensors, ranges


def _begins(whole: NDArray[Any], part: NDArray[Any]) -> bool:
    # By bytes: a NaN equals itself here. A few first values tell most tensors apart.
    a, b = whole[: part.size].view(np.uint8), part.view(np.uint8)
    return bool(np.array_equal(a[:64], b[:64])) and bool(np.array_equal(a, b))
