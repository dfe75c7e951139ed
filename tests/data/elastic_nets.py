"""Supernets with dimensions, for tests: elastic resolution, and elastic width between slots."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hwnas.space import Dimension, PrefixDepth, Slot, Space

RESOLUTIONS = (8, 12, 16)


class Resolutions(nn.Module):
    """Convolutions, one or two deep, on images of three sizes, then a layer of elastic width.

    Returns logits, and what the convolutions give, which is as large as the image.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.body = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
            self.mlp = nn.ParameterList([nn.Parameter(torch.randn(32, 16) / 4) for _ in range(2)])
            self.head = nn.Linear(16, 4)
        names = tuple(f"body.{i}" for i in range(2))
        self.space = Space(
            slots=(
                Slot(name="stem", dimensions=("r",), reads=("image",), writes=("map",)),
                *(Slot(name=n, dimensions=("r",), reads=("map",), writes=("map",)) for n in names),
                Slot(name="pool", dimensions=("r",), reads=("map",)),
                Slot(name="mlp", choices=("h16", "h32")),
                Slot(name="head", writes=("logits",)),
            ),
            rules=(PrefixDepth(slots=names, depths=(1, 2)),),
            dimensions=(Dimension(name="r", values=RESOLUTIONS),),
            inputs=("image",),
            outputs=("logits", "map"),
        )

    def example_inputs(self, at: Mapping[str, int]) -> dict[str, torch.Tensor]:
        return {"image": torch.ones(1, 3, at["r"], at["r"])}

    def block(self, slot: str, choice: str) -> nn.Module:
        if slot == "stem":
            return nn.Sequential(self.stem, nn.ReLU())
        if slot == "pool":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        if slot == "mlp":
            return _MLP(self.mlp, int(choice[1:]))
        if slot == "head":
            return self.head
        return _Residual(self.body[int(slot[-1])])


class _Residual(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.conv(x))


class _MLP(nn.Module):
    def __init__(self, weights: nn.ParameterList, width: int) -> None:
        super().__init__()
        self.weights = weights
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up, down = (weight[: self.width] for weight in self.weights)
        return x + torch.relu(x @ up.T) @ down


def resolutions() -> Resolutions:
    return Resolutions()


class Widths(nn.Module):
    """Two linear layers whose width between them is elastic: both slots must agree on it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.up = nn.Linear(8, 32)
            self.down = nn.Linear(32, 8)
        self.space = Space(
            slots=(
                Slot(name="up", dimensions=("w",)),
                Slot(name="down", dimensions=("w",)),
                Slot(name="head"),
            ),
            dimensions=(Dimension(name="w", values=(16, 32)),),
        )

    def example_inputs(self, at: Mapping[str, int]) -> dict[str, torch.Tensor]:
        return {"x": torch.linspace(-1, 1, 16).reshape(2, 8)}

    def block(self, slot: str, choice: str) -> nn.Module:
        if slot == "head":
            return nn.Softmax(-1)
        return _Part(self, slot, int(choice[1:]))


class _Part(nn.Module):
    def __init__(self, net: Widths, slot: str, width: int) -> None:
        super().__init__()
        self.weight = net.up.weight if slot == "up" else net.down.weight
        self.bias = net.up.bias if slot == "up" else net.down.bias
        self.slot = slot
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.slot == "up":
            return torch.relu(x @ self.weight[: self.width].T + self.bias[: self.width])
        return x @ self.weight[:, : self.width].T + self.bias


def widths() -> Widths:
    return Widths()
