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
from safetensors import SafetensorError
from safetensors.numpy import save_file

from hwnas.errors import BundleError, HwnasError

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
    """Write C-contiguous ``tensors`` as one safetensors file; equal input gives equal bytes.

    Raises:
        HwnasError: the disk is full or the place cannot be written.
    """
    try:
        save_file({name: tensors[name] for name in sorted(tensors)}, path)
    except SafetensorError as error:
        raise HwnasError(
            f"the weights cannot be written: {error}",
            "free some space or name another place with -o",
        ) from error
    path.chmod(0o644)  # the library makes it private, unlike every other file of a bundle


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
