"""Every subnet computes what the authors' extraction of it computes, on the same weights.

In float64: in float32, rounding alone, which random networks magnify, makes up to 2e-5 of the
largest logit.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hwnas.supernets.ofa import OFANet, from_variant
from hwnas.supernets.protocol import SubnetModule
from tests.oracle.authors import authors_module, draw

_MOBILE = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
_RESNET = {
    "depth_list": [0, 1, 2],
    "expand_ratio_list": [0.2, 0.25, 0.35],
    "width_mult_list": [0.65, 0.8, 1.0],
}
_THEIRS: dict[str, Callable[[Any], Any]] = {
    "mbv3-w1.0": lambda n: n.OFAMobileNetV3(dropout_rate=0, width_mult=1.0, **_MOBILE),
    "mbv3-w1.2": lambda n: n.OFAMobileNetV3(dropout_rate=0, width_mult=1.2, **_MOBILE),
    "proxyless-w1.3": lambda n: n.OFAProxylessNASNets(dropout_rate=0, width_mult=1.3, **_MOBILE),
    "resnet50": lambda n: n.OFAResNets(dropout_rate=0, **_RESNET),
}
_RANDOM = 30
_WITHIN = 1e-8


def _difference(theirs: Any, ours: OFANet, arch: dict[str, Any], size: int) -> float:
    """Largest difference of the logits of one image, in units of the largest logit."""
    generator = torch.Generator().manual_seed(size)
    image = torch.randn(1, 3, size, size, generator=generator, dtype=torch.float64)
    theirs.set_active_subnet(**arch)
    with torch.inference_mode():
        expected = theirs.get_active_subnet().eval()(image)
        module = SubnetModule(ours, ours.subnet({**arch, "r": size}))
        got = module(image)
    assert isinstance(got, torch.Tensor)
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("variant", _THEIRS)
def test_subnets_compute_what_the_authors_compute(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = authors_module("networks")
    for kind in (nn.Conv2d, nn.Linear):  # all values are drawn or copied: time that is not needed
        monkeypatch.setattr(kind, "reset_parameters", lambda _: None)
    theirs = draw(_THEIRS[variant](networks), seed=1)
    ours = from_variant(variant)
    ours.load_state_dict(theirs.state_dict())
    sizes = (40, 64, 72)
    ours.set_resolutions(sizes)
    rng = random.Random(0)
    space = ours.space
    subnets = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(_RANDOM))]
    worst = 0.0
    for subnet in subnets:
        arch = ours.arch(subnet)
        assert ours.subnet(arch) == subnet
        size = arch.pop("image_size")
        worst = max(worst, _difference(theirs, ours, arch, size))
    assert worst < _WITHIN
    print(f"{variant}: largest difference {worst:.1e} of the largest logit, {len(subnets)} subnets")
