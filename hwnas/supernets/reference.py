"""Supernet references: the text by which a network is named on the command line.

Three forms: ``FAMILY:VARIANT`` (a registered family, such as ``vit:s16``), ``package.module:attr``
and ``path/file.py:attr``. The attribute is a supernet, or a callable without arguments that
returns one. Naming a module or a file runs its code, as importing it does; weights are read as
plain tensors and run nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

from hwnas import plugins
from hwnas.errors import SupernetError, UsageError
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.weights import load_weights
from hwnas.usercode import Reference, attribute, import_source, parse, user_code

__all__ = ["load", "portable_reference"]

_FORMS = "write FAMILY:VARIANT (such as vit:s16), package.module:attr or path/file.py:attr"
_MEMBERS = ("space", "block", "example_inputs", "state_dict", "load_state_dict")


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
    parsed = parse(reference)
    if parsed is None:
        raise UsageError(f"{reference!r} is not a reference to a supernet", _FORMS)
    if not parsed.is_file and parsed.where in plugins.names(plugins.SUPERNETS):
        family = plugins.load(plugins.SUPERNETS, parsed.where)
        with user_code(reference, SupernetError):
            found = family(parsed.name)
    else:
        with user_code(reference, SupernetError):
            module = import_source(parsed, _FORMS, _no_module)
            found = _called(_attribute(module, parsed), reference)
    supernet = _checked(found, reference)
    if weights is not None:
        load_weights(supernet, weights)
    return supernet


def portable_reference(reference: str) -> str | None:
    """What may be written into a bundle: no folder of this machine; None if there is no name."""
    parsed = parse(reference)
    return None if parsed is None else f"{parsed.source}:{parsed.name}"


def _no_module(name: str) -> UsageError:
    families = ", ".join(plugins.names(plugins.SUPERNETS)) or "none"
    return UsageError(
        f"there is no module {name!r}, and no supernet family of that name",
        f"run this from the folder that holds it, or {_FORMS}; families: {families}",
    )


def _attribute(module: ModuleType, parsed: Reference) -> object:
    def defined_here(value: object) -> bool:
        return getattr(value, "__module__", None) == module.__name__

    return attribute(module, parsed, "name", defined_here)


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
    with user_code(reference, SupernetError):
        space = found.space
    if not isinstance(space, Space):
        raise SupernetError(
            f"{reference} has a space that is a {type(space).__name__}",
            "make it a hwnas.space.Space",
        )
    with user_code(reference, SupernetError):
        state = found.state_dict()
    if not isinstance(state, Mapping):
        raise SupernetError(
            f"{reference} has a state_dict() that returns a {type(state).__name__}",
            "return a mapping of names to tensors",
        )
    return cast(Supernet, found)
