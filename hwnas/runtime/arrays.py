"""What callers give as inputs and outputs: read in place where it can be, refused with reasons.

Both backends go through these functions, the native one only for what its own fast path does not
take: so both take the same and refuse the same in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InputError, shorten

__all__ = [
    "Takers",
    "as_dtype",
    "check_overlap",
    "given",
    "refuse_names",
    "refuse_overlap",
    "taken",
]

Array = NDArray[Any]
Takers = Mapping[tuple[str, np.dtype[Any], tuple[int, ...]], Sequence[str]]
"""Name, dtype and shape of an input to the subnets that take it."""
_UNREADABLE = (TypeError, ValueError, RuntimeError, BufferError)
_IN_MEMORY = "give a NumPy array, a torch tensor on the CPU, or another array in CPU memory"


def as_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name; ``bfloat16`` is ml_dtypes' one."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401  registers the name with NumPy; few networks need it
    return np.dtype(name)


def given(
    inputs: Mapping[str, Any],
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    subnet: str = "",
    takers: Takers | None = None,
) -> Array:
    """The input ``name`` as an array that a runtime can read: C-contiguous and aligned.

    It is the caller's memory where that is so already, and a copy elsewhere.

    Args:
        inputs: what the caller gives.
        name: of the input.
        dtype: that is wanted.
        shape: that is wanted.
        subnet: that wants it; for messages, as the next one.
        takers: where subnets take different shapes: which of them take what.

    Raises:
        InputError: it is missing, not in CPU memory, or of another dtype or shape.
    """
    try:
        value = inputs[name]
    except KeyError:
        raise InputError(
            f"the input {name!r} is missing; given: {', '.join(map(str, inputs)) or 'nothing'}",
            f"give {name}: {_described(dtype, shape)}",
        ) from None
    try:
        array = _view(value)
    except _UNREADABLE as error:
        reason = str(error).strip() or type(error).__name__
        raise InputError(
            f"the input {name!r} cannot be read as an array: {reason}", _IN_MEMORY
        ) from error
    if array.dtype != dtype or array.shape != shape:
        who = f"subnet {subnet!r}" if takers else "the network"
        raise InputError(
            f"the input {name!r} is {_described(array.dtype, array.shape)}, "
            f"{who} takes {_described(dtype, shape)}",
            _fit(array, name, dtype, takers or {}),
        )
    fine = array.flags.c_contiguous and array.flags.aligned
    return array if fine else array.copy(order="C")


def taken(
    out: Mapping[str, Any],
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    subnet: str = "",
) -> Array | None:
    """The caller's memory for the output ``name``; None if it gives none.

    Args:
        out: what the caller gives.
        name: of the output.
        dtype: of what is written.
        shape: of what is written.
        subnet: that writes it; for messages, where other subnets may write other shapes.

    Raises:
        InputError: a result cannot be written there.
    """
    value = out.get(name)
    if value is None:
        return None
    array: Array | None = None
    if isinstance(value, np.ndarray) or hasattr(value, "__dlpack__"):
        try:
            array = _view(value)
        except _UNREADABLE:
            array = None
    if (
        array is None
        or (array.dtype, array.shape) != (dtype, shape)
        or not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable)
    ):
        raise InputError(
            f"the array for output {name!r} cannot take it"
            + (f" from subnet {subnet!r}" if subnet else ""),
            f"give a writeable C-contiguous array of {_described(dtype, shape)} in CPU memory",
        )
    return array


def check_overlap(inputs: Mapping[str, Array], out: Mapping[str, Array]) -> None:
    """Refuse outputs that share memory with an input or with each other.

    Segments write outputs while others may still read inputs. The arrays are C-contiguous.
    """
    spans = [("input", name, *_span(array)) for name, array in inputs.items()]
    for name, array in out.items():
        start, stop = _span(array)
        for what, other, first, last in spans:
            if max(start, first) < min(stop, last):
                refuse_overlap(name, what, other)
        spans.append(("output", name, start, stop))


def refuse_overlap(name: str, what: str, other: str) -> NoReturn:
    """Raise :class:`InputError`: output ``name`` shares memory with the ``what`` ``other``."""
    raise InputError(
        f"the array for output {name!r} shares memory with the {what} {other!r}",
        "give each output memory of its own",
    )


def refuse_names(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise :class:`InputError` for ``names`` that are not ``known``, if there are any.

    Args:
        what: ``input`` or ``output``.
        names: that the caller gave.
        known: that the network has.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"unknown {what} {', '.join(map(repr, unknown))}", f"known: {', '.join(known)}"
        )


def _view(value: Any) -> Array:
    """``value`` as an array over its own memory; what has none yet, such as a list, is copied."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return _from_torch(value)
    # NumPy itself never looks for DLPack: it would wrap the object as a scalar.
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def _from_torch(tensor: Any) -> Array:
    plain = tensor.detach()
    if str(plain.dtype) != "torch.bfloat16":
        return np.asarray(plain)
    # NumPy knows bfloat16 only by way of ml_dtypes: pass its bits as int16.
    int16 = plain.new_empty(0).short().dtype
    return np.asarray(plain.view(int16)).view(as_dtype("bfloat16"))


def _fit(array: Array, name: str, dtype: np.dtype[Any], takers: Takers) -> str:
    """What to do with an input that does not fit the subnet that was to run."""
    fitting = takers.get((name, array.dtype, array.shape))
    if fitting:
        return f"run a subnet that takes it: {shorten(fitting)}"
    text = f"convert it, for example with numpy's astype({dtype.name!r}) and reshape"
    others = [
        f"{_described(kind, shape)} ({shorten(subnets, 3)})"
        for (other, kind, shape), subnets in takers.items()
        if other == name
    ]
    return f"{text}; subnets take {shorten(others, 6)}" if others else text


def _span(array: Array) -> tuple[int, int]:
    start = int(array.__array_interface__["data"][0])
    return start, start + array.nbytes


def _described(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"
