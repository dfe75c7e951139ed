"""The once-for-all authors' own networks, from their package ``ofa``: what ours must equal.

Their package imports torchvision for its data loaders only, and torchvision exists for few builds
of torch. So it stands in here as an empty module while theirs is imported.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

__all__ = ["authors_module", "draw"]

_ABSENT = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


class _Absent(types.ModuleType):
    """Has every class that is asked of it; they are derived from, and never made."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def _without_torchvision() -> Iterator[None]:
    names = (*_ABSENT, "torchvision.datasets")
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        module = sys.modules[name] = _Absent(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def authors_module(name: str) -> Any:
    """``ofa.imagenet_classification.elastic_nn.NAME``; skips where ``ofa`` is not installed."""
    try:
        import ofa  # noqa: F401
    except ImportError:
        pytest.skip("the authors' package is not installed: pip install --no-deps --group oracle")
    with _without_torchvision(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"ofa.imagenet_classification.elastic_nn.{name}")


def draw(network: nn.Module, seed: int) -> nn.Module:
    """Random weights, batch norms that matter, and transformations that are no identity."""
    generator = torch.Generator().manual_seed(seed)
    ranges = {"running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5)}
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            last = name.rpartition(".")[2]
            if last in ranges:
                tensor.uniform_(*ranges[last], generator=generator)
            elif "matrix" in last:
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
            elif tensor.dim() > 1:
                scale = (2 / tensor[0].numel()) ** 0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
            elif last == "weight":
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif last == "bias":
                tensor.uniform_(-0.3, 0.3, generator=generator)
    return network.eval()
