"""Sizes of the once-for-all networks (arXiv:1908.09791), and their spaces. Needs no torch.

Widths, strides and activations are those of MobileNetV3-Large (arXiv:1905.02244, table 1),
ProxylessNAS (arXiv:1812.00332) and ResNet-50 with a deep stem (arXiv:1812.01187); which of them
are elastic, and how numbers of channels are rounded, is as in the authors' networks, so that their
checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.errors import SupernetError
from hwnas.space import Dimension, PrefixDepth, Rule, Slot, Space

__all__ = [
    "RESOLUTION",
    "MobileConfig",
    "ResNetConfig",
    "Stage",
    "make_divisible",
    "mobile_space",
    "mobilenet_v3",
    "proxyless",
    "resnet50",
    "resnet_space",
]

RESOLUTION = "r"
"""Name of the dimension that is the input's height and width in pixels."""
_LEAST_RESOLUTION = 32


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to ``value``, at least one and not below nine tenths."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


@dataclass(frozen=True)
class Stage:
    """Inverted residuals of one width.

    Attributes:
        width: channels that its blocks give.
        stride: of its first block.
        squeeze: whether its blocks have squeeze and excitation.
        activation: ``relu``, ``relu6`` or ``hswish``.
        depths: numbers of blocks to choose from, smallest first.
    """

    width: int
    stride: int
    squeeze: bool
    activation: str
    depths: tuple[int, ...]


@dataclass(frozen=True)
class MobileConfig:
    """Sizes of an elastic network of inverted residuals.

    Attributes:
        stem: channels after the first convolution; ``first`` after the block that follows it.
        stages: in order.
        expand: channels that the last block's are expanded to before pooling; 0 if that layer is
            the one that gives ``last``.
        last: channels that the classifier reads.
        first_activation, activation: of the first block; of stem and last layers.
        first_adds: whether the first block adds its input.
        epsilon: of every batch norm.
        kernels, expands: of every block of a stage, smallest first.
        classes: of the answer.

    Raises:
        SupernetError: values that are not listed once each, smallest first.
    """

    stem: int
    first: int
    stages: tuple[Stage, ...]
    expand: int
    last: int
    first_activation: str
    activation: str
    first_adds: bool
    epsilon: float
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 4, 6)
    classes: int = 1000

    def __post_init__(self) -> None:
        _ordered("kernels", self.kernels)
        _ordered("expands", self.expands)
        for stage in self.stages:
            _ordered("depths", stage.depths)
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise SupernetError(f"kernels is {self.kernels}", "use odd sizes")

    @property
    def slots(self) -> tuple[tuple[str, Stage, int, int], ...]:
        """Slots of the stages: name, stage, channels read and stride."""
        found = []
        before = self.first
        for index, stage in enumerate(self.stages):
            for i in range(stage.depths[-1]):
                found.append((f"stage{index}.{i}", stage, before, stage.stride if i == 0 else 1))
                before = stage.width
        return tuple(found)

    @property
    def choices(self) -> dict[str, tuple[int, int]]:
        """Kernel and expansion of each choice of a stage's slots, smallest first."""
        return {f"k{k}e{e}": (k, e) for e in self.expands for k in self.kernels}


@dataclass(frozen=True)
class ResNetConfig:
    """Sizes of an elastic network of bottlenecks.

    Attributes:
        widths: to multiply all channels with, smallest first. Each of the six dimensions ``w0``
            to ``w5`` (inside the stem, after it, and of each stage) is an index into it.
        expands: of middle channels over those that a block gives, smallest first.
        extra_depths: blocks beyond ``base_depths``, smallest first.
        base_depths, stage_widths: of each stage.
        stem: channels after the stem.
        classes: of the answer.
        epsilon: of every batch norm.

    Raises:
        SupernetError: values that are not listed once each, smallest first.
    """

    widths: tuple[float, ...] = (0.65, 0.8, 1.0)
    expands: tuple[float, ...] = (0.2, 0.25, 0.35)
    extra_depths: tuple[int, ...] = (0, 1, 2)
    base_depths: tuple[int, ...] = (2, 2, 4, 2)
    stage_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    stem: int = 64
    classes: int = 1000
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _ordered("widths", self.widths)
        _ordered("expands", self.expands)
        _ordered("extra_depths", self.extra_depths, least=0)

    @property
    def channels(self) -> tuple[tuple[int, ...], ...]:
        """Channels at each index of each of the dimensions, ``w0`` first."""
        after = [make_divisible(self.stem * width) for width in self.widths]
        inside = [make_divisible(channels // 2) for channels in after]
        stages = [[make_divisible(base * w) for w in self.widths] for base in self.stage_widths]
        return tuple(map(tuple, [inside, after, *stages]))

    @property
    def slots(self) -> tuple[tuple[str, int, int, int], ...]:
        """Slots of the stages: name, dimensions (as numbers) read and given, and stride."""
        found = []
        for index, base in enumerate(self.base_depths):
            for i in range(base + self.extra_depths[-1]):
                first = i == 0
                stride = 2 if first and index > 0 else 1
                found.append((f"stage{index}.{i}", index + 2 - first, index + 2, stride))
        return tuple(found)

    @property
    def choices(self) -> dict[str, float]:
        """Expansion of each choice of a stage's slots, smallest first."""
        return {f"e{round(100 * expand)}": expand for expand in self.expands}


def _ordered(what: str, values: Sequence[float], least: float = 1e-9) -> None:
    """Raise :class:`SupernetError` unless ``values`` are listed once each, smallest first."""
    if not values or list(values) != sorted(set(values)) or values[0] < least:
        raise SupernetError(
            f"{what} is {tuple(values)}", "list numbers above zero, each once, smallest first"
        )


def mobilenet_v3(
    width: float = 1.0,
    kernels: Sequence[int] = (3, 5, 7),
    expands: Sequence[int] = (3, 4, 6),
    depths: Sequence[int] = (2, 3, 4),
    classes: int = 1000,
) -> MobileConfig:
    """The space over MobileNetV3-Large, all channels multiplied by ``width``."""
    bases = (24, 40, 80, 112, 160)
    strides = (2, 2, 2, 1, 2)
    squeezes = (False, True, False, True, True)
    activations = ("relu", "relu", "hswish", "hswish", "hswish")
    parts = zip(bases, strides, squeezes, activations, strict=True)
    return MobileConfig(
        stem=make_divisible(16 * width),
        first=make_divisible(16 * width),
        stages=tuple(
            Stage(make_divisible(base * width), stride, squeeze, activation, tuple(depths))
            for base, stride, squeeze, activation in parts
        ),
        expand=make_divisible(960 * width),
        last=make_divisible(1280 * width),
        first_activation="relu",
        activation="hswish",
        first_adds=True,
        epsilon=1e-5,
        kernels=tuple(kernels),
        expands=tuple(expands),
        classes=classes,
    )


def proxyless(
    width: float = 1.3,
    kernels: Sequence[int] = (3, 5, 7),
    expands: Sequence[int] = (3, 4, 6),
    depths: Sequence[int] = (2, 3, 4),
    classes: int = 1000,
) -> MobileConfig:
    """The space over ProxylessNAS, all channels multiplied by ``width``; stage 5 is one block."""
    bases = (24, 40, 80, 96, 192, 320)
    strides = (2, 2, 2, 1, 2, 1)
    numbers = (*(tuple(depths) for _ in range(5)), (1,))
    return MobileConfig(
        stem=make_divisible(32 * width),
        first=make_divisible(16 * width),
        stages=tuple(
            Stage(make_divisible(base * width), stride, False, "relu6", number)
            for base, stride, number in zip(bases, strides, numbers, strict=True)
        ),
        expand=0,
        last=make_divisible(1280 * width),
        first_activation="relu6",
        activation="relu6",
        first_adds=False,
        epsilon=1e-3,
        kernels=tuple(kernels),
        expands=tuple(expands),
        classes=classes,
    )


def resnet50(
    widths: Sequence[float] = (0.65, 0.8, 1.0),
    expands: Sequence[float] = (0.2, 0.25, 0.35),
    extra_depths: Sequence[int] = (0, 1, 2),
    classes: int = 1000,
) -> ResNetConfig:
    """The space over ResNet-50."""
    return ResNetConfig(tuple(widths), tuple(expands), tuple(extra_depths), classes=classes)


def _resolution(values: Sequence[int]) -> Dimension:
    _ordered("the list of resolutions", values)
    if values[0] < _LEAST_RESOLUTION:
        raise SupernetError(
            f"a resolution of {values[0]} pixels is less than the network's stride",
            f"use {_LEAST_RESOLUTION} or more",
        )
    return Dimension(name=RESOLUTION, values=tuple(values))


def mobile_space(config: MobileConfig, resolutions: Sequence[int]) -> Space:
    """Slots ``stem``, ``stage{i}.{j}``, ``final`` (up to pooling) and ``head``.

    Raises:
        SupernetError: resolutions that are too small, or not listed once each, smallest first.
    """
    at = (RESOLUTION,)
    stages = [name for name, *_ in config.slots]
    rules: list[Rule] = []
    for index, stage in enumerate(config.stages):
        if stage.depths != (1,):
            names = tuple(name for name in stages if name.startswith(f"stage{index}."))
            rules.append(PrefixDepth(name=f"d{index}_", slots=names, depths=stage.depths))
    return Space(
        slots=(
            Slot(name="stem", dimensions=at, reads=("image",)),
            *(Slot(name=n, choices=tuple(config.choices), dimensions=at) for n in stages),
            Slot(name="final", dimensions=at, writes=("pooled",)),
            Slot(name="head", reads=("pooled",), writes=("logits",)),
        ),
        rules=tuple(rules),
        dimensions=(_resolution(resolutions),),
        inputs=("image",),
        outputs=("logits",),
    )


def resnet_space(config: ResNetConfig, resolutions: Sequence[int]) -> Space:
    """Slots ``stem.0`` to ``stem.2``, ``stage{i}.{j}``, ``final`` (pooling) and ``head``.

    ``stem.1`` is there or not, by the depth rule ``stem``; depths of the rules ``d{i}_`` are
    numbers of blocks. Dimensions are ``r`` and the widths ``w0`` to ``w5``.

    Raises:
        SupernetError: as :func:`mobile_space`.
    """
    numbers = range(len(config.channels))
    last = f"w{numbers[-1]}"
    rules: list[Rule] = [
        PrefixDepth(
            name="stem",
            slots=("stem.1",),
            # The authors' depth of the stem is the largest extra depth, or any other for none.
            depths=(0, 1) if len(config.extra_depths) > 1 else (1,),
        )
    ]
    slots = [
        Slot(name="stem.0", dimensions=(RESOLUTION, "w0"), reads=("image",)),
        Slot(name="stem.1", dimensions=(RESOLUTION, "w0")),
        Slot(name="stem.2", dimensions=(RESOLUTION, "w0", "w1")),
    ]
    for name, read, given, _ in config.slots:
        widths = dict.fromkeys((f"w{read}", f"w{given}"))
        slots.append(
            Slot(name=name, choices=tuple(config.choices), dimensions=(RESOLUTION, *widths))
        )
    for index, base in enumerate(config.base_depths):
        names = tuple(slot.name for slot in slots if slot.name.startswith(f"stage{index}."))
        depths = tuple(base + extra for extra in config.extra_depths)
        rules.append(PrefixDepth(name=f"d{index}_", slots=names, depths=depths))
    return Space(
        slots=(
            *slots,
            Slot(name="final", dimensions=(RESOLUTION, last), writes=("pooled",)),
            Slot(name="head", dimensions=(last,), reads=("pooled",), writes=("logits",)),
        ),
        rules=tuple(rules),
        dimensions=(
            _resolution(resolutions),
            *(Dimension(name=f"w{i}", values=tuple(range(len(config.widths)))) for i in numbers),
        ),
        inputs=("image",),
        outputs=("logits",),
    )
