"""The one weights file: a valid safetensors file that is ONNX external data at the same time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hwnas.errors import BundleError

__all__ = ["DTYPES", "Stored", "map_weights", "read_layout", "write_weights"]

DTYPES: dict[str, Any] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": ml_dtypes.bfloat16,
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""safetensors' names of the dtypes that weights may have, and NumPy's."""

_LARGEST_HEADER = 100_000_000
"""safetensors' own limit on its JSON header, in bytes."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies.

    Attributes:
        dtype: safetensors' name of it.
        shape: of the tensor.
        offset: in the file, in bytes.
        length: in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def write_weights(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write C-contiguous ``tensors`` as one safetensors file; equal input gives equal bytes."""
    save_file({name: tensors[name] for name in sorted(tensors)}, path)
    path.chmod(0o644)  # the library makes it private, unlike every other file of a bundle


def read_layout(path: Path) -> dict[str, Stored]:
    """Where each tensor of a safetensors file lies; reads the header alone.

    Raises:
        BundleError: the header is damaged or points outside the file.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(stream.read(length))
        base = 8 + length
        layout = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= size - base:
                raise ValueError(f"tensor {name!r} lies outside the file")
            layout[name] = Stored(entry["dtype"], tuple(entry["shape"]), base + begin, end - begin)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is not a safetensors file: {error}", "make it again") from error
    return layout


def map_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a safetensors file as a read-only array over the mapped file.

    Raises:
        BundleError: as :func:`read_layout`, or a dtype that weights cannot have.
    """
    source = np.memmap(path, np.uint8, mode="r")
    arrays = {}
    for name, stored in read_layout(path).items():
        if stored.dtype not in DTYPES:
            raise BundleError(f"{path}: tensor {name!r} has dtype {stored.dtype}", "make it again")
        part = source[stored.offset : stored.offset + stored.length]
        arrays[name] = part.view(np.dtype(DTYPES[stored.dtype])).reshape(stored.shape)
    return arrays
