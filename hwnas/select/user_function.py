"""Functions of the user's own, named as ``package.module:fn`` or ``path/file.py:fn``."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hwnas.errors import UsageError
from hwnas.files import sha256_file
from hwnas.usercode import attribute, import_source, parse, user_code

__all__ = ["UserFunction", "load_function"]

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

    Raises:
        UsageError: no such file, module or function.
        HwnasError: its code fails; names the line.
    """
    parsed = parse(reference)
    if parsed is None:
        raise UsageError(f"{reference!r} does not name a function", _FORMS)
    with user_code(reference):
        module = import_source(parsed, _FORMS)
        function = attribute(module, parsed, "function", callable)
    if not callable(function):
        raise UsageError(f"{reference} is a {type(function).__name__}, no function", _FORMS)
    found = cast(Callable[..., Any], function)
    try:
        inspect.signature(found).bind(None, None)
    except TypeError as error:
        raise UsageError(
            f"{reference} cannot be called with a subnet and a bundle: {error}",
            "let it take these two: def fn(subnet, bundle)",
        ) from error
    except ValueError:
        pass  # a builtin without a signature: calling it tells
    return UserFunction(f"{parsed.source}:{parsed.name}", found, _source_hash(module, found))


def _source_hash(module: ModuleType, function: object) -> str:
    """Hash of the function's source file, and of the file that it is named in if that differs."""
    origin = sys.modules.get(getattr(function, "__module__", "") or "", module)
    files = {getattr(found, "__file__", None) for found in (module, origin)}
    digest = hashlib.sha256()
    for file in sorted(Path(found) for found in files if found):
        digest.update(sha256_file(file).encode())
    return digest.hexdigest()
