"""The parts of the sorted transformer encoder: stem, layer and head, and their sizes.

Tokens are kept in two dimensions and query, key and value are three matrices, so that each
product is one ONNX ``Gemm`` that takes its weight as it is stored: a prefix then stays a prefix
after the runtime has optimised the graph, and no reshape stands around a product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.errors import SupernetError

__all__ = ["Head", "Layer", "Stem", "ViTConfig"]


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a sorted transformer encoder.

    Attributes:
        image, patch: edge lengths in pixels; images are square.
        channels, classes: of the image and of the answer.
        width: of the hidden state; ``heads`` divides it.
        heads: of the full network; a head has ``width / heads`` values, however many are kept.
        ffns: feed-forward widths to choose from, smallest first.
        depths: numbers of layers to choose from, smallest first; the last is the number of layers.
        head_counts: numbers of heads to choose from, smallest first, the last being ``heads``;
            none given means ``heads`` alone.

    Raises:
        SupernetError: sizes that do not fit each other.
    """

    image: int
    patch: int
    channels: int
    classes: int
    width: int
    heads: int
    ffns: tuple[int, ...]
    depths: tuple[int, ...]
    head_counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.image, self.patch, self.channels, self.classes, self.width, self.heads)
        if min(sizes) < 1:
            raise SupernetError(f"a size below 1 in {self}", "use sizes of at least 1")
        if self.image % self.patch:
            raise SupernetError(
                f"an image of {self.image} pixels cannot be cut into patches of {self.patch}",
                "choose a patch size that divides the image size",
            )
        if self.width % self.heads:
            raise SupernetError(
                f"width {self.width} cannot be split over {self.heads} heads",
                "choose a number of heads that divides the width",
            )
        lists = {"ffns": self.ffns, "depths": self.depths, "head_counts": self.counts}
        for what, values in lists.items():
            if not values or list(values) != sorted(set(values)) or values[0] < 1:
                raise SupernetError(
                    f"{what} is {values}", "list positive numbers, each once, smallest first"
                )
        if self.counts[-1] != self.heads:
            raise SupernetError(
                f"head_counts is {self.counts} in a network of {self.heads} heads",
                "let the last number of heads be that of the full network",
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of heads to choose from, smallest first."""
        return self.head_counts or (self.heads,)

    @property
    def layers(self) -> int:
        """Number of layers of the full network."""
        return self.depths[-1]

    @property
    def tokens(self) -> int:
        """Number of patches, and one for the class token."""
        return (self.image // self.patch) ** 2 + 1


class Stem(nn.Module):
    """Image (batch, channels, image, image) to tokens (batch * tokens, width)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.patch = nn.Conv2d(config.channels, config.width, config.patch, config.patch)
        self.token = nn.Parameter(torch.empty(1, 1, config.width))
        self.position = nn.Parameter(torch.empty(1, config.tokens, config.width))

    def forward(self, image: Tensor) -> Tensor:
        """Patches behind the class token, with their positions."""
        patches = self.patch(image).flatten(2).transpose(1, 2)
        token = self.token.expand(image.shape[0], -1, -1)
        return (torch.cat((token, patches), dim=1) + self.position).flatten(0, 1)


def _first(tensor: Tensor, rows: int | None) -> Tensor:
    return tensor if rows is None else tensor[:rows]


class Layer(nn.Module):
    """One pre-LN transformer layer on tokens (batch * tokens, width).

    It has ``heads`` heads of ``size`` values each and ``ffn`` hidden units. Every matrix is stored
    as (hidden, width), also those that lead back to the width: the first ``k`` hidden units, or
    heads, are the first rows of each, one contiguous range that every larger choice contains.
    """

    def __init__(self, tokens: int, width: int, size: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.sizes = (tokens, width, size)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.query = nn.Linear(width, heads * size)
        self.key = nn.Linear(width, heads * size)
        self.value = nn.Linear(width, heads * size)
        self.project_weight = nn.Parameter(torch.empty(heads * size, width))
        self.project_bias = nn.Parameter(torch.empty(width))
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, ffn)
        self.down_weight = nn.Parameter(torch.empty(ffn, width))
        self.down_bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor, ffn: int | None = None, heads: int | None = None) -> Tensor:
        """Tokens to tokens, with the first ``ffn`` hidden units and ``heads`` heads, or all."""
        rows = None if heads is None else heads * self.sizes[2]
        mixed = self._attention(self.norm1(x), rows)
        x = x + torch.addmm(self.project_bias, mixed, _first(self.project_weight, rows))
        up: Tensor = self.up.weight
        bias: Tensor = self.up.bias
        down: Tensor = self.down_weight
        hidden = F.gelu(F.linear(self.norm2(x), _first(up, ffn), _first(bias, ffn)))
        return x + torch.addmm(self.down_bias, hidden, _first(down, ffn))

    def _attention(self, x: Tensor, rows: int | None) -> Tensor:
        tokens, _, size = self.sizes

        def heads(part: nn.Linear) -> Tensor:
            flat = F.linear(x, _first(part.weight, rows), _first(part.bias, rows))
            return flat.view(-1, tokens, flat.shape[1] // size, size)

        # Written out: at opset 20 the exporter's form of scaled_dot_product_attention computes the
        # scale anew at every run.
        query = heads(self.query).permute(0, 2, 1, 3)
        key = heads(self.key).permute(0, 2, 3, 1)
        value = heads(self.value).permute(0, 2, 1, 3)
        weights = torch.softmax((query * size**-0.5) @ key, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous().view(x.shape[0], -1)

    def prefix(self, ffn: int, heads: int) -> Layer:
        """This layer's first ``ffn`` hidden units and ``heads`` heads, as views of its weights."""
        with torch.device("meta"):
            part = Layer(*self.sizes, heads, ffn)
        # Every parameter is a prefix of rows of the full one; most are all of it.
        sizes = {name: len(parameter) for name, parameter in part.named_parameters()}
        shared = {name: tensor[: sizes[name]] for name, tensor in self.state_dict().items()}
        part.load_state_dict(shared, assign=True)
        return part.eval()


class Head(nn.Module):
    """Tokens (batch * tokens, width) to logits (batch, classes), from the class token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.tokens = config.tokens
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.classify = nn.Linear(config.width, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classify(self.norm(x[:: self.tokens]))
        return logits
