"""The native backend: whether this installation has it, and opening a bundle with it.

Nothing here imports onnxruntime: the native switcher loads its C library by itself.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import (
    BundleError,
    HwnasError,
    InputError,
    NewerSchema,
    OtherMachine,
    UnknownName,
    UnsafePath,
    UsageError,
)

if TYPE_CHECKING:
    from hwnas.runtime._native import Switcher as NativeSwitcher

__all__ = ["LIBRARY", "error", "native_missing", "open_native", "runtime_library"]

LIBRARY = "HWNAS_ONNXRUNTIME"
"""Environment variable: path of the ONNX Runtime library to use."""

_ERRORS: dict[int, type[HwnasError]] = {
    1: UsageError,
    2: BundleError,
    3: NewerSchema,
    4: UnsafePath,
    5: OtherMachine,
    6: UnknownName,
    7: InputError,
}
"""Exception of each code in ``switcher.h``; codes that are not here give HwnasError."""

_OUT_OF_MEMORY = 9


def error(code: int, cause: str, fix: str) -> Exception:
    """The exception for a status code of the C interface.

    Out of memory is Python's own ``MemoryError``, as it is when NumPy runs out of it.
    """
    if code == _OUT_OF_MEMORY:
        return MemoryError(f"{cause}; {fix}")
    kind = _ERRORS.get(code, HwnasError)
    found = kind.__new__(kind)  # subclasses build their text from other arguments
    HwnasError.__init__(found, cause, fix)
    return found


def runtime_library() -> Path | None:
    """The ONNX Runtime library that the native backend loads, None if there is none.

    The one that the environment's ``HWNAS_ONNXRUNTIME`` names, else that of the installed
    onnxruntime package, which is found without importing it.

    Raises:
        UsageError: ``HWNAS_ONNXRUNTIME`` names something that is not a file.
    """
    named = os.environ.get(LIBRARY)
    if named:
        if not Path(named).is_file():
            raise UsageError(
                f"{LIBRARY} is {named!r}, which is not a file",
                "set it to the path of libonnxruntime.so, or unset it",
            )
        return Path(named)
    spec = importlib.util.find_spec("onnxruntime")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        found = sorted(Path(folder, "capi").glob("libonnxruntime.so*"))
        if found:
            return found[-1]
    return None


def native_missing() -> str | None:
    """Why the native backend cannot be used here, with what to do about it; None if it can.

    Raises:
        UsageError: as :func:`runtime_library`.
    """
    try:
        from hwnas.runtime import _native
    except ImportError as problem:
        return f"the extension cannot be loaded ({problem}); reinstall hwnas"
    if not _native.has_switcher:
        return (
            "this hwnas was built without the native switcher; install a wheel that has it, or "
            "build it again where ONNX Runtime's C headers are installed"
        )
    if runtime_library() is None:
        return (
            "the ONNX Runtime library was not found; install onnxruntime, or set "
            f"{LIBRARY} to the path of libonnxruntime.so"
        )
    return None


def open_native(path: Path, *, subnet: str, threads: int, verify: bool) -> NativeSwitcher:
    """Open the bundle at ``path`` with the native core, which checks all of it by itself.

    Raises:
        UsageError: :func:`native_missing` gives a reason, or another number of threads than this
            process already uses.
        BundleError: missing, cut off, altered, of another form, or finalised for another machine
            (OtherMachine).
    """
    reason = native_missing()
    if reason is not None:
        cause, _, fix = reason.partition("; ")
        raise UsageError(f"the native backend is not available: {cause}", fix)
    from hwnas.runtime import _native

    library = runtime_library()
    return _native.Switcher(
        path, runtime_library=library, subnet=subnet, threads=threads, verify=verify
    )
