"""Functions of the user's own, named as ``package.module:fn`` or ``path/file.py:fn``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

import hwnas
from hwnas.errors import HwnasError, UnknownName, UsageError
from hwnas.files import sha256_file

__all__ = ["UserFunction", "load_function", "user_error"]

_FORMS = "write package.module:fn or path/file.py:fn"


@dataclass(frozen=True)
class UserFunction:
    """A function and where it came from.

    Attributes:
        name: the reference without the folder of a file.
        function: itself.
        source_sha256: of its source file; files that this one imports do not count.
    """

    name: str
    function: Callable[..., Any]
    source_sha256: str


def load_function(reference: str) -> UserFunction:
    """Import the function that ``reference`` names; this runs the code of its file.

    The folder of a file, or the current folder for a module, is put on ``sys.path`` and stays
    there, because the function may import its neighbours when it is called.

    Raises:
        UsageError: no such file, module or function.
        HwnasError: its code fails; names the line.
    """
    where, colon, name = reference.rpartition(":")
    if not (colon and where and name):
        raise UsageError(f"{reference!r} does not name a function", _FORMS)
    module = _import(where, reference)
    function = getattr(module, name, None)
    if function is None:
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownName(f"function in {Path(where).name}:", name, public)
    if not callable(function):
        raise UsageError(f"{reference} is a {type(function).__name__}, no function", _FORMS)
    found = cast(Callable[..., Any], function)
    return UserFunction(f"{Path(where).name}:{name}", found, _source_hash(module, found))


def _source_hash(module: ModuleType, function: object) -> str:
    """Hash of the function's source file, and of the file that it is named in if that differs."""
    origin = sys.modules.get(getattr(function, "__module__", "") or "", module)
    files = {getattr(found, "__file__", None) for found in (module, origin)}
    digest = hashlib.sha256()
    for file in sorted(Path(found) for found in files if found):
        digest.update(sha256_file(file).encode())
    return digest.hexdigest()


def _import(where: str, reference: str) -> ModuleType:
    is_file = where.endswith(".py") or "/" in where
    path = Path(where).resolve()
    if is_file and not path.is_file():
        raise UsageError(f"there is no file {where}", f"check the path; {_FORMS}")
    if not is_file and not all(part.isidentifier() for part in where.split(".")):
        raise UsageError(f"{where!r} is not the name of a module", _FORMS)
    folder = str(path.parent if is_file else Path.cwd())
    if folder not in sys.path:
        # First for a file, as Python does for a script; last for a module, which may be installed.
        sys.path.insert(0 if is_file else len(sys.path), folder)
    try:
        return _import_file(path) if is_file else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if is_file or not error.name or not f"{where}.".startswith(f"{error.name}."):
            raise user_error(reference, error) from error
        raise UsageError(f"there is no module {error.name!r}", _FORMS) from error
    except HwnasError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(reference, error) from error


class _FromSource(SourceFileLoader):
    """Runs the source whose hash is taken: byte code of an earlier one can pass as this one's."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(path: Path) -> ModuleType:
    # A name of its own, so that two files called quality.py do not meet.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"_hwnas_user_function_{path.stem}_{digest}"
    loader = _FromSource(name, str(path))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def user_error(what: str, error: BaseException) -> HwnasError:
    """One error that shows the innermost line of the user's own code that led to ``error``."""
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        last = ([f for f in frames if not _is_library(f.filename)] or list(frames))[-1]
        where = f"{last.filename}:{last.lineno}"
    said = traceback.format_exception_only(error)[-1].strip()
    return HwnasError(f"{what} fails at {where}: {said}", "correct that line")


def _is_library(filename: str) -> bool:
    package = Path(hwnas.__file__).parent
    prefixes = (package, Path(sys.base_prefix) / "lib", Path(sys.prefix) / "lib")
    return filename.startswith("<") or any(Path(filename).is_relative_to(p) for p in prefixes)
