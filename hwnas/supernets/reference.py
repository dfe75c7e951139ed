"""Supernet references: the text by which a network is named on the command line.

Three forms: ``FAMILY:VARIANT`` (a registered family, such as ``vit:s16``), ``package.module:attr``
and ``path/file.py:attr``. The attribute is a supernet, or a callable without arguments that
returns one. Naming a module or a file runs its code, as importing it does; weights are read as
plain tensors and run nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from torch import nn

import hwnas
from hwnas import plugins
from hwnas.errors import HwnasError, SupernetError, UnknownName, UsageError
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.weights import load_weights

__all__ = ["load", "portable_reference"]

_FORMS = "write FAMILY:VARIANT (such as vit:s16), package.module:attr or path/file.py:attr"
_MEMBERS = ("space", "block", "example_inputs", "state_dict", "load_state_dict")


@dataclass(frozen=True)
class _Reference:
    form: Literal["family", "module", "file"]
    where: str
    name: str


def load(reference: str, weights: Path | None = None) -> Supernet:
    """Return the supernet that ``reference`` names, with ``weights`` if they are given.

    Args:
        reference: in one of the forms above.
        weights: a ``.safetensors``, ``.pt`` or ``.pth`` file with the supernet's state dict.

    Raises:
        UsageError: a reference in no known form, or to a family, file or name that does not exist.
        SupernetError: the user's code fails (with the line that did), what it gives is not a
            supernet, or the weights are not this network's.
    """
    parsed = _parse(reference)
    if parsed.form == "family":
        family = plugins.load(plugins.SUPERNETS, parsed.where)
        with _user_code(reference):
            found = family(parsed.name)
    else:
        _extend_search_path(parsed)
        with _user_code(reference):
            module = _import_file(parsed) if parsed.form == "file" else _import_module(parsed)
            found = _called(_attribute(module, parsed), reference)
    supernet = _checked(found, reference)
    if weights is not None:
        load_weights(supernet, weights)
    return supernet


def portable_reference(reference: str) -> str | None:
    """What may be written into a bundle: no folder of this machine; None if there is no name."""
    try:
        parsed = _parse(reference)
    except UsageError:
        return None
    if parsed.form == "file":
        return f"{Path(parsed.where).name}:{parsed.name}"
    return reference


def _parse(reference: str) -> _Reference:
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{reference!r} is not a reference to a supernet", _FORMS)
    if where.endswith(".py") or "/" in where:
        return _Reference("file", where, name)
    if where in plugins.names(plugins.SUPERNETS):
        return _Reference("family", where, name)
    return _Reference("module", where, name)


def _extend_search_path(parsed: _Reference) -> None:
    """Let the user's code import its neighbours: first for a file, as Python does for a script.

    The folder stays on the path, because a supernet may import a neighbour when it is used.
    """
    folder = str(Path(parsed.where).resolve().parent if parsed.form == "file" else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0 if parsed.form == "file" else len(sys.path), folder)


@contextmanager
def _user_code(reference: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one error that shows the line it comes from."""
    try:
        yield
    except HwnasError:
        raise
    except (Exception, SystemExit) as error:
        where, said = _user_line(error), traceback.format_exception_only(error)[-1].strip()
        raise SupernetError(f"{reference} fails at {where}: {said}", "correct that line") from error


def _user_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not _is_library(frame.filename)]
    last = (users or list(frames))[-1]
    return f"{last.filename}:{last.lineno}"


def _is_library(filename: str) -> bool:
    package = Path(hwnas.__file__).parent
    prefixes = (package, Path(sys.base_prefix) / "lib", Path(sys.prefix) / "lib")
    return filename.startswith("<") or any(Path(filename).is_relative_to(p) for p in prefixes)


def _import_file(parsed: _Reference) -> ModuleType:
    path = Path(parsed.where)
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "check the path; " + _FORMS)
    # A name of its own, so that two files called model.py do not meet.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_hwnas_user_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", _FORMS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(parsed: _Reference) -> ModuleType:
    try:
        return importlib.import_module(parsed.where)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if parsed.where != missing and not parsed.where.startswith(f"{missing}."):
            raise
        families = ", ".join(plugins.names(plugins.SUPERNETS)) or "none"
        raise UsageError(
            f"there is no module {missing!r}, and no supernet family of that name",
            f"run this from the folder that holds it, or {_FORMS}; families: {families}",
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{parsed.where!r} is not the name of a module", _FORMS) from error


def _attribute(module: ModuleType, parsed: _Reference) -> object:
    if hasattr(module, parsed.name):
        return cast(object, getattr(module, parsed.name))
    public = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    what = Path(parsed.where).name if parsed.form == "file" else parsed.where
    raise UnknownName(f"name in {what}:", parsed.name, public)


def _called(found: object, reference: str) -> object:
    if not callable(found) or isinstance(found, nn.Module):
        return found
    if not isinstance(found, type) and not _missing_members(found):
        return found
    make = cast("Callable[[], object]", found)
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise SupernetError(
            f"{reference} cannot be called without arguments: {error}",
            "name a function without arguments that returns the supernet",
        ) from error
    except ValueError:
        pass  # A builtin without a signature: calling it tells.
    return make()


def _missing_members(found: object) -> list[str]:
    # Statically first: a property such as `space` is not to be computed only to see that it is.
    missing = object()
    return [
        name
        for name in _MEMBERS
        if inspect.getattr_static(found, name, missing) is missing and not hasattr(found, name)
    ]


def _checked(found: Any, reference: str) -> Supernet:
    missing = _missing_members(found)
    if missing:
        raise SupernetError(
            f"{reference} gives a {type(found).__name__}, which is not a supernet: "
            f"it has no {', '.join(missing)}",
            "add what is missing; hwnas.supernets.protocol says what each must do",
        )
    with _user_code(reference):
        space = found.space
    if not isinstance(space, Space):
        raise SupernetError(
            f"{reference} has a space that is a {type(space).__name__}",
            "make it a hwnas.space.Space",
        )
    with _user_code(reference):
        state = found.state_dict()
    if not isinstance(state, Mapping):
        raise SupernetError(
            f"{reference} has a state_dict() that returns a {type(state).__name__}",
            "return a mapping of names to tensors",
        )
    return cast(Supernet, found)
