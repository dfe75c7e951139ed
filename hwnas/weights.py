"""The one weights file: a valid safetensors file that is ONNX external data at the same time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hwnas.errors import BundleError
from hwnas.files import disk_errors

__all__ = ["ALIGNMENT", "DTYPES", "Stored", "map_weights", "read_layout", "write_weights"]

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

_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

ALIGNMENT = 64
"""Bytes of a cache line and of the widest vector register."""

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
    """Write C-contiguous ``tensors`` as one safetensors file; equal input gives equal bytes.

    Every tensor whose size is a multiple of :data:`ALIGNMENT` begins at such a multiple in the
    file, so that a mapping of it is aligned for vector loads; the others come last, aligned to
    their elements. (The safetensors library aligns to 8 bytes only.)

    Raises:
        HwnasError: the disk is full or the place cannot be written.
    """
    arrays = {name: np.asarray(tensors[name], order="C") for name in tensors}
    order = sorted(
        arrays,
        key=lambda n: (arrays[n].nbytes % ALIGNMENT > 0, -arrays[n].itemsize, n),
    )
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        array = arrays[name]
        span = [end, end := end + array.nbytes]
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": array.shape,
            "data_offsets": span,
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)  # the format allows spaces after the header
    with disk_errors(path), path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            stream.write(arrays[name].reshape(-1).view(np.uint8).data)


def read_layout(path: Path) -> dict[str, Stored]:
    """Where each tensor of a safetensors file lies; reads the header alone.

    Raises:
        BundleError: the header is damaged, a tensor lies outside the file or over another one, or
            its length is not that of its shape and dtype.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(stream.read(length))
        if not isinstance(header, dict):
            raise ValueError("the header is no object")
        header.pop("__metadata__", None)
        layout = {name: _stored(name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path} is not a safetensors file: {error}", "make it again") from error
    end = 8 + length
    for name, stored in sorted(layout.items(), key=lambda item: item[1].offset):
        if stored.offset < end or stored.offset + stored.length > size:
            raise BundleError(
                f"{path}: tensor {name!r} lies outside the file or over another one",
                "make it again",
            )
        end = stored.offset + stored.length
    return layout


def _stored(name: str, entry: Any, base: int) -> Stored:
    dtype, shape = entry["dtype"], entry["shape"]
    begin, end = entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has dtype {dtype!r}")
    numbers = [*shape, begin, end]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"tensor {name!r} has a shape or offsets that cannot be")
    if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != end - begin:
        raise ValueError(f"tensor {name!r} has {end - begin} bytes, which its shape has not")
    return Stored(dtype, tuple(shape), base + begin, end - begin)


def map_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a safetensors file as a read-only array over the mapped file.

    Raises:
        BundleError: as :func:`read_layout`.
    """
    source = np.memmap(path, np.uint8, mode="r")
    arrays = {}
    for name, stored in read_layout(path).items():
        part = source[stored.offset : stored.offset + stored.length]
        arrays[name] = part.view(np.dtype(DTYPES[stored.dtype])).reshape(stored.shape)
    return arrays
