"""What the convolutional networks of the benchmarks share: stem, five elastic stages, head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hwnas.errors import UnknownName
from hwnas.space import PrefixDepth, Slot, Space

__all__ = ["Squeeze", "Stage", "Staged", "conv"]

_DEPTHS = (2, 3, 4)


class Stage(NamedTuple):
    """What the blocks of a stage have in common; the first one alone has the stride."""

    width: int
    kernel: int
    stride: int
    squeeze: bool
    activation: type[nn.Module]


_STAGES = (
    Stage(24, 3, 2, False, nn.ReLU),
    Stage(40, 5, 2, True, nn.ReLU),
    Stage(80, 3, 2, False, nn.Hardswish),
    Stage(112, 3, 1, True, nn.Hardswish),
    Stage(160, 5, 2, True, nn.Hardswish),
)


class Staged(nn.Module):
    """2 to 4 blocks in each of five stages, on images of 3 channels.

    Widths, strides, kernels and activations are those of MobileNetV3-Large (arXiv:1905.02244,
    table 1). Weights are random, and the same in each.

    Args:
        make: a block's module, from the channels it reads and its stage.
        choices: of each block, smallest first; see :meth:`part`.
    """

    def __init__(
        self, make: Callable[[int, Stage], nn.Module], choices: tuple[str, ...] = ("base",)
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.modules_of = nn.ModuleDict({"stem": _stem()})
            slots = [Slot(name="stem", reads=("image",), writes=("x",))]
            rules = []
            before = 16
            for index, stage in enumerate(_STAGES):
                names = tuple(f"stage{index}.{i}" for i in range(_DEPTHS[-1]))
                for i, name in enumerate(names):
                    one = stage if i == 0 else stage._replace(stride=1)
                    self.modules_of[name.replace(".", "_")] = make(before, one)
                    before = stage.width
                slots += [Slot(name=name, choices=choices) for name in names]
                rules.append(PrefixDepth(name=f"d{index}_", slots=names, depths=_DEPTHS))
            self.modules_of["head"] = _head(before)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    _draw_statistics(module)
        slots.append(Slot(name="head", reads=("x",), writes=("logits",)))
        self.space = Space(
            slots=tuple(slots), rules=tuple(rules), inputs=("image",), outputs=("logits",)
        )

    def block(self, slot: str, choice: str) -> nn.Module:
        """The module of ``choice`` at ``slot``; its tensors are parts of this network's.

        Raises:
            UnknownName: no such slot, or no such choice at it.
        """
        choices = self.space.slot(slot).choices
        if choice not in choices:
            raise UnknownName(f"choice at {slot}", choice, choices)
        return self.part(self.modules_of[slot.replace(".", "_")], choice).eval()

    def part(self, module: nn.Module, choice: str) -> nn.Module:
        """What of a slot's ``module`` is ``choice``: all of it, where nothing else is said."""
        return module

    def example_inputs(self) -> Mapping[str, Tensor]:
        """``image``: float32 (1, 3, 224, 224)."""
        generator = torch.Generator().manual_seed(0)
        return {"image": torch.randn((1, 3, 224, 224), generator=generator)}


def _draw_statistics(norm: nn.BatchNorm2d) -> None:
    """Statistics as after training: with those of a fresh network, folding would be trivial."""
    for tensor, low, high in ((norm.running_mean, -0.1, 0.1), (norm.running_var, 0.5, 1.5)):
        if tensor is not None:
            nn.init.uniform_(tensor, low, high)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _stem() -> nn.Module:
    return nn.Sequential(
        conv(3, 16, 3, 2),
        nn.Hardswish(),
        conv(16, 16, 3, groups=16),
        nn.ReLU(),
        conv(16, 16, 1),
    )


def _head(inputs: int) -> nn.Module:
    return nn.Sequential(
        conv(inputs, 960, 1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(960, 1280, 1),
        nn.Hardswish(),
        nn.Flatten(),
        nn.Linear(1280, 1000),
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
