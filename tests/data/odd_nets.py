"""Supernets that an optimiser or a linker could trip over."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hwnas.space import EqualChoice, PrefixDepth, Slot, Space


class _Call(nn.Module):
    """A module around a function of tensors, with the layers that it uses."""

    def __init__(self, function: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *values: torch.Tensor) -> object:
        return self.function(*self.layers, *values)


class _Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(2, 4, generator=torch.Generator().manual_seed(0))}


def _linears(number: int) -> list[nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [nn.Linear(4, 4) for _ in range(number)]


class Unread(_Net):
    """The stem and the last optional slot give values that nobody reads."""

    def __init__(self) -> None:
        super().__init__(*_linears(4))
        self.space = Space(
            slots=(
                Slot(name="stem", writes=("x", "skip", "unread")),
                Slot(name="m.0"),
                Slot(name="m.1", reads=("x", "skip"), writes=("x", "unread")),
                Slot(name="head"),
            ),
            rules=(PrefixDepth(slots=("m.0", "m.1"), depths=(0, 1, 2)),),
        )

    def block(self, slot: str, choice: str) -> nn.Module:
        stem, first, second, head = self.layers
        if slot == "stem":
            return _Call(lambda f, x: (f(x), torch.sin(x), torch.cos(x)), stem)
        if slot == "m.1":
            return _Call(lambda f, x, skip: (f(x) + skip, torch.tanh(skip)), second)
        return first if slot == "m.0" else head


class ConstantOutput(_Net):
    """One of the outputs depends on no input."""

    def __init__(self) -> None:
        super().__init__(*_linears(3))
        self.space = Space(
            slots=(Slot(name="a"), Slot(name="m"), Slot(name="b", writes=("x", "two"))),
            rules=(PrefixDepth(slots=("m",), depths=(0, 1)),),
            outputs=("x", "two"),
        )

    def block(self, slot: str, choice: str) -> nn.Module:
        a, m, b = self.layers
        if slot == "b":
            return _Call(lambda f, x: (f(x), torch.full((2, 3), 2.0)), b)
        return a if slot == "a" else m


class MixedWidths(nn.Module):
    """Two feed-forward layers; the second one's softmax is over its width: it cannot be cut."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.up = nn.ParameterList(torch.randn(32, 8) / 3 for _ in range(2))
            self.down = nn.ParameterList(torch.randn(32, 8) / 3 for _ in range(2))
        names = ("mlp.0", "mlp.1")
        self.space = Space(
            slots=tuple(Slot(name=name, choices=("w16", "w32")) for name in names),
            rules=(EqualChoice(slots=names),),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(6, 8, generator=torch.Generator().manual_seed(0))}

    def block(self, slot: str, choice: str) -> nn.Module:
        layer, width = int(slot[-1]), int(choice[1:])
        return _Wide(self.up[layer][:width], self.down[layer][:width], softmax=layer == 1)


class _Wide(nn.Module):
    def __init__(self, up: torch.Tensor, down: torch.Tensor, *, softmax: bool) -> None:
        super().__init__()
        self.up, self.down, self.softmax = nn.Parameter(up), nn.Parameter(down), softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x @ self.up.T
        hidden = torch.softmax(hidden, -1) if self.softmax else torch.relu(hidden)
        return x + hidden @ self.down


class Convs1d(nn.Module):
    """One-dimensional convolutions with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        names = ("body.0", "body.1")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.ModuleList(
                nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8)) for _ in names
            )
        self.space = Space(
            slots=tuple(Slot(name=name) for name in names),
            rules=(PrefixDepth(slots=names, depths=(1, 2)),),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1, 8, 16)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return self.body[int(slot[-1])].eval()
