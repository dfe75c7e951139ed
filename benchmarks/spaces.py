"""The two spaces on which predictions are judged: a transformer and a convolutional network.

Weights are random: latency and memory do not depend on their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from staged import Squeeze, Stage, Staged, conv
from torch import Tensor, nn

from hwnas.supernets.sorted_vit import SortedViT, from_variant

__all__ = ["ElasticMobileNet", "mobilenet", "vit"]

_KERNELS = (3, 5, 7)
_EXPANSIONS = (3, 4, 6)
# Smallest first: the expansion weighs more than the kernel.
_SIZES = {f"k{k}e{e}": (k, e) for e in _EXPANSIONS for k in _KERNELS}


def vit() -> SortedViT:
    """ViT-S/16 at 197 tokens: 1 to 12 layers, four feed-forward widths, 2, 4 or 6 heads.

    144 subnets, of 14 kinds of blocks.
    """
    return from_variant("s16-elastic")


def mobilenet() -> ElasticMobileNet:
    """The once-for-all space over MobileNetV3-Large: 10^19 subnets, of 92 kinds of blocks."""
    return ElasticMobileNet()


class ElasticMobileNet(Staged):
    """Inverted residuals whose number, kernel and expansion are elastic.

    What is elastic is what once-for-all networks have elastic (arXiv:1908.09791): 2 to 4 blocks in
    each of five stages, kernels of 3, 5 and 7, expansion by 3, 4 and 6 in each block on its own.

    A smaller expansion takes the first channels of the largest. A smaller kernel has weights of
    its own, since the centre of a kernel does not lie in one piece.
    """

    def __init__(self) -> None:
        make = partial(_Inverted, kernels=_KERNELS, expansion=_EXPANSIONS[-1])
        super().__init__(make, tuple(_SIZES))

    def part(self, module: nn.Module, choice: str) -> nn.Module:
        """One kernel, and the first channels."""
        if isinstance(module, _Inverted):
            return module.part(*_SIZES[choice])
        return module


class _Inverted(nn.Module):
    """Expand, depthwise convolution, project; a residual where the shape stays.

    Has depthwise weights for each of ``kernels`` and runs with those of the first.
    """

    def __init__(self, inputs: int, stage: Stage, kernels: Sequence[int], expansion: int) -> None:
        super().__init__()
        middle = expansion * inputs
        self.sizes = (inputs, stage)
        self.residual = stage.stride == 1 and inputs == stage.width
        self.expand = conv(inputs, middle, 1)
        self.depthwise = nn.ModuleDict(
            {f"k{k}": conv(middle, middle, k, stage.stride, groups=middle) for k in kernels}
        )
        self.squeeze = Squeeze(middle) if stage.squeeze else nn.Identity()
        self.project = conv(middle, stage.width, 1)
        self.activation = stage.activation()

    def forward(self, x: Tensor) -> Tensor:
        """Channels ``inputs`` to the stage's width."""
        depthwise = next(iter(self.depthwise.values()))
        y: Tensor = self.activation(self.expand(x))
        y = self.squeeze(self.activation(depthwise(y)))
        y = self.project(y)
        return x + y if self.residual else y

    def part(self, kernel: int, expansion: int) -> _Inverted:
        """One kernel and the first channels: every tensor is a leading part of one of these."""
        inputs, stage = self.sizes
        with torch.device("meta"):
            part = _Inverted(inputs, stage, (kernel,), expansion)
        full = self.state_dict()
        parts = {
            name: full[name][tuple(slice(size) for size in tensor.shape)]
            for name, tensor in part.state_dict().items()
        }
        part.load_state_dict(parts, assign=True)
        return part
