"""The sorted transformer encoder: a vision transformer whose subnets are nested prefixes.

Depth is a prefix of the layers, the feed-forward width a prefix of the hidden units and the
attention's width a prefix of the heads, as in SortedNet (sub-networks are nested in each
dimension; selection needs no search, it takes the largest prefix that fits the budget). Pre-LN,
GELU, class token, learned positions: with 12 layers of width 384 it is ViT-S/16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from hwnas.errors import UnknownName
from hwnas.space import EqualChoice, PrefixDepth, Rule, Slot, Space
from hwnas.supernets.vit_parts import Head, Layer, Stem, ViTConfig

__all__ = ["VARIANTS", "SortedViT", "ViTConfig", "from_variant"]


class SortedViT(nn.Module):
    """A sorted transformer encoder; follows :class:`hwnas.supernets.protocol.Supernet`.

    Slots are ``stem`` (image to x), ``layers.0`` to ``layers.{L-1}`` (x to x) and ``head`` (x to
    logits). A layer's choices are ``ffn{width}``, ``heads{number}`` or
    ``ffn{width}.heads{number}``, by what is elastic, or ``base`` where nothing is; all layers of a
    subnet have the same. Weights depend on ``seed`` only.
    """

    def __init__(self, config: ViTConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):
            self.stem = Stem(config)
            self.layers = nn.ModuleList(
                Layer(
                    config.tokens,
                    config.width,
                    config.width // config.heads,
                    config.heads,
                    config.ffns[-1],
                )
                for _ in range(config.layers)
            )
            self.head = Head(config)
        self.to_empty(device="cpu")
        self._initialise(torch.Generator().manual_seed(seed))
        self._sizes_of = _choices(config)
        self.space = _space(config)

    def _initialise(self, generator: torch.Generator) -> None:
        # What is added to the residual stream starts small, so that any depth can be trained.
        residual = (2 * self.config.layers) ** -0.5
        for name, parameter in self.named_parameters():
            last = name.removesuffix(".weight").rpartition(".")[2]
            if last in ("norm", "norm1", "norm2"):
                nn.init.ones_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif last in ("token", "position"):
                nn.init.normal_(parameter, std=0.5, generator=generator)
            else:
                leads_back = last in ("project_weight", "down_weight")
                inputs = len(parameter) if leads_back else parameter[0].numel()
                scale = residual if leads_back else 1.0
                std = scale * float(inputs) ** -0.5
                nn.init.trunc_normal_(parameter, std=std, generator=generator)

    def block(self, slot: str, choice: str) -> nn.Module:
        """The module of ``choice`` at ``slot``; its parameters are views of this network's.

        Raises:
            UnknownName: no such slot, or no such choice at it.
        """
        choices = self.space.slot(slot).choices
        if choice not in choices:
            raise UnknownName(f"choice at {slot}", choice, choices)
        if slot == "stem":
            return self.stem.eval()
        if slot == "head":
            return self.head.eval()
        layer = cast(Layer, self.layers[int(slot.removeprefix("layers."))])
        return layer.prefix(*self._sizes_of[choice])

    def example_inputs(self, batch: int = 1) -> Mapping[str, Tensor]:
        """``image``: float32 (batch, channels, image, image), the same at every call."""
        size = (batch, self.config.channels, self.config.image, self.config.image)
        return {"image": torch.randn(size, generator=torch.Generator().manual_seed(0))}

    def forward(
        self,
        image: Tensor,
        depth: int | None = None,
        ffn: int | None = None,
        heads: int | None = None,
    ) -> Tensor:
        """Logits (batch, classes) of the first ``depth`` layers.

        Each with its first ``ffn`` hidden units and ``heads`` heads; all of what is not given.
        """
        x = self.stem(image)
        for layer in self.layers[:depth]:
            x = layer(x, ffn, heads)
        logits: Tensor = self.head(x)
        return logits


def _choices(config: ViTConfig) -> dict[str, tuple[int, int]]:
    """Feed-forward width and number of heads of each choice of a layer, smallest first."""
    found = {}
    for ffn in config.ffns:
        for heads in config.counts:
            parts = [f"ffn{ffn}"] if len(config.ffns) > 1 else []
            parts += [f"heads{heads}"] if len(config.counts) > 1 else []
            found[".".join(parts) or "base"] = (ffn, heads)
    return found


def _space(config: ViTConfig) -> Space:
    layers = tuple(f"layers.{i}" for i in range(config.layers))
    choices = tuple(_choices(config))
    # A wide layer of few heads and a narrow one of many are no parts of each other.
    ordered = min(len(config.ffns), len(config.counts)) == 1 or len(config.depths) > 1
    rules: list[Rule] = [PrefixDepth(slots=layers, depths=config.depths)]
    if len(choices) > 1:
        rules.append(EqualChoice(slots=layers))
    return Space(
        slots=(
            Slot(name="stem", reads=("image",), writes=("x",)),
            *(Slot(name=name, choices=choices) for name in layers),
            Slot(name="head", reads=("x",), writes=("logits",)),
        ),
        rules=tuple(rules),
        inputs=("image",),
        outputs=("logits",),
        nested=ordered,
    )


def _image_net(
    width: int, heads: int, *, wide: bool = False, counts: tuple[int, ...] = ()
) -> ViTConfig:
    full = 4 * width
    ffns = tuple(full * i // 4 for i in range(1, 5)) if wide else (full,)
    return ViTConfig(224, 16, 3, 1000, width, heads, ffns, tuple(range(1, 13)), counts)


VARIANTS: Mapping[str, ViTConfig] = {
    "b16": _image_net(768, 12),
    "s16": _image_net(384, 6),
    "s16-elastic": _image_net(384, 6, wide=True, counts=(2, 4, 6)),
    "s16-wide": _image_net(384, 6, wide=True),
    "ti16": _image_net(192, 3),
}
"""ViT-B/16, ViT-S/16 and ViT-Ti/16 with depths 1 to 12.

``-wide`` adds feed-forward widths in quarters, ``-elastic`` numbers of heads as well.
"""


def from_variant(name: str) -> SortedViT:
    """The network behind the reference ``vit:NAME``, with random weights.

    Raises:
        UnknownName: no such variant; those that exist are listed.
    """
    if name not in VARIANTS:
        raise UnknownName("variant of the family 'vit'", name, list(VARIANTS))
    return SortedViT(VARIANTS[name])
