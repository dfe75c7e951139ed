"""The accuracy predictors that once-for-all's authors published or trained (arXiv:1908.09791).

A multi-layer perceptron over a one-hot description of the subnet. There are two forms, told apart
by the names of their tensors:

    tutorial   ``0.weight`` (400, 128) ... ``6.weight`` (1, 400), each with a bias. Features: kernel
               of 20 blocks, expansion of 20 blocks, resolution 112 + 16 i for i below 8.
               For the spaces over MobileNetV3.
    library    ``layers.0.0.weight``, ..., the last layer without a bias, and ``base_acc``, which is
               added. Features: resolution, then kernel and expansion of each block; or for ResNet
               resolution, stem, width indices and expansion of each block.

A library's file does not say which resolutions it was trained at. Their number tells, for the
lists that the authors use; others are given after the file's name: ``acc.pth@160,176,192``.
What is predicted is as good as that predictor: nothing is measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.select.protocol import Progress
from hwnas.select.quality.ofa_layout import Layout, library_layout, tutorial_layout
from hwnas.select.quality.torch_file import read_state_dict
from hwnas.space import Space, Subnet
from hwnas.weights import map_weights

__all__ = ["SUFFIXES", "AccuracyPredictor"]

SUFFIXES = (".pth", ".pt", ".safetensors")
_TUTORIAL = re.compile(r"(\d+)\.(weight|bias)")
_LIBRARY = re.compile(r"layers\.(\d+)\.(?:0\.)?(weight|bias)")
_Array = NDArray[np.float32]


class AccuracyPredictor:
    """A perceptron that was trained elsewhere. Immutable. Follows ``Quality``.

    Args:
        source: where it is from.
        layers: weight (outputs, inputs) and bias (outputs,) of each, in order.
        layout: which features a subnet has.

    Raises:
        UsageError: layers that do not fit each other.
    """

    kind = "accuracy predictor"
    costly = False

    def __init__(
        self, source: str, layers: Sequence[tuple[_Array, _Array]], layout: Layout
    ) -> None:
        width = layout.one_hot.width
        for number, (weight, bias) in enumerate(layers):
            if weight.shape[1:] != (width,) or bias.shape != weight.shape[:1]:
                raise UsageError(
                    f"{source}: layer {number} has a weight of shape {weight.shape} and a bias of "
                    f"shape {bias.shape}, after {width} values",
                    "give the state dict of an accuracy predictor",
                )
            width = len(weight)
        if width != 1:
            raise UsageError(f"{source} gives {width} numbers", "give one that predicts accuracy")
        self.source = f"{source} ({layout.name})"
        self._layers = tuple((np.ascontiguousarray(weight.T), bias) for weight, bias in layers)
        self._one_hot = layout.one_hot

    @classmethod
    def read(
        cls, path: Path, space: Space, resolutions: Sequence[int] | None = None
    ) -> AccuracyPredictor:
        """Read the predictor at ``path``; this runs nothing of it.

        Args:
            path: ``.pth``, ``.pt`` or ``.safetensors``.
            space: of the ``ofa`` family; whose subnets are rated.
            resolutions: that it was trained at, in the order of its features.

        Raises:
            UsageError: it is damaged, no such predictor, of another network, or does not know a
                resolution that the space has.
            BundleError: a damaged ``.safetensors``.
        """
        tensors = _tensors(path)
        source = f"{cls.kind} {path.name}"
        library = "base_acc" in tensors
        layers = _layers(source, tensors, _LIBRARY if library else _TUTORIAL)
        if not library:
            if resolutions is not None:
                raise UsageError(
                    f"{path} is of the tutorial's form, whose resolutions are known",
                    f"give it without them: {path}",
                )
            return cls(source, layers, tutorial_layout(source, space))
        weight, bias = layers[-1]
        base = tensors["base_acc"]
        if base.size != 1 or bias.size != 1:
            raise UsageError(
                f"{source} has a base_acc of {base.size} numbers",
                "give the state dict of an accuracy predictor",
            )
        layers[-1] = (weight, bias + base.reshape(1))
        inputs = layers[0][0].shape[1]
        return cls(source, layers, library_layout(source, space, inputs, resolutions))

    def rated(self) -> None:
        """None: any subnet can be predicted."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Predict; takes some 10 us for each, so ``progress`` hears nothing.

        Raises:
            UsageError: a prediction is not finite.
        """
        values = self._one_hot.matrix(subnets, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for number, (weight, bias) in enumerate(self._layers):
                values = (np.maximum(values, 0) if number else values) @ weight + bias
        found: list[float] = values[:, 0].astype(np.float64).tolist()
        wrong = np.flatnonzero(~np.isfinite(values[:, 0]))
        if wrong.size:
            name, value = subnets[int(wrong[0])].name, found[int(wrong[0])]
            raise UsageError(f"{self.source} predicts {value} for {name}", "give another predictor")
        return found


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() != ".safetensors":
        return read_state_dict(path)
    if not path.is_file():
        raise UsageError(f"cannot read {path}: no such file", "check its path")
    return map_weights(path)


def _layers(
    source: str, tensors: Mapping[str, NDArray[Any]], pattern: re.Pattern[str]
) -> list[tuple[_Array, _Array]]:
    found: dict[int, dict[str, _Array]] = {}
    for name, tensor in tensors.items():
        match = pattern.fullmatch(name)
        if match is not None:
            array = np.asarray(tensor, dtype=np.float32)
            if not np.isfinite(array).all():
                raise UsageError(f"{source}: tensor {name} is not finite", "give another predictor")
            found.setdefault(int(match[1]), {})[match[2]] = array
        elif name != "base_acc":
            found.clear()
            break
    layers = [found[number] for number in sorted(found)]
    if not layers or not all("weight" in layer and layer["weight"].ndim == 2 for layer in layers):
        raise UsageError(
            f"{source} is no accuracy predictor of once-for-all: it has the tensors "
            f"{', '.join(sorted(tensors)[:4])} ...",
            "give the state dict of one: 0.weight ... 6.bias, or layers.0.0.weight ... base_acc",
        )
    # Only the library's last layer has no bias; a bias that is missing elsewhere is of no layer.
    last = len(layers) - 1
    library = pattern is _LIBRARY
    return [
        (layer["weight"], layer.get("bias", np.zeros(1 if library and i == last else 0, "f4")))
        for i, layer in enumerate(layers)
    ]
