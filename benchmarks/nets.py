"""The networks that the benchmarks run: two transformers, a tiny one and a convolutional one.

Weights are random: latency and memory do not depend on their values.
"""

from __future__ import annotations

from staged import Squeeze, Stage, Staged, conv
from torch import Tensor, nn

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


class MobileNet(Staged):
    """Inverted residuals with squeeze and excitation; only the depth of the stages is elastic.

    243 subnets, one for each combination of stage depths.
    """

    def __init__(self) -> None:
        super().__init__(_Inverted)


class _Inverted(nn.Module):
    """Expand by 4, depthwise convolution, project; a residual where the shape stays."""

    def __init__(self, inputs: int, stage: Stage) -> None:
        super().__init__()
        middle = 4 * inputs
        self.residual = stage.stride == 1 and inputs == stage.width
        self.body = nn.Sequential(
            conv(inputs, middle, 1),
            stage.activation(),
            conv(middle, middle, stage.kernel, stage.stride, groups=middle),
            stage.activation(),
            *([Squeeze(middle)] if stage.squeeze else []),
            conv(middle, stage.width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Channels ``inputs`` to the stage's width."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y
