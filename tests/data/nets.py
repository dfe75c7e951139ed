"""Supernets for tests: a small family member, two of our own, and ones that break the rules."""

from __future__ import annotations

import torch
from torch import nn

from hwnas.space import EqualChoice, PrefixDepth, Slot, Space
from hwnas.supernets.sorted_vit import SortedViT, ViTConfig


def tiny() -> SortedViT:
    """Six subnets; seeded, so that two calls give equal weights."""
    config = ViTConfig(
        image=8, patch=2, channels=1, classes=10, width=32, heads=2, ffns=(32, 64), depths=(1, 2, 3)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SortedViT(config)


class Lying(SortedViT):
    """Has the space and the tensors of ``tiny``, but computes something else."""

    def block(self, slot: str, choice: str) -> nn.Module:
        block = super().block(slot, choice)
        return nn.Sequential(block, _Shift()) if slot == "head" else block


class _Shift(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def lying() -> SortedViT:
    return Lying(tiny().config)


class UNet(nn.Module):
    """Down, optional middle layers, up with a skip connection; sliced weights in forward."""

    def __init__(self, up_in: int = 8) -> None:
        super().__init__()
        self.down = nn.Linear(4, 8)
        self.mid = nn.ParameterList([nn.Parameter(torch.randn(16, 8) / 4) for _ in range(2)])
        self.up = nn.Linear(up_in, 4)
        mids = tuple(f"mid.{i}" for i in range(2))
        self.space = Space(
            slots=(
                Slot(name="down", reads=("x",), writes=("h", "skip")),
                *(Slot(name=m, choices=("w8", "w16"), reads=("h",), writes=("h",)) for m in mids),
                Slot(name="up", reads=("h", "skip"), writes=("x",)),
            ),
            rules=(PrefixDepth(slots=mids, depths=(0, 1, 2)), EqualChoice(slots=mids)),
            inputs=("x",),
            outputs=("x",),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.zeros(2, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        if slot == "down":
            return _Down(self.down)
        if slot == "up":
            return _Up(self.up)
        return _Mid(self.mid[int(slot[-1])], int(choice[1:]))


class _Down(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.relu(self.linear(x))
        return h, h * 2


class _Mid(nn.Module):
    def __init__(self, weight: nn.Parameter, width: int) -> None:
        super().__init__()
        self.weight = weight
        self.width = width

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        part = self.weight[: self.width]
        return h + torch.relu(h @ part.T) @ part


class _Up(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, h: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.linear(h + skip)


def unet() -> UNet:
    return UNet()


def misfit() -> UNet:
    """Its last slot takes a width that the one before does not give."""
    return UNet(up_in=9)


class SkipConnect(nn.Module):
    """Blocks that give one tensor twice, give back what they were given, or give a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.fork = nn.Linear(4, 4)
        self.mid = nn.Linear(4, 4)
        self.token = nn.Parameter(torch.randn(2, 4))
        self.space = Space(
            slots=(
                Slot(name="fork", writes=("x", "skip")),
                Slot(name="mid", choices=("identity", "linear")),
                Slot(name="token", writes=("x", "token"), reads=("x",)),
                Slot(name="swap", reads=("x", "skip"), writes=("x", "skip")),
                Slot(name="join", reads=("x", "skip", "token")),
            )
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.linspace(-1, 1, 8).reshape(2, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return {
            "fork": lambda: _Twice(self.fork),
            "mid": lambda: self.mid if choice == "linear" else nn.Identity(),
            "token": lambda: _WithToken(self.token),
            "swap": lambda: _Swap(),
            "join": lambda: _Join(),
        }[slot]()


class _Twice(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.linear(x)
        return h, h


class _WithToken(nn.Module):
    def __init__(self, token: nn.Parameter) -> None:
        super().__init__()
        self.token = token

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, self.token


class _Swap(nn.Module):
    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return skip, x


class _Join(nn.Module):
    def forward(self, x: torch.Tensor, skip: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return x - 2 * skip + token


def skip_connect() -> SkipConnect:
    return SkipConnect()


class Convs(nn.Module):
    """Residual convolutions with batch norms, one to three deep."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.body = nn.ModuleList(_Residual(16) for _ in range(3))
            self.head = nn.Linear(16, 4)
        names = tuple(f"body.{i}" for i in range(3))
        self.space = Space(
            slots=(
                Slot(name="stem", reads=("image",)),
                *(Slot(name=name) for name in names),
                Slot(name="head", writes=("logits",)),
            ),
            rules=(PrefixDepth(slots=names, depths=(1, 2, 3)),),
            inputs=("image",),
            outputs=("logits",),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"image": torch.ones(1, 3, 8, 8)}

    def block(self, slot: str, choice: str) -> nn.Module:
        if slot == "stem":
            return self.stem
        if slot == "head":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.head)
        return self.body[int(slot[-1])].eval()


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        nn.init.uniform_(self.norm.running_mean, -1, 1)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


def convs() -> Convs:
    return Convs()
