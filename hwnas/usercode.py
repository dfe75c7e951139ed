"""Code of the user's own, named as ``package.module:attr`` or ``path/file.py:attr``.

Importing it runs it. It runs as its source says: byte code of an earlier source can pass as this
one's (same size, same second), and results are kept under the hash of the source.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

from hwnas.errors import HwnasError, UnknownName, UsageError

__all__ = ["Reference", "attribute", "import_source", "parse", "user_code"]

_MODULE = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True)
class Reference:
    """What a reference says.

    Attributes:
        where: path of a file, or dotted name of a module.
        name: of the attribute.
        is_file: which of the two ``where`` is.
    """

    where: str
    name: str
    is_file: bool

    @property
    def source(self) -> str:
        """``where`` without the folder of a file."""
        return Path(self.where).name if self.is_file else self.where


def parse(reference: str) -> Reference | None:
    """Take ``reference`` apart; None if it is in neither form."""
    where, colon, name = reference.rpartition(":")
    if not (colon and where and name):
        return None
    return Reference(where, name, is_file=where.endswith(".py") or "/" in where)


def import_source(
    reference: Reference, forms: str, no_module: Callable[[str], UsageError] | None = None
) -> ModuleType:
    """Import the file or module of ``reference``; this runs its code, in :func:`user_code`.

    The folder of a file (first, as Python does for a script), or the current folder for a module
    (last, for the module may be installed), is put on ``sys.path`` and stays there, because the
    code may import its neighbours when it is called.

    Args:
        reference: whose ``where`` is imported.
        forms: says what can be written; it is the fix, or a part of it.
        no_module: makes the error for a missing module of that name; a plain one by default.

    Raises:
        UsageError: no such file or module.
        Exception: whatever the code raises; of a failed import no module stays.
    """
    path = Path(reference.where).resolve()
    if reference.is_file:
        if not path.is_file():
            raise UsageError(f"there is no file {reference.where}", f"check the path; {forms}")
        if path.suffix != ".py":
            raise UsageError(f"{reference.where} is not a Python file", forms)
        _extend_search_path(path.parent, 0)
        return _import_file(path, reference.name)
    if not _MODULE.fullmatch(reference.where):
        raise UsageError(f"{reference.where!r} is not the name of a module", forms)
    _extend_search_path(Path.cwd(), len(sys.path))
    try:
        return _import_module(reference.where)
    except ModuleNotFoundError as error:
        # It may also be one that the user's code imports: that is the code's own failure.
        if not error.name or not f"{reference.where}.".startswith(f"{error.name}."):
            raise
        if no_module is not None:
            raise no_module(error.name) from error
        raise UsageError(f"there is no module {error.name!r}", forms) from error


def attribute(
    module: ModuleType, reference: Reference, what: str, listed: Callable[[object], bool]
) -> object:
    """The attribute of ``module`` that ``reference`` names.

    Raises:
        UnknownName: there is none; names those public ones whose value is to be ``listed``.
    """
    if hasattr(module, reference.name):
        return cast(object, getattr(module, reference.name))
    known = [n for n, v in vars(module).items() if not n.startswith("_") and listed(v)]
    raise UnknownName(f"{what} in {reference.source}:", reference.name, known)


@contextmanager
def user_code(what: str, kind: type[HwnasError] = HwnasError) -> Iterator[None]:
    """Turn whatever the user's code raises into one error.

    Args:
        what: is run, for the message.
        kind: of that error.

    Raises:
        HwnasError: of ``kind``, with the innermost line of the user's own code that led to it;
            an error of hwnas itself passes through.
    """
    try:
        yield
    except HwnasError:
        raise
    except (Exception, SystemExit) as error:
        said = traceback.format_exception_only(error)[-1].strip()
        raise kind(f"{what} fails at {_user_line(error)}: {said}", "correct that line") from error


def _user_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = ([f for f in frames if not _is_library(f.filename)] or list(frames))[-1]
    return f"{last.filename}:{last.lineno}"


def _is_library(filename: str) -> bool:
    prefixes = (Path(__file__).parent, Path(sys.base_prefix) / "lib", Path(sys.prefix) / "lib")
    return filename.startswith("<") or any(Path(filename).is_relative_to(p) for p in prefixes)


def _extend_search_path(folder: Path, position: int) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(position, str(folder))


class _FromSource(SourceFileLoader):
    """Compiles the source itself, and neither reads nor writes byte code."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class _SourceFinder:
    """Finds one module where the other finders do, and has it run from its source."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((found for found in specs if found is not None), None)
        # A subclass has its own way of making the code, such as one that rewrites assertions.
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        return spec


def _import_module(name: str) -> ModuleType:
    finder = _SourceFinder(name)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


def _import_file(path: Path, attribute_name: str) -> ModuleType:
    # A name of its own, so that two files called model.py do not meet, nor a network and a
    # function of one file, of which each has its own run of the file.
    digest = hashlib.sha256(f"{path}:{attribute_name}".encode()).hexdigest()[:12]
    name = f"_hwnas_user_{path.stem}_{digest}"
    loader = _FromSource(name, str(path))
    spec = cast(ModuleSpec, importlib.util.spec_from_file_location(name, path, loader=loader))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
