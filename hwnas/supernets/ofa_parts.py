"""The blocks of once-for-all networks in torch.

One class serves for the whole network, at its largest sizes, and for every block cut out of it.
Names of parameters are those of the authors' static networks, which are also those of their
elastic ones once doubled parts (``bn.bn``, ``conv.conv``) are taken as one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Bottleneck",
    "ElasticKernel",
    "Inverted",
    "Pooled",
    "Residual",
    "Squeeze",
    "conv_norm",
]

_ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hswish": nn.Hardswish}


class ElasticKernel(nn.Conv2d):
    """A depthwise convolution whose smaller kernels are made from the larger ones.

    The centre of a kernel, flattened, is multiplied by a matrix that all channels share, which
    gives the next smaller kernel (arXiv:1908.09791, section 3.3). The smaller kernels are tensors
    of their own, ``kernel5`` and ``kernel3``, so that a block can take the first channels of one
    as they lie in memory; :meth:`update` makes them again from ``weight``.
    """

    def __init__(self, channels: int, kernels: Sequence[int], stride: int) -> None:
        largest = max(kernels)
        super().__init__(
            channels, channels, largest, stride, largest // 2, groups=channels, bias=False
        )
        self._steps = tuple(pairwise(sorted(kernels, reverse=True)))
        for larger, smaller in self._steps:
            self.register_parameter(
                f"{larger}to{smaller}_matrix", nn.Parameter(torch.eye(smaller**2))
            )
            self.register_buffer(f"kernel{smaller}", torch.empty(channels, 1, smaller, smaller))

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the tensors that :meth:`update` makes."""
        return tuple(f"kernel{smaller}" for _, smaller in self._steps)

    def reset_matrices(self) -> None:
        """Have each smaller kernel be the larger one's centre, scaled to keep its energy."""
        with torch.no_grad():
            for larger, smaller in self._steps:
                matrix = self.get_parameter(f"{larger}to{smaller}_matrix")
                nn.init.eye_(matrix).mul_(larger / smaller)

    @torch.no_grad()
    def update(self) -> None:
        """Make the smaller kernels, in place."""
        kernel: Tensor = self.weight
        for larger, smaller in self._steps:
            edge = (larger - smaller) // 2
            centre = kernel[:, :, edge : edge + smaller, edge : edge + smaller]
            matrix = self.get_parameter(f"{larger}to{smaller}_matrix")
            kernel = self.get_buffer(f"kernel{smaller}")
            kernel.copy_(F.linear(centre.flatten(1), matrix).view_as(kernel))


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    activation: str | None = None,
    epsilon: float = 1e-5,
) -> nn.Sequential:
    """A convolution and a batch norm, ``conv`` and ``bn``, and perhaps an activation, ``act``."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return _normed(conv, activation, epsilon)


def _normed(conv: nn.Conv2d, activation: str | None, epsilon: float) -> nn.Sequential:
    parts = OrderedDict[str, nn.Module](
        conv=conv, bn=nn.BatchNorm2d(conv.out_channels, eps=epsilon)
    )
    if activation is not None:
        parts["act"] = _ACTIVATIONS[activation]()
    return nn.Sequential(parts)


class Squeeze(nn.Module):
    """Squeeze and excitation: channels weighted by what all pixels say together."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, middle, 1),
                relu=nn.ReLU(),
                expand=nn.Conv2d(middle, channels, 1),
                sigmoid=nn.Hardsigmoid(),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        weights: Tensor = self.fc(F.adaptive_avg_pool2d(x, 1))
        return x * weights


class Inverted(nn.Module):
    """Expand, depthwise convolution, project.

    Args:
        inputs, middle, outputs: channels; ``middle`` equal to ``inputs`` with ``expands`` false
            leaves out the first convolution.
        kernels: of the depthwise convolution; several make it an :class:`ElasticKernel`.
        stride: of it.
        squeeze: middle channels of squeeze and excitation, 0 for none.
        activation, epsilon: of all but the last convolution; of all batch norms.
        expands: whether there is a first convolution.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        kernels: Sequence[int],
        stride: int,
        squeeze: int,
        activation: str,
        epsilon: float,
        expands: bool = True,
    ) -> None:
        super().__init__()
        self.inverted_bottleneck = (
            conv_norm(inputs, middle, activation=activation, epsilon=epsilon) if expands else None
        )
        kernel = max(kernels)
        conv: nn.Conv2d
        if len(kernels) > 1:
            conv = ElasticKernel(middle, kernels, stride)
        else:
            conv = nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False)
        self.depth_conv = _normed(conv, activation, epsilon)
        self.squeezes = squeeze > 0
        if squeeze:
            self.depth_conv.add_module("se", Squeeze(middle, squeeze))
        self.point_linear = conv_norm(middle, outputs, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Channels ``inputs`` to ``outputs``."""
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
        y: Tensor = self.point_linear(self.depth_conv(x))
        return y


class Residual(nn.Module):
    """``conv``, and its input added if ``adds``."""

    def __init__(self, conv: nn.Module, adds: bool) -> None:
        super().__init__()
        self.conv = conv
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        """What ``conv`` gives, with ``x`` or without."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut, which pools and projects where ``projects`` is set."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, stride: int, projects: bool, epsilon: float
    ) -> None:
        super().__init__()
        self.conv1 = conv_norm(inputs, middle, activation="relu", epsilon=epsilon)
        self.conv2 = conv_norm(middle, middle, 3, stride, "relu", epsilon)
        self.conv3 = conv_norm(middle, outputs, epsilon=epsilon)
        self.pool = (
            nn.AvgPool2d(stride, stride, ceil_mode=True) if projects and stride > 1 else None
        )
        self.downsample = conv_norm(inputs, outputs, epsilon=epsilon) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Channels ``inputs`` to ``outputs``."""
        y = self.conv3(self.conv2(self.conv1(x)))
        if self.pool is not None:
            x = self.pool(x)
        if self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class Pooled(nn.Module):
    """``before``, then the mean over all pixels: (batch, channels, 1, 1), or flat."""

    def __init__(self, before: nn.Module | None, flat: bool) -> None:
        super().__init__()
        self.before = before
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        """The mean over all pixels."""
        if self.before is not None:
            x = self.before(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return x.flatten(1) if self.flat else x
