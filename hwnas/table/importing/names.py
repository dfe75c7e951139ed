"""How Once-for-All's latency tables call layers (their key is the layer's whole description)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from hwnas.errors import TableError
from hwnas.table.importing.layers import Layer

__all__ = ["Dialect", "dialect_of", "entry_names"]

Dialect = Literal["mobilenet", "proxyless"]
"""MobileNetV3's tables give the middle channels, and price pooling, the layer after it and the
classifier each; ProxylessNAS's give the expansion ratio, and price all that follows the last
convolution as one."""

_INVERTED = "expanded_conv-"


def dialect_of(keys: Collection[str]) -> Dialect:
    """Which of the two a table is in.

    Raises:
        TableError: it has no inverted residual, or is in both.
    """
    inverted = [key for key in keys if key.startswith(_INVERTED)]
    mobile = [key for key in inverted if "-hs:" in key]
    if not inverted:
        raise TableError(
            f"there is no layer whose name begins with {_INVERTED}",
            "give latency tables of Once-for-All networks",
        )
    if mobile and len(mobile) < len(inverted):
        raise TableError(
            "some layers are named as in tables of MobileNetV3, others as in those of ProxylessNAS",
            "import tables of one network at a time",
        )
    return "mobilenet" if mobile else "proxyless"


def entry_names(
    blocks: Mapping[str, Sequence[Layer]], dialect: Dialect
) -> dict[str, tuple[str, ...]]:
    """The keys of the entries whose sum is each block's latency.

    None where another block's entry holds it: ``Logits`` of ProxylessNAS is of the block that
    pools, and has the classifier in it.

    Raises:
        TableError: a block holds nothing that such a table prices.
    """
    classes = {
        layers[-1].output[-1]
        for layers in blocks.values()
        if layers and layers[-1].kind == "linear"
    }
    if dialect == "proxyless" and len(classes) != 1:
        raise TableError(
            "which of the network's blocks is the classifier cannot be told",
            "give a table that names the classifier's own latency, or measure: hwnas profile",
        )
    found = {}
    for block, layers in blocks.items():
        if not layers:
            raise TableError(
                f"{block} holds nothing that such a table prices", "measure: hwnas profile"
            )
        if dialect == "mobilenet":
            found[block] = _mobilenet(layers)
        else:
            found[block] = _proxyless(layers, min(classes))
    return found


def _mobilenet(layers: Sequence[Layer]) -> tuple[str, ...]:
    names = []
    for i, layer in enumerate(layers):
        if layer.kind == "inverted":
            flags = {"idskip": layer.residual, "se": layer.squeeze, "hs": layer.gated}
            names.append(_inverted(layer, layer.middle, flags))
        elif layer.kind == "pool":
            names.append(_name("AvgPool2D", layer.input, (1, 1, layer.input[-1])))
        elif layer.kind == "conv":
            names.append(_name(_conv(layers, i), layer.input, layer.output))
        elif layer.gated:  # the layer before the classifier, as a matrix product
            names.append(_name("Conv_2", _pixel(layer.input), _pixel(layer.output)))
        else:
            names.append(_name("Logits", _pixel(layer.input), layer.output[-1:]))
    return tuple(names)


def _proxyless(layers: Sequence[Layer], classes: int) -> tuple[str, ...]:
    names = []
    for i, layer in enumerate(layers):
        if layer.kind == "inverted":
            ratio = round(layer.middle / layer.input[-1])
            names.append(_inverted(layer, ratio, {"idskip": layer.residual}))
        elif layer.kind == "pool":
            names.append(_name("Logits", layer.input, (classes,)))
        elif layer.kind == "conv":
            names.append(_name(_conv(layers, i), layer.input, layer.output))
    return tuple(names)


def _conv(layers: Sequence[Layer], i: int) -> str:
    """``Conv`` with a kernel, ``Conv_1`` before the pooling, ``Conv_2`` after it."""
    if layers[i].kernel > 1:
        return "Conv"
    before = any(layer.kind == "pool" for layer in layers[i:])
    pooled = layers[i].input[:2] == (1, 1)
    return "Conv_1" if before or not pooled else "Conv_2"


def _inverted(layer: Layer, expand: int, flags: Mapping[str, bool]) -> str:
    name = _name(_INVERTED[:-1], layer.input, layer.output)
    name += f"-expand:{expand}-kernel:{layer.kernel}-stride:{layer.stride}"
    return name + "".join(f"-{flag}:{int(value)}" for flag, value in flags.items())


def _name(kind: str, given: Sequence[int], made: Sequence[int]) -> str:
    return f"{kind}-input:{'x'.join(map(str, given))}-output:{'x'.join(map(str, made))}"


def _pixel(shape: Sequence[int]) -> tuple[int, ...]:
    return (1, 1, shape[-1])
