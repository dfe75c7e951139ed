"""Batches of the user's data for recalibration: from an ``.npz`` file, or from a function."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hwnas.bundle import Bundle
from hwnas.errors import InputError, shorten
from hwnas.program import TensorSpec
from hwnas.space import Subnet
from hwnas.usercode import user_code

__all__ = ["FileBatches", "FunctionBatches"]

_UNREADABLE = (
    *(ValueError, OSError, EOFError, MemoryError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
_IMAGE_RANK = 4
"""Batch, channels, height, width: only such an input is resized."""


@dataclass(frozen=True)
class _Member:
    """One array of the file.

    Attributes:
        file: its name in the archive; ``name`` is that without ``.npy``.
        dtype, shape: as its header says.
    """

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """What the array is called."""
        return self.file.removesuffix(".npy")

    @classmethod
    def read(cls, file: str, stream: IO[bytes], path: Path) -> Self:
        """Read the header, which leaves ``stream`` at the first value."""
        headers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        try:
            shape, fortran, dtype = headers[np.lib.format.read_magic(stream)](stream)
        except (KeyError, *_UNREADABLE) as error:
            raise InputError(
                f"{path}: {file} is not a NumPy array: {error}", "save it again"
            ) from error
        if dtype.hasobject or fortran or not shape:
            raise InputError(
                f"{path}: {file} holds objects, is in Fortran order, or has no dimensions",
                "save numbers in C order, the images first: numpy.ascontiguousarray",
            )
        return cls(file, dtype, shape)


class FileBatches:
    """Batches from an ``.npz`` file, read as they are wanted.

    The file has one array for every input of the network, the number of images first. Images of
    another height and width than the subnet takes are resized (bilinear, with antialiasing);
    an array ``NAME@160`` is taken as it is where the subnet takes 160 pixels.

    Args:
        path: of the file, from :func:`numpy.savez` or :func:`numpy.savez_compressed`.
        bundle: that the subnets are of.
        batch: images at a time.
        images: of the file to use, at most.

    Raises:
        InputError: no such file or a damaged one, or arrays that are missing or do not fit.
    """

    def __init__(self, path: Path, bundle: Bundle, batch: int, images: int) -> None:
        self._path = path
        self._bundle = bundle
        self._batch = batch
        self._members = self._read_members()
        lengths = {member.shape[0] for member in self._members.values()}
        if len(lengths) != 1 or 0 in lengths:
            listed = [f"{m.name} has {m.shape[0]}" for m in self._members.values()]
            raise InputError(
                f"{path} has arrays of different lengths, or empty ones: {shorten(listed)}",
                "give every array one entry for each image",
            )
        self.images = min(images, *lengths)

    def _read_members(self) -> dict[str, _Member]:
        found = {}
        with ExitStack() as stack:
            archive = stack.enter_context(self._archive())
            for file in archive.namelist():
                member = _Member.read(file, self._opened(archive, file, stack), self._path)
                found[member.name] = member
        if not found:
            raise InputError(f"{self._path} is empty", "write it with numpy.savez")
        return found

    def _opened(self, archive: zipfile.ZipFile, file: str, stack: ExitStack) -> IO[bytes]:
        try:
            return stack.enter_context(archive.open(file))
        except (KeyError, *_UNREADABLE) as error:  # encrypted, packed in an unknown way
            raise InputError(
                f"{self._path}: {file} cannot be read: {error}", "write it with numpy.savez"
            ) from error

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._path)
        except FileNotFoundError:
            raise InputError(f"{self._path} does not exist", "check the path") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self._path} is not an .npz file: {error}", "write it with numpy.savez"
            ) from error

    def __call__(self, subnet: Subnet) -> Iterator[Sequence[Tensor]]:
        """One tensor per input of the network, again and again."""
        specs = self._bundle.inputs(subnet)
        members = [self._member(spec) for spec in specs]
        with ExitStack() as stack:
            archive = stack.enter_context(self._archive())
            streams = [self._opened(archive, member.file, stack) for member in members]
            for member, stream in zip(members, streams, strict=True):
                _Member.read(member.file, stream, self._path)
            for start in range(0, self.images, self._batch):
                number = min(self._batch, self.images - start)
                arrays = [self._read(m, s, number) for m, s in zip(members, streams, strict=True)]
                yield [
                    _fitted(array, spec, f"{self._path}: {member.name}")
                    for array, spec, member in zip(arrays, specs, members, strict=True)
                ]

    def _member(self, spec: TensorSpec) -> _Member:
        for name in (f"{spec.name}@{spec.shape[-1]}" if spec.shape else "", spec.name):
            if name in self._members:
                return self._members[name]
        raise InputError(
            f"{self._path} has no array {spec.name!r} (it has {shorten(self._members)})",
            "name the arrays as the inputs of the network: numpy.savez(file, NAME=images)",
        )

    def _read(self, member: _Member, stream: IO[bytes], number: int) -> NDArray[Any]:
        shape = (number, *member.shape[1:])
        length = math.prod(shape) * member.dtype.itemsize
        try:
            data = stream.read(length)
        except _UNREADABLE as error:
            raise InputError(f"{self._path} is damaged: {error}", "write it again") from error
        if len(data) != length:
            raise InputError(f"{self._path} ends within {member.name}", "write it again")
        return np.frombuffer(bytearray(data), member.dtype).reshape(shape)


class FunctionBatches:
    """Batches from a function of the user's, called as ``fn(subnet, bundle)``.

    It gives batches, one at a time and of any size: an array or tensor where the network has one
    input, else a tuple in the order of the inputs, or a mapping of their names.

    Args:
        function, name: to call, and how it is called in messages.
        bundle: that the subnets are of.
        images: after so many no further batch is asked for.
    """

    def __init__(
        self, function: Callable[[Subnet, Bundle], Any], name: str, bundle: Bundle, images: int
    ) -> None:
        self._function = function
        self._name = name
        self._bundle = bundle
        self.images = images

    def __call__(self, subnet: Subnet) -> Iterator[Sequence[Tensor]]:
        """One tensor per input of the network, again and again.

        Raises:
            HwnasError: the function raises; names the line.
            InputError: it gives something else.
        """
        specs = self._bundle.inputs(subnet)
        what = f"{self._name} on {subnet.name}"
        with user_code(what):
            found = self._function(subnet, self._bundle)
        if not isinstance(found, Iterable):
            raise InputError(
                f"{what} gives a {type(found).__name__}, not batches", "yield one at a time"
            )
        with user_code(what):
            batches = iter(found)
        left = self.images
        while left > 0:
            with user_code(what):
                given = next(batches, None)
            if given is None:
                return
            arrays = [_array(value, what) for value in _in_order(given, specs, what)]
            tensors = [
                _fitted(array, spec, f"{what}: {spec.name}")
                for array, spec in zip(arrays, specs, strict=True)
            ]
            if len({len(tensor) for tensor in tensors}) != 1 or not len(tensors[0]):
                raise InputError(f"{what} gives inputs of different lengths, or none", "check it")
            yield tensors
            left -= len(tensors[0])


def _in_order(given: Any, specs: Sequence[TensorSpec], what: str) -> list[Any]:
    if isinstance(given, Mapping):
        missing = [spec.name for spec in specs if spec.name not in given]
        if missing:
            raise InputError(f"{what} gives no {shorten(missing)}", "give every input a value")
        return [given[spec.name] for spec in specs]
    found = list(given) if isinstance(given, tuple | list) else [given]
    if len(found) != len(specs):
        raise InputError(
            f"{what} gives {len(found)} values, the network takes "
            f"{', '.join(spec.name for spec in specs)}",
            "give a tuple of one array for each input, or a mapping of their names",
        )
    return found


def _array(value: Any, what: str) -> NDArray[Any]:
    plain = value.detach().cpu() if isinstance(value, Tensor) else value
    try:
        return np.asarray(plain)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, bfloat16
        raise InputError(
            f"{what} gives a {type(value).__name__} that is no array: {error}",
            "give NumPy arrays or tensors, of the type that the network takes",
        ) from error


def _fitted(array: NDArray[Any], spec: TensorSpec, what: str) -> Tensor:
    """As a tensor of the shape that ``spec`` says, but for the number of images."""
    if array.dtype.name != spec.dtype or array.ndim != len(spec.shape):
        raise InputError(
            f"{what} is {array.dtype.name}{list(array.shape)}, the network takes {spec}",
            "convert it, as it was done in training",
        )
    tensor = torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    wanted = spec.shape[1:]
    resizable = (
        tensor.dim() == _IMAGE_RANK
        and tensor.is_floating_point()
        and tensor.shape[1] == spec.shape[1]
        and min(tensor.shape[2:]) > 0
    )
    if tuple(tensor.shape[1:]) != wanted and resizable:
        size = list(spec.shape[2:])
        tensor = F.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)
    if tuple(tensor.shape[1:]) != wanted:
        raise InputError(
            f"{what} has entries of the shape {list(tensor.shape[1:])}, "
            f"the network takes {list(wanted)}",
            "give entries of that shape; images alone are resized",
        )
    return tensor
