"""Once-for-all networks (arXiv:1908.09791): the family ``ofa``, for the authors' checkpoints.

``ofa:mbv3-w1.0``, ``ofa:mbv3-w1.2``, ``ofa:proxyless-w1.3`` and ``ofa:resnet50``. A smaller
subnet takes the first channels of each layer, which presumes that they are sorted by importance,
as they are in trained once-for-all networks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hwnas.errors import SupernetError, UnknownName, shorten
from hwnas.space import Space, Subnet
from hwnas.supernets.ofa_arch import mobile_arch, mobile_subnet, resnet_arch, resnet_subnet
from hwnas.supernets.ofa_checkpoint import TRACKED, renamed
from hwnas.supernets.ofa_geometry import (
    MobileConfig,
    ResNetConfig,
    make_divisible,
    mobile_space,
    mobilenet_v3,
    proxyless,
    resnet50,
    resnet_space,
)
from hwnas.supernets.ofa_parts import (
    Bottleneck,
    ElasticKernel,
    Inverted,
    Pooled,
    Residual,
    conv_norm,
)

__all__ = ["VARIANTS", "OFAMobileNet", "OFANet", "OFAResNet", "from_variant"]


class _Part(NamedTuple):
    """A block: how to make its module, and where in the network each of its parts is."""

    make: Callable[[], nn.Module]
    places: Mapping[str, str]


class OFANet(nn.Module):
    """What elastic convolutional networks have in common; see the module's docstring.

    Follows :class:`hwnas.supernets.protocol.Supernet`. Its state dict holds what the authors' does
    under the names that their static networks use, and besides these the depthwise kernels that
    are made from larger ones. Random weights depend on ``seed`` only.
    """

    space: Space

    def _initialise(self, seed: int) -> None:
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d | nn.Linear):
                inputs = module.weight[0].numel()
                nn.init.normal_(module.weight, std=(2 / inputs) ** 0.5, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, ElasticKernel):
                module.reset_matrices()
        # What is added up starts small, and gates start at a half: values then stay near one
        # through all layers, and rounding is not magnified.
        for module in self.modules():
            if isinstance(module, Residual) and isinstance(module.conv, Inverted):
                scale = (0.25 if module.adds else 1.0) * (2 if module.conv.squeezes else 1)
                nn.init.constant_(module.conv.point_linear.get_parameter("bn.weight"), scale)
            elif isinstance(module, Bottleneck):
                nn.init.constant_(module.conv3.get_parameter("bn.weight"), 0.25)
        self.update_kernels()
        self.eval()

    @property
    def _made(self) -> tuple[str, ...]:
        return tuple(
            f"{name}.{made}"
            for name, module in self.named_modules()
            if isinstance(module, ElasticKernel)
            for made in module.made
        )

    def update_kernels(self) -> None:
        """Make the smaller depthwise kernels again; needed once the larger ones were changed."""
        for module in self.modules():
            if isinstance(module, ElasticKernel):
                module.update()

    def checkpoint(self) -> dict[str, Tensor]:
        """The state dict without the kernels that are made from larger ones."""
        made = set(self._made)
        return {name: tensor for name, tensor in self.state_dict().items() if name not in made}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take a state dict of this network or a checkpoint of the authors', in any layout.

        Smaller depthwise kernels that it lacks are made from the larger ones.

        Raises:
            SupernetError: tensors are missing, unknown or of another shape; names them.
        """
        own = self.state_dict()
        names = renamed(state_dict, own)
        given = {names[name]: tensor for name, tensor in state_dict.items()}
        made = set(self._made)
        lacks = [n for n in own if n not in given and n not in made and not n.endswith(TRACKED)]
        unknown = [name for name in given if name not in own]
        shapes = [
            f"{name} is {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
            for name, tensor in given.items()
            if name in own and tensor.shape != own[name].shape
        ]
        shapes += [
            f"{name} is {tensor.dtype}"
            for name, tensor in given.items()
            if name in own and tensor.is_floating_point() != own[name].is_floating_point()
        ]
        if (strict and (lacks or unknown)) or shapes:
            parts = [
                f"it lacks {shorten(lacks)}" if lacks else "",
                f"it has the unknown {shorten(unknown)}" if unknown else "",
                shorten(shapes, 4),
            ]
            raise SupernetError(
                "; ".join(filter(None, parts)),
                f"give the weights of this network; families: {', '.join(VARIANTS)}",
            )
        result = super().load_state_dict({**own, **given}, strict=strict, assign=assign)
        if not made <= given.keys():
            self.update_kernels()
        return result

    def block(self, slot: str, choice: str) -> nn.Module:
        """The module of ``choice`` at ``slot``; its tensors are parts of this network's.

        Raises:
            UnknownName: no such slot, or no such choice at it.
        """
        base, at = self.space.read(slot, choice)
        part = self._part(slot, base, at)
        with torch.device("meta"):
            module = part.make()
        full = self.state_dict()
        tensors = {
            name: _first(full, name, part.places, tensor.shape)
            for name, tensor in module.state_dict().items()
        }
        module.load_state_dict(tensors, assign=True)
        return module.eval()

    def example_inputs(self, at: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """``image``: float32 (1, 3, r, r), the same at every call; by default the largest ``r``."""
        size = (at or {}).get("r", self.space.dimensions[0].values[-1])
        random = torch.Generator().manual_seed(0)
        return {"image": torch.randn((1, 3, size, size), generator=random)}

    def _part(self, slot: str, choice: str, at: Mapping[str, int]) -> _Part:
        raise NotImplementedError

    def set_resolutions(self, values: Sequence[int]) -> None:
        """Give the space these resolutions, in pixels, smallest first.

        Raises:
            SupernetError: below 32 pixels, or not listed once each, smallest first.
        """
        raise NotImplementedError

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """The subnet that the authors' description ``arch`` means.

        Args:
            arch: ``d`` (depths), ``e`` (expansions), ``ks`` (kernels) or ``w`` (widths), each one
                value for all or a list as in ``set_active_subnet``; ``r`` or ``image_size``.

        Raises:
            SupernetError: parts that are missing, unknown or of the wrong length.
            UnknownName: a value that the space does not have.
        """
        raise NotImplementedError

    def arch(self, subnet: Subnet) -> dict[str, Any]:
        """The authors' description of ``subnet``; blocks that are skipped get the least values."""
        raise NotImplementedError


def _first(
    full: Mapping[str, Tensor], name: str, places: Mapping[str, str], shape: torch.Size
) -> Tensor:
    """The leading part, of that shape, of the network's tensor that a block's is cut from."""
    prefix = next(p for p in places if name.startswith(p))
    source = places[prefix] + name.removeprefix(prefix)
    tensor = full[source]
    if tensor.dim() == 4 and tensor.shape[-1] != shape[-1]:  # a smaller kernel
        tensor = full[f"{source.removesuffix('weight')}kernel{shape[-1]}"]
    return tensor[tuple(slice(size) for size in shape)]


class OFAMobileNet(OFANet):
    """Inverted residuals: over MobileNetV3 and over ProxylessNAS, by what ``config`` says."""

    def __init__(
        self, config: MobileConfig, resolutions: Sequence[int] = (224,), seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.space = mobile_space(config, resolutions)
        self._slots = {name: (stage, i, s) for name, stage, i, s in config.slots}
        expand = max(config.expands)
        with torch.device("meta"):
            self.first_conv = self._first_conv()
            self.blocks = nn.ModuleList(
                [
                    self._first_block(),
                    *(self._block(name, expand, config.kernels) for name in self._slots),
                ]
            )
            if config.expand:
                self.final_expand_layer = self._before_pooling()
                self.feature_mix_layer = self._head()["feature_mix_layer"]
            else:
                self.feature_mix_layer = self._before_pooling()
            self.classifier = self._head()["classifier"]
        self._initialise(seed)

    def _first_conv(self) -> nn.Sequential:
        config = self.config
        return conv_norm(3, config.stem, 3, 2, config.activation, config.epsilon)

    def _first_block(self) -> Residual:
        config = self.config
        sizes = (config.stem, config.stem, config.first, (3,), 1, 0)
        conv = Inverted(*sizes, config.first_activation, config.epsilon, expands=False)
        return Residual(conv, config.first_adds and config.stem == config.first)

    def _block(self, slot: str, expand: int, kernels: Sequence[int]) -> Residual:
        stage, inputs, stride = self._slots[slot]
        middle = make_divisible(round(inputs * expand))
        squeeze = make_divisible(middle // 4) if stage.squeeze else 0
        sizes = (inputs, middle, stage.width, kernels, stride, squeeze)
        conv = Inverted(*sizes, stage.activation, self.config.epsilon, expands=expand != 1)
        return Residual(conv, stride == 1 and inputs == stage.width)

    def _before_pooling(self) -> nn.Sequential:
        config = self.config
        inputs, outputs = config.stages[-1].width, config.expand or config.last
        return conv_norm(inputs, outputs, activation=config.activation, epsilon=config.epsilon)

    def _head(self) -> OrderedDict[str, nn.Module]:
        config = self.config
        parts = OrderedDict[str, nn.Module]()
        if config.expand:
            mix = nn.Conv2d(config.expand, config.last, 1, bias=False)
            parts["feature_mix_layer"] = nn.Sequential(OrderedDict(conv=mix, act=nn.Hardswish()))
        parts["flatten"] = nn.Flatten()
        parts["classifier"] = nn.Sequential(
            OrderedDict(linear=nn.Linear(config.last, config.classes))
        )
        return parts

    def _part(self, slot: str, choice: str, at: Mapping[str, int]) -> _Part:
        if slot == "stem":
            return _Part(
                lambda: nn.Sequential(
                    OrderedDict(first_conv=self._first_conv(), first_block=self._first_block())
                ),
                {"first_conv.": "first_conv.", "first_block.": "blocks.0."},
            )
        if slot == "final":
            layer = "final_expand_layer" if self.config.expand else "feature_mix_layer"
            return _Part(
                lambda: Pooled(self._before_pooling(), flat=False), {"before.": f"{layer}."}
            )
        if slot == "head":
            return _Part(lambda: nn.Sequential(self._head()), {"": ""})
        kernel, expand = self.config.choices[choice]
        index = 1 + list(self._slots).index(slot)
        return _Part(lambda: self._block(slot, expand, (kernel,)), {"": f"blocks.{index}."})

    def set_resolutions(self, values: Sequence[int]) -> None:
        """See the base class."""
        self.space = mobile_space(self.config, values)

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """See the base class."""
        return mobile_subnet(self.config, self.space, arch)

    def arch(self, subnet: Subnet) -> dict[str, Any]:
        """See the base class."""
        return mobile_arch(self.config, self.space, subnet)


class OFAResNet(OFANet):
    """Bottlenecks, whose widths are elastic between the stages as well."""

    def __init__(
        self, config: ResNetConfig, resolutions: Sequence[int] = (224,), seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.space = resnet_space(config, resolutions)
        self._slots = {name: (read, given, stride) for name, read, given, stride in config.slots}
        widest = {f"w{i}": len(config.widths) - 1 for i in range(len(config.channels))}
        expand = max(config.expands)
        with torch.device("meta"):
            self.input_stem = nn.ModuleList([self._stem(i, widest) for i in range(3)])
            self.blocks = nn.ModuleList([self._block(name, expand, widest) for name in self._slots])
            self.classifier = self._classifier(widest)
        self._initialise(seed)

    def _channels(self, number: int, at: Mapping[str, int]) -> int:
        return self.config.channels[number][at[f"w{number}"]]

    def _stem(self, index: int, at: Mapping[str, int]) -> nn.Module:
        inside, epsilon = self._channels(0, at), self.config.epsilon
        if index == 0:
            return conv_norm(3, inside, 3, 2, "relu", epsilon)
        if index == 1:
            return Residual(conv_norm(inside, inside, 3, 1, "relu", epsilon), adds=True)
        return conv_norm(inside, self._channels(1, at), 3, 1, "relu", epsilon)

    def _block(self, slot: str, expand: float, at: Mapping[str, int]) -> Bottleneck:
        read, given, stride = self._slots[slot]
        outputs = self._channels(given, at)
        middle = make_divisible(round(outputs * expand))
        return Bottleneck(
            self._channels(read, at), middle, outputs, stride, read != given, self.config.epsilon
        )

    def _classifier(self, at: Mapping[str, int]) -> nn.Sequential:
        inputs = self._channels(len(self.config.channels) - 1, at)
        return nn.Sequential(OrderedDict(linear=nn.Linear(inputs, self.config.classes)))

    def _part(self, slot: str, choice: str, at: Mapping[str, int]) -> _Part:
        if slot == "final":
            return _Part(lambda: Pooled(None, flat=True), {})
        if slot == "head":
            return _Part(lambda: self._classifier(at), {"": "classifier."})
        if slot == "stem.2":
            pool = nn.MaxPool2d(3, 2, 1)
            return _Part(
                lambda: nn.Sequential(OrderedDict(last=self._stem(2, at), pool=pool)),
                {"last.": "input_stem.2."},
            )
        if slot.startswith("stem."):
            index = int(slot.removeprefix("stem."))
            return _Part(lambda: self._stem(index, at), {"": f"input_stem.{index}."})
        index = list(self._slots).index(slot)
        expand = self.config.choices[choice]
        return _Part(lambda: self._block(slot, expand, at), {"": f"blocks.{index}."})

    def set_resolutions(self, values: Sequence[int]) -> None:
        """See the base class."""
        self.space = resnet_space(self.config, values)

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """See the base class."""
        return resnet_subnet(self.config, self.space, arch)

    def arch(self, subnet: Subnet) -> dict[str, Any]:
        """See the base class."""
        return resnet_arch(self.config, self.space, subnet)


VARIANTS: Mapping[str, Callable[[], MobileConfig | ResNetConfig]] = {
    "mbv3-w1.0": mobilenet_v3,
    "mbv3-w1.2": lambda: mobilenet_v3(1.2),
    "proxyless-w1.3": proxyless,
    "resnet50": resnet50,
}
"""The networks that the authors trained, at a resolution of 224.

Their files are ``ofa_mbv3_d234_e346_k357_w1.0`` and ``_w1.2``,
``ofa_proxyless_d234_e346_k357_w1.3`` and
``ofa_resnet50_d=0+1+2_e=0.2+0.25+0.35_w=0.65+0.8+1.0``.
"""


def from_variant(name: str) -> OFANet:
    """The network behind the reference ``ofa:NAME``, with random weights.

    Raises:
        UnknownName: no such variant; those that exist are listed.
    """
    if name not in VARIANTS:
        raise UnknownName("variant of the family 'ofa'", name, list(VARIANTS))
    config = VARIANTS[name]()
    return OFAMobileNet(config) if isinstance(config, MobileConfig) else OFAResNet(config)
