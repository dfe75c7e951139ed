"""The two spaces on which predictions are judged: a transformer and a convolutional network.

Weights are random: latency and memory do not depend on their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from nets import Squeeze, conv, draw_statistics, head, stem
from torch import Tensor, nn

from hwnas.errors import UnknownName
from hwnas.space import PrefixDepth, Slot, Space
from hwnas.supernets.sorted_vit import SortedViT, from_variant

__all__ = ["ElasticMobileNet", "mobilenet", "vit"]


def vit() -> SortedViT:
    """ViT-S/16 at 197 tokens: 1 to 12 layers, four feed-forward widths, 2, 4 or 6 heads.

    144 subnets, of 14 kinds of blocks.
    """
    return from_variant("s16-elastic")


def mobilenet() -> ElasticMobileNet:
    """The once-for-all space over MobileNetV3-Large: 10^19 subnets, of 92 kinds of blocks."""
    return ElasticMobileNet()


class _Stage(NamedTuple):
    width: int
    stride: int
    squeeze: bool
    activation: type[nn.Module]


class ElasticMobileNet(nn.Module):
    """Inverted residuals whose number, kernel and expansion are elastic.

    Widths, strides and activations are those of MobileNetV3-Large (arXiv:1905.02244, table 1);
    what is elastic is what once-for-all networks have elastic (arXiv:1908.09791): 2 to 4 blocks in
    each of five stages, kernels of 3, 5 and 7, expansion by 3, 4 and 6 in each block on its own.

    A smaller expansion takes the first channels of the largest. A smaller kernel has weights of
    its own, since the centre of a kernel does not lie in one piece. Weights depend on ``seed``.
    """

    _STAGES = (
        _Stage(24, 2, False, nn.ReLU),
        _Stage(40, 2, True, nn.ReLU),
        _Stage(80, 2, False, nn.Hardswish),
        _Stage(112, 1, True, nn.Hardswish),
        _Stage(160, 2, True, nn.Hardswish),
    )
    _DEPTHS = (2, 3, 4)
    _KERNELS = (3, 5, 7)
    _EXPANSIONS = (3, 4, 6)

    def __init__(self, image: int = 224, classes: int = 1000, seed: int = 0) -> None:
        super().__init__()
        self.image = image
        # Smallest first: the expansion weighs more than the kernel.
        self._sizes_of = {f"k{k}e{e}": (k, e) for e in self._EXPANSIONS for k in self._KERNELS}
        choices = tuple(self._sizes_of)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.modules_of = nn.ModuleDict({"stem": stem()})
            slots = [Slot(name="stem", reads=("image",), writes=("x",))]
            rules = []
            before = 16
            for index, stage in enumerate(self._STAGES):
                names = tuple(f"stage{index}.{i}" for i in range(self._DEPTHS[-1]))
                for i, name in enumerate(names):
                    stride = stage.stride if i == 0 else 1
                    self.modules_of[name.replace(".", "_")] = _Inverted(
                        before, stage._replace(stride=stride), self._KERNELS, self._EXPANSIONS[-1]
                    )
                    before = stage.width
                slots += [Slot(name=name, choices=choices) for name in names]
                rules.append(PrefixDepth(name=f"d{index}_", slots=names, depths=self._DEPTHS))
            self.modules_of["head"] = head(before, classes)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    draw_statistics(module)
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
        module = self.modules_of[slot.replace(".", "_")]
        if isinstance(module, _Inverted):
            return module.part(*self._sizes_of[choice])
        return module.eval()

    def example_inputs(self) -> Mapping[str, Tensor]:
        """``image``: float32 (1, 3, image, image)."""
        size = (1, 3, self.image, self.image)
        return {"image": torch.randn(size, generator=torch.Generator().manual_seed(0))}


class _Inverted(nn.Module):
    """Expand, depthwise convolution, project; a residual where the shape stays.

    Has depthwise weights for each of ``kernels`` and runs with those of the first.
    """

    def __init__(self, inputs: int, stage: _Stage, kernels: Sequence[int], expansion: int) -> None:
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
        return part.eval()
