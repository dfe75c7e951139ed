"""Reading a supernet's weights: tensors only, nothing that could run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hwnas.errors import SupernetError, UsageError, shorten
from hwnas.supernets.protocol import Supernet

__all__ = ["load_weights", "read_weights"]

_TORCH = (".pt", ".pth")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
"""How a file of torch's begins, since version 1.6 and before."""
_HEADER = 8
"""Bytes before the header of a safetensors file, which is JSON."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, from a safetensors file or one that torch wrote.

    A file of another ending, or of none, is taken for what its first bytes say. A state dict may
    lie under ``state_dict`` in what torch wrote, beside other things.

    Raises:
        UsageError: no such file, or another kind of file.
        SupernetError: the file is damaged, or holds anything but plain tensors with numbers in
            them and names that can be shown.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no weights file {path}",
            f"check the path; it may be .safetensors or what torch wrote, as {', '.join(_TORCH)}",
        )
    kind = _kind(path)
    if kind is None:
        raise UsageError(
            f"weights file {path} is neither .safetensors nor {' nor '.join(_TORCH)}",
            "save the state dict with safetensors.torch.save_file",
        )
    try:
        if kind == "safetensors":
            return _plain(load_file(path), path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except SupernetError:
        raise
    except Exception as error:
        raise SupernetError(
            f"{path} cannot be read as plain tensors: it is damaged, another kind of file, or "
            "holds code, which is never run",
            "get it again if it was downloaded; else save the state dict with "
            "safetensors.torch.save_file",
        ) from error
    return _tensors(loaded, path)


def _kind(path: Path) -> str | None:
    if path.suffix == ".safetensors":
        return "safetensors"
    if path.suffix in _TORCH:
        return "torch"
    with path.open("rb") as stream:
        begin = stream.read(_HEADER + 1)
    if begin.startswith((_ZIP, _PICKLE)):
        return "torch"
    return "safetensors" if begin[_HEADER:] == b"{" else None


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise SupernetError(
            f"{path} holds a {type(loaded).__name__}, not a state dict",
            "save model.state_dict() itself",
        )
    others = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others:
        raise SupernetError(
            f"{path} holds entries that are not tensors: {shorten(others)}",
            "save model.state_dict() itself",
        )
    return _plain({str(name): value for name, value in loaded.items()}, path)


def _plain(found: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """``found``, if it holds nothing that would be copied as something else, or not at all."""
    strange = [
        repr(name)
        for name, tensor in found.items()
        if not name.isprintable()
        or tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.is_complex()
        or tensor.is_meta
    ]
    if strange:
        raise SupernetError(
            f"{path} holds what is no plain tensor of real numbers: {shorten(strange)}",
            "save dense tensors, not quantised, under names that can be shown",
        )
    unknown = [n for n, t in found.items() if t.is_floating_point() and bool(t.isnan().any())]
    if unknown:
        raise SupernetError(
            f"{path} holds values that are no numbers (NaN): {shorten(unknown)}",
            "give the weights of a training that did not diverge",
        )
    return found


def load_weights(supernet: Supernet, path: Path) -> None:
    """Load the state dict at ``path`` into ``supernet``.

    Raises:
        UsageError, SupernetError: as :func:`read_weights`.
        SupernetError: tensors are missing, unknown or of another shape; all are named.
    """
    given = read_weights(path)
    wanted = supernet.state_dict()
    differences = _differences(wanted, given)
    whole = [
        f"{name} is {str(given[name].dtype).removeprefix('torch.')}"
        for name, tensor in wanted.items()
        if name in given and given[name].is_floating_point() != tensor.is_floating_point()
    ]
    if whole:
        # Copied as they are, whole numbers of a quantised network would pass for its weights.
        raise SupernetError(
            f"{path} does not fit the supernet: {shorten(whole)}",
            "give weights of the types that the network has",
        )
    try:
        result = supernet.load_state_dict(given)
    except SupernetError as error:
        # A family that takes other names too knows best what does not fit.
        raise SupernetError(
            f"{path} does not fit the supernet: {error.cause}", error.fix
        ) from error
    except Exception as error:
        # Asked only now: a family may take an older checkpoint's names by remapping them itself.
        raise SupernetError(
            f"{path} does not fit the supernet: {differences or error}",
            "give the weights that were trained for this network and these sizes",
        ) from error
    left_out = list(getattr(result, "missing_keys", ()))
    if left_out:
        raise SupernetError(
            f"{path} does not fit the supernet: it lacks {shorten(left_out)}",
            "give the weights that were trained for this network and these sizes",
        )


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    lacks = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    parts = [
        f"it lacks {shorten(lacks)}" if lacks else "",
        f"it has the unknown {shorten(unknown)}" if unknown else "",
        shorten(shapes) if shapes else "",
    ]
    return "; ".join(part for part in parts if part)
