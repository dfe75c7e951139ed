"""The networks that the benchmarks run: two transformers, a tiny one and a convolutional one.

Weights are random: latency and memory do not depend on their values.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwnas.errors import UnknownName
from hwnas.space import PrefixDepth, Slot, Space
from hwnas.supernets.sorted_vit import SortedViT, ViTConfig

__all__ = ["MobileNet", "cnn", "t12", "t24", "tiny"]


def t12() -> SortedViT:
    """12 layers of width 384 at 197 tokens: ViT-S/16."""
    return SortedViT(ViTConfig(224, 16, 3, 1000, 384, 6, (1536,), tuple(range(1, 13))))


def t24() -> SortedViT:
    """24 layers of width 1024 at 197 tokens: ViT-L/16."""
    return SortedViT(ViTConfig(224, 16, 3, 1000, 1024, 16, (4096,), tuple(range(1, 25))))


def tiny() -> SortedViT:
    """4 layers of width 64 at 17 tokens: every hop shows."""
    return SortedViT(ViTConfig(32, 8, 3, 10, 64, 4, (256,), (1, 2, 3, 4)))


def cnn() -> MobileNet:
    """A MobileNetV3-like network at 224 with elastic depth in five stages."""
    return MobileNet()


class MobileNet(nn.Module):
    """Inverted residuals with squeeze and excitation; 2 to 4 blocks in each of five stages.

    Widths, strides and kernels are those of MobileNetV3-Large (arXiv:1905.02244, table 1) as
    once-for-all networks use them: 243 subnets, one for each combination of stage depths.
    """

    _STAGES = (
        # width, kernel, stride, squeeze and excitation, activation
        (24, 3, 2, False, nn.ReLU),
        (40, 5, 2, True, nn.ReLU),
        (80, 3, 2, False, nn.Hardswish),
        (112, 3, 1, True, nn.Hardswish),
        (160, 5, 2, True, nn.Hardswish),
    )

    def __init__(self, image: int = 224, classes: int = 1000, seed: int = 0) -> None:
        super().__init__()
        self.image = image
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.modules_of = nn.ModuleDict({"stem": stem()})
            slots = [Slot(name="stem", reads=("image",), writes=("x",))]
            rules = []
            before = 16
            for index, (width, kernel, stride, squeeze, activation) in enumerate(self._STAGES):
                names = tuple(f"stage{index}.{i}" for i in range(4))
                for i, name in enumerate(names):
                    self.modules_of[name.replace(".", "_")] = _Inverted(
                        before, width, kernel, stride if i == 0 else 1, squeeze, activation
                    )
                    before = width
                slots += [Slot(name=name) for name in names]
                rules.append(PrefixDepth(name=f"d{index}_", slots=names, depths=(2, 3, 4)))
            self.modules_of["head"] = head(before, classes)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    draw_statistics(module)
        slots.append(Slot(name="head", reads=("x",), writes=("logits",)))
        self.space = Space(
            slots=tuple(slots), rules=tuple(rules), inputs=("image",), outputs=("logits",)
        )

    def block(self, slot: str, choice: str) -> nn.Module:
        """The module at ``slot``."""
        if choice != "base":
            raise UnknownName(f"choice at {slot}", choice, ["base"])
        return self.modules_of[slot.replace(".", "_")].eval()

    def example_inputs(self) -> Mapping[str, Tensor]:
        """``image``: float32 (1, 3, image, image)."""
        size = (1, 3, self.image, self.image)
        return {"image": torch.randn(size, generator=torch.Generator().manual_seed(0))}


def draw_statistics(norm: nn.BatchNorm2d) -> None:
    """Statistics as after training: with those of a fresh network, folding would be trivial."""
    for tensor, low, high in ((norm.running_mean, -0.1, 0.1), (norm.running_var, 0.5, 1.5)):
        if tensor is not None:
            nn.init.uniform_(tensor, low, high)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


def stem() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2),
        nn.Hardswish(),
        conv(16, 16, 3, groups=16),
        nn.ReLU(),
        conv(16, 16, 1),
    )


def head(inputs: int, classes: int) -> nn.Module:
    return nn.Sequential(
        conv(inputs, 960, 1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(960, 1280, 1),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(1280, classes),
    )


class Squeeze(nn.Module):
    """Squeeze and excitation: each channel scaled by what the whole image says of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 4, 1),
            nn.ReLU(),
            nn.Conv2d(width // 4, width, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        gate: Tensor = self.gate(x)
        return x * gate


class _Inverted(nn.Module):
    """Expand by 4, depthwise convolution, project; a residual where the shape stays."""

    def __init__(
        self,
        inputs: int,
        width: int,
        kernel: int,
        stride: int,
        squeeze: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        middle = 4 * inputs
        self.residual = stride == 1 and inputs == width
        self.body = nn.Sequential(
            conv(inputs, middle, 1),
            activation(),
            conv(middle, middle, kernel, stride, groups=middle),
            activation(),
            *([Squeeze(middle)] if squeeze else []),
            conv(middle, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Channels ``inputs`` to ``width``."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y
