"""Which of a predictor's features each block of a once-for-all network sets.

Orders of features: the authors' ``ofa/tutorial/accuracy_predictor.py`` and
``ofa/nas/accuracy_predictor/arch_encoder.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hwnas.errors import UsageError
from hwnas.select.quality.features import OneHot
from hwnas.space import Space

__all__ = ["Layout", "library_layout", "tutorial_layout"]

_KERNELS, _EXPANDS = ("3", "5", "7"), ("3", "4", "6")
_RESNET_EXPANDS = ("20", "25", "35")
_PER_STAGE = 4
_BASE_DEPTHS, _EXTRA_DEPTH = (2, 2, 4, 2), 2
_WIDTHS, _WIDTH_INDICES = 6, 3
_TUTORIAL_RESOLUTIONS = tuple(range(112, 240, 16))
_AUTHORS_RESOLUTIONS: Mapping[int, tuple[int, ...]] = {
    1: (224,),
    4: (128, 160, 192, 224),
    8: (128, 144, 160, 176, 192, 224, 240, 256),
}
"""By their number: the encoders' default, the data set's default, and the ResNet tutorial's."""
_STAGE = re.compile(r"stage(\d+)\.(\d+)")
_MOBILE = re.compile(r"k(\d+)e(\d+)")
_RESNET = re.compile(r"e(\d+)")
_SKIPPED_STEM = "stem.1"


@dataclass(frozen=True)
class Layout:
    """How subnets are described to a predictor.

    Attributes:
        name: for people: form, network and resolutions.
        one_hot: the features of each block.
    """

    name: str
    one_hot: OneHot


class _Block(NamedTuple):
    """A block of a stage: what it is called, where it is, and its sizes as written."""

    slot: str
    written: str
    stage: int
    place: int
    sizes: tuple[str, ...]


def tutorial_layout(source: str, space: Space) -> Layout:
    """The layout of the tutorial's form.

    Raises:
        UsageError: ``space`` is not the one over MobileNetV3, or has a resolution that is unknown.
    """
    blocks = _blocks(source, space, _MOBILE)
    if any(block.stage >= 5 for block in blocks):
        raise _other(source, "it is for the networks over MobileNetV3 alone")
    columns = _mobile_columns(source, blocks, 5 * _PER_STAGE, 0)
    names = {size: 120 + i for i, size in enumerate(_TUTORIAL_RESOLUTIONS)}
    _add(source, space, columns, {"r": names})
    return Layout("tutorial, MobileNetV3", OneHot(120 + len(names), columns))


def library_layout(
    source: str, space: Space, inputs: int, resolutions: Sequence[int] | None
) -> Layout:
    """The layout of the library's form.

    Args:
        source: of the predictor, for messages.
        space: of the ``ofa`` family.
        inputs: features that the predictor reads.
        resolutions: that it was trained at; by default told by their number.

    Raises:
        UsageError: the predictor is of another network, its resolutions are not known, or the
            space has one that it does not know.
    """
    resnet = any(dimension.name == "w0" for dimension in space.dimensions)
    blocks = _blocks(source, space, _RESNET if resnet else _MOBILE)
    proxyless = any(block.stage == 5 for block in blocks)
    places = sum(_BASE_DEPTHS) + 4 * _EXTRA_DEPTH if resnet else 5 * _PER_STAGE + proxyless
    others = 2 + _WIDTHS * _WIDTH_INDICES + 3 * places if resnet else 6 * places
    network = "ResNet50" if resnet else "ProxylessNAS" if proxyless else "MobileNetV3"
    sizes = _resolutions(source, network, inputs - others, resolutions)
    known = {size: i for i, size in enumerate(sizes)}
    absent = {}
    if resnet:
        start = len(sizes)
        widths = start + 2
        columns = _resnet_columns(source, blocks, widths + _WIDTHS * _WIDTH_INDICES)
        absent = {_SKIPPED_STEM: start}
        for written in space.written(_SKIPPED_STEM):
            columns[_SKIPPED_STEM, written] = [start + 1]
        values = {
            f"w{i}": {w: widths + _WIDTH_INDICES * i + w for w in range(_WIDTH_INDICES)}
            for i in range(_WIDTHS)
        }
        _add(source, space, columns, {"r": known, **values})
    else:
        columns = _mobile_columns(source, blocks, places, len(sizes))
        _add(source, space, columns, {"r": known})
    listed = ", ".join(map(str, sizes))
    return Layout(f"library, {network}, at {listed}", OneHot(inputs, columns, absent))


def _other(source: str, why: str) -> UsageError:
    return UsageError(
        f"{source} is not for this network: {why}",
        "give the accuracy predictor that was trained for it, or fit one: hwnas quality fit",
    )


def _resolutions(
    source: str, network: str, count: int, given: Sequence[int] | None
) -> tuple[int, ...]:
    if count < 1:
        raise _other(source, f"it reads fewer features than {network} has")
    found = tuple(given) if given is not None else _AUTHORS_RESOLUTIONS.get(count, ())
    if len(found) != count or len(set(found)) != count:
        raise UsageError(
            f"{source} was trained at {count} resolutions, if it is for {network}, and "
            f"{len(found) or 'they'} are {'given' if found else 'not known'}",
            "list them in its order after its name: FILE@160,176,192",
        )
    return found


def _blocks(source: str, space: Space, pattern: re.Pattern[str]) -> list[_Block]:
    found = []
    for slot, written in space.blocks:
        place = _STAGE.fullmatch(slot)
        if place is not None:
            sizes = pattern.fullmatch(space.read(slot, written)[0])
            if sizes is None:
                raise _other(source, f"there is no choice {written} in once-for-all networks")
            number = int(place[1]), int(place[2])
            found.append(_Block(slot, written, *number, sizes.groups()))
    if not found:
        raise _other(source, "this is no once-for-all network, it has no slots stage0.0 ...")
    return found


def _mobile_columns(
    source: str, blocks: Sequence[_Block], places: int, start: int
) -> dict[tuple[str, str], list[int]]:
    columns = {}
    for block in blocks:
        place = block.stage * _PER_STAGE + block.place
        if block.place >= _PER_STAGE or place >= places:
            raise _other(source, f"it knows no block {block.slot}")
        kernel, expand = block.sizes
        if kernel not in _KERNELS or expand not in _EXPANDS:
            raise _other(source, f"it knows no block {block.slot}/{block.written}")
        first = start + 3 * place
        columns[block.slot, block.written] = [
            first + _KERNELS.index(kernel),
            first + 3 * places + _EXPANDS.index(expand),
        ]
    return columns


def _resnet_columns(
    source: str, blocks: Sequence[_Block], start: int
) -> dict[tuple[str, str], list[int]]:
    lengths = [base + _EXTRA_DEPTH for base in _BASE_DEPTHS]
    columns = {}
    for block in blocks:
        if block.stage >= len(lengths) or block.place >= lengths[block.stage]:
            raise _other(source, f"it knows no block {block.slot}")
        if block.sizes[0] not in _RESNET_EXPANDS:
            raise _other(source, f"it knows no block {block.slot}/{block.written}")
        place = sum(lengths[: block.stage]) + block.place
        expand = _RESNET_EXPANDS.index(block.sizes[0])
        columns[block.slot, block.written] = [start + 3 * place + expand]
    return columns


def _add(
    source: str,
    space: Space,
    columns: dict[tuple[str, str], list[int]],
    features: Mapping[str, Mapping[int, int]],
) -> None:
    """Add the features of dimensions to every block that depends on them."""
    values = {dimension.name: dimension.values for dimension in space.dimensions}
    for name, known in features.items():
        unknown = [value for value in values.get(name, ()) if value not in known]
        if name not in values or unknown:
            what = ", ".join(f"{name}={value}" for value in unknown) or f"no dimension {name}"
            raise UsageError(
                f"{source} knows {name} = {', '.join(map(str, known))}; the space has {what}",
                "compile the network with values that it knows (--resolution), or give another",
            )
    for slot, written in space.blocks:
        at = space.read(slot, written)[1]
        added = [features[name][value] for name, value in at.items() if name in features]
        columns[slot, written] = [*columns.get((slot, written), ()), *added]
