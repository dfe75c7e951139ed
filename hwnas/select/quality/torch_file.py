"""Reading state dicts that torch saved, without torch and without running anything.

A ``.pth`` file holds a pickle. Here no pickle machinery runs: the pickle is taken as a list of
opcodes, and those that a state dict consists of are followed by hand. A name that would be
imported is kept as that name and compared with four known ones. Whatever else there is, is an
error. Both layouts are read: a zip archive (torch 1.6 and later), and before that the pickles and
then the storages in one stream.

Layouts: torch/serialization.py, ``_save`` and ``_legacy_save``.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError

__all__ = ["read_state_dict"]

_LARGEST = 256 << 20
"""Bytes of a file, and of all its tensors; a predictor has some MB."""
_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older layout."""
_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
_MOST_AXES = 8
_DAMAGE = (
    *(ValueError, LookupError, TypeError, ArithmeticError, EOFError, struct.error),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError),
)
"""What reading a damaged file comes to; zipfile raises the last three."""


@dataclass(frozen=True)
class _Name:
    """What a pickle would import."""

    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: Any
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Dict(dict[Any, Any]):
    """A dictionary that a pickle makes."""


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors by name, from a file that holds a state dict, or ``{"state_dict": ...}``.

    Raises:
        UsageError: it cannot be read, is damaged, or holds anything but tensors.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot read {path}: {reason}", "check its path") from error
    try:
        if len(data) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST >> 20} MiB")
        found, storages = _read_zip(data) if data[:2] == b"PK" else _read_stream(data)
        return _tensors(found, storages)
    except _DAMAGE as error:
        said = str(error)[:200] or type(error).__name__
        raise UsageError(
            f"{path} is not a state dict of plain tensors: {said}",
            "it is damaged, or holds code, which is never run: save model.state_dict() itself",
        ) from error


def _read_zip(data: bytes) -> tuple[object, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("it has no data.pkl")
    folder = names[0].removesuffix("data.pkl")

    def entry(name: str) -> bytes:
        info = archive.getinfo(folder + name)
        # torch compresses nothing; what is compressed may unpack to anything.
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename} is compressed")
        return archive.read(info)

    if f"{folder}byteorder" in archive.namelist() and entry("byteorder") != b"little":
        raise ValueError("it is of a machine with another order of bytes")
    found = _Pickle().read(io.BytesIO(entry("data.pkl")))
    return found, lambda storage: entry(f"data/{storage.key}")


def _read_stream(data: bytes) -> tuple[object, Callable[[_Storage], bytes]]:
    stream = io.BytesIO(data)
    if _Pickle().read(stream) != _MAGIC:
        raise ValueError("its first bytes are of no file that torch saved")
    _version, system = _Pickle().read(stream), _Pickle().read(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it is of a machine with another order of bytes")
    reader = _Pickle()
    found = reader.read(stream)
    keys = _Pickle().read(stream)
    if not isinstance(keys, list):
        raise ValueError("it lists no storages")
    held = {}
    for key in keys:
        storage = reader.storages[key]
        if int.from_bytes(stream.read(8), "little") != storage.count:
            raise ValueError(f"storage {key!r} has another size than it says")
        held[storage.key] = stream.read(storage.count * np.dtype(storage.dtype).itemsize)
    return found, lambda storage: held[storage.key]


def _tensors(found: object, storages: Callable[[_Storage], bytes]) -> dict[str, NDArray[Any]]:
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise ValueError("it holds no dictionary with names of tensors")
    others = [name for name, value in found.items() if not isinstance(value, _Tensor)]
    if others or not all(isinstance(name, str) for name in found):
        raise ValueError(f"it holds other things than tensors: {str(others[:3])[:80]}")
    arrays, size = {}, 0
    for name, tensor in found.items():
        arrays[name] = _array(name, tensor, storages)
        size += arrays[name].nbytes
        if size > _LARGEST:  # tensors that share a storage are copied
            raise ValueError(f"its tensors have more than {_LARGEST >> 20} MiB")
    return arrays


def _array(name: str, tensor: _Tensor, storages: Callable[[_Storage], bytes]) -> NDArray[Any]:
    count, dtype = tensor.storage.count, np.dtype(tensor.storage.dtype)
    numbers = (tensor.offset, *tensor.size, *tensor.stride)
    # Before any arithmetic: what is no number may multiply into gigabytes.
    if not all(type(number) is int and 0 <= number <= count for number in numbers):
        raise ValueError(f"tensor {name!r} has a shape that cannot be")
    spans = ((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    data = storages(tensor.storage)
    if (
        len(tensor.size) > _MOST_AXES
        or 0 in tensor.size
        or math.prod(tensor.size) > count
        or tensor.offset + sum(spans) >= count
        or len(data) != count * dtype.itemsize
    ):
        raise ValueError(f"tensor {name!r} lies outside its storage")
    steps = [step * dtype.itemsize for step in tensor.stride]
    flat = np.frombuffer(data, dtype)[tensor.offset :]
    return np.lib.stride_tricks.as_strided(flat, tensor.size, steps, writeable=False).copy()


def _ordered_dict(*arguments: object) -> object:
    if arguments not in ((), ([],)):
        raise ValueError("a dictionary is made in an unknown way")
    return _Dict()


def _tensor(*arguments: Any) -> object:
    storage, offset, size, stride = arguments[:4]
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("a tensor is made in an unknown way")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _parameter(*arguments: Any) -> object:
    if not isinstance(arguments[0], _Tensor):
        raise ValueError("a parameter is made in an unknown way")
    return arguments[0]


_CALLS: Mapping[str, Callable[..., object]] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}
"""All that a state dict calls; nothing of it is imported."""

_VALUES = frozenset(
    [
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE"),
        *("SHORT_BINUNICODE", "BINUNICODE8", "NONE", "NEWTRUE", "NEWFALSE"),
    ]
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class _Pickle:
    """Follows the opcodes of one pickle.

    Attributes:
        storages: those that it spoke of, by key.
    """

    storages: dict[str, _Storage] = field(default_factory=dict)
    _stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def read(self, stream: io.BytesIO) -> object:
        """What the pickle at the stream's place holds; the place is then behind it."""
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._follow(opcode.name, argument)
        raise ValueError("it is cut off")

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(_CONSTANTS.get(name, argument))
        elif name in _TUPLES:
            stack.append(tuple(self._take(len(stack) - _TUPLES[name])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ValueError(f"a state dict has no {name}")

    def _take(self, start: int) -> list[Any]:
        if start < 0:
            raise IndexError("its stack is empty")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _mark(self, _: object) -> None:
        self._marks.append(len(self._stack))

    def _tuple(self, _: object) -> None:
        self._stack.append(tuple(self._take(self._marks.pop())))

    def _empty_dict(self, _: object) -> None:
        self._stack.append(_Dict())

    def _empty_list(self, _: object) -> None:
        self._stack.append([])

    def _set(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, _Dict) or len(pairs) % 2:
            raise ValueError("an item is set on something else than a dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int):
                raise ValueError("a key is no name")
            target[key] = value

    def _set_items(self, _: object) -> None:
        self._set(self._take(self._marks.pop()))

    def _set_item(self, _: object) -> None:
        self._set(self._take(len(self._stack) - 2))

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("something is appended to what is no list")
        self._stack[-1].extend(items)

    def _append_items(self, _: object) -> None:
        self._append(self._take(self._marks.pop()))

    def _append_item(self, _: object) -> None:
        self._append(self._take(len(self._stack) - 1))

    def _global(self, argument: str) -> None:
        self._stack.append(_Name(argument))

    def _stack_global(self, _: object) -> None:
        module, name = self._take(len(self._stack) - 2)
        self._stack.append(_Name(f"{module} {name}"))

    def _reduce(self, _: object) -> None:
        function, arguments = self._take(len(self._stack) - 2)
        if not isinstance(function, _Name) or function.text not in _CALLS:
            shown = function.text.replace(" ", ".") if isinstance(function, _Name) else "something"
            raise ValueError(f"it calls {shown[:80]}")
        if not isinstance(arguments, tuple):
            raise ValueError("a call has no arguments")
        self._stack.append(_CALLS[function.text](*arguments))

    def _build(self, _: object) -> None:
        # A state dict's own attribute: versions of its modules, which are of no use here.
        self._take(len(self._stack) - 1)
        if not isinstance(self._stack[-1], _Dict):
            raise ValueError("it sets the state of something else than a dictionary")

    def _persistent(self, _: object) -> None:
        described = self._stack.pop()
        if not isinstance(described, tuple) or len(described) not in (5, 6):
            raise ValueError("it refers to something else than a storage")
        what, kind, key, _place, count = described[:5]
        name = kind.text.removeprefix("torch ") if isinstance(kind, _Name) else ""
        if what != "storage" or name not in _DTYPES or described[5:] not in ((), (None,)):
            raise ValueError(f"it has a storage of an unknown kind: {name[:80] or 'none'}")
        if type(count) is not int or count < 0 or not isinstance(key, str):
            raise ValueError("it has a storage of an unknown size")
        self.storages[key] = _Storage(key, _DTYPES[name], count)
        self._stack.append(self.storages[key])


_STEPS: Mapping[str, Callable[[_Pickle, Any], None]] = {
    "MARK": _Pickle._mark,
    "TUPLE": _Pickle._tuple,
    "EMPTY_DICT": _Pickle._empty_dict,
    "EMPTY_LIST": _Pickle._empty_list,
    "SETITEMS": _Pickle._set_items,
    "SETITEM": _Pickle._set_item,
    "APPENDS": _Pickle._append_items,
    "APPEND": _Pickle._append_item,
    "GLOBAL": _Pickle._global,
    "STACK_GLOBAL": _Pickle._stack_global,
    "REDUCE": _Pickle._reduce,
    "BUILD": _Pickle._build,
    "BINPERSID": _Pickle._persistent,
}
