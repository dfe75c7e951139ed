"""The once-for-all authors' package ``ofa``, without what it imports and does not need here."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["evolution_finder", "network"]

_ABSENT = (
    "tqdm",
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.datasets",
)


class _Absent(types.ModuleType):
    """Has every name that is asked of it: a class, or a function that returns its argument."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return (lambda items, **_: items) if name == "tqdm" else type(name, (), {})


@contextmanager
def _stand_ins() -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in _ABSENT}
    for name in _ABSENT:
        sys.modules[name] = _Absent(name)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def network() -> Any:
    """MobileNetV3 (w1.0) as the authors construct it, with weights as they initialise them."""
    with _stand_ins():
        networks = importlib.import_module("ofa.imagenet_classification.elastic_nn.networks")
    return networks.OFAMobileNetV3(
        dropout_rate=0,
        width_mult=1.0,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )


def evolution_finder() -> Any:
    """The class ``EvolutionFinder`` of the authors' tutorial, from its own file."""
    files = importlib.metadata.files("ofa") or []
    path = next(file for file in files if str(file) == "ofa/tutorial/evolution_finder.py")
    spec = importlib.util.spec_from_file_location("ofa_evolution_finder", path.locate())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _stand_ins():
        spec.loader.exec_module(module)
    return module.EvolutionFinder
