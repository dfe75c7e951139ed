"""Sharing weights: each tensor of a block becomes a range of bytes of a tensor stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.errors import SupernetError
from hwnas.manifest import WeightRange
from hwnas.weights import DTYPES

__all__ = ["WeightStore"]

_STORABLE = tuple(np.dtype(dtype).name for dtype in DTYPES.values())


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor as a C-contiguous array; shares memory where it can."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:  # NumPy knows it only by way of ml_dtypes
        return plain.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return plain.numpy()


def _view(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same view of the same memory."""
    place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return (*place, tuple(tensor.shape), tensor.stride(), tensor.dtype)


class WeightStore:
    """Collects what blocks use of a supernet's tensors.

    A contiguous view of a tensor of the state dict (a prefix of rows, the whole) is a range of
    that tensor, and so is the whole of one that is not contiguous. Anything else, a strided slice
    or a computed tensor, is stored under a name made of its content. Tensors of equal content are
    stored once.
    """

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._bases: dict[int, list[tuple[int, int, str]]] = {}
        self._strided = {_view(t): n for n, t in state.items() if not t.is_contiguous()}
        self._state = {n: t for n, t in state.items() if t.is_contiguous() and t.numel() > 0}
        for name, tensor in self._state.items():
            start = int(tensor.storage_offset()) * tensor.element_size()
            span = (start, start + tensor.nbytes, name)
            self._bases.setdefault(tensor.untyped_storage().data_ptr(), []).append(span)
        self._tensors: dict[str, NDArray[Any]] = {}
        self._stored_as: dict[str, str] = {}
        self._by_digest: dict[tuple[str, str], str] = {}

    def range_of(self, tensor: torch.Tensor) -> WeightRange:
        """Where the bytes of ``tensor`` are kept; stores them if they are not yet."""
        if tensor.is_contiguous() and tensor.numel() > 0:
            start = int(tensor.storage_offset()) * tensor.element_size()
            stop = start + tensor.nbytes
            for low, high, name in self._bases.get(tensor.untyped_storage().data_ptr(), ()):
                if low <= start and stop <= high and self._state[name].dtype == tensor.dtype:
                    return WeightRange(
                        tensor=self._keep(name, self._state[name]),
                        offset=start - low,
                        length=tensor.nbytes,
                    )
        # Under its name, such as of a network in channels_last, it is found again by who runs it.
        kept = self._keep(self._strided.get(_view(tensor)), tensor)
        return WeightRange(tensor=kept, offset=0, length=tensor.nbytes)

    def _keep(self, name: str | None, tensor: torch.Tensor) -> str:
        if name in self._stored_as:
            return self._stored_as[name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _STORABLE:
            raise SupernetError(
                f"weights of dtype {dtype} cannot be stored", f"use one of {', '.join(_STORABLE)}"
            )
        data = _array(tensor)
        digest = hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()
        key = (dtype, digest)
        kept = self._by_digest.get(key)
        if kept is None:
            kept = name if name is not None else f"content.{digest[:16]}"
            self._tensors[kept] = data
            self._by_digest[key] = kept
        if name is not None:
            self._stored_as[name] = kept
        return kept

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """What is to be written, by name."""
        return self._tensors

    @property
    def aliases(self) -> dict[str, str]:
        """Names of the state dict that are stored under another name, their content being equal."""
        return {name: kept for name, kept in self._stored_as.items() if name != kept}
