"""Recalibrated batch-norm statistics are those that the authors' own procedure gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hwnas.supernets.ofa import OFANet, from_variant
from hwnas.supernets.recalibrate import collect
from tests.oracle.authors import authors_module, draw

_BATCHES = (6, 6, 3)  # the last one weighs half


def _mobile(networks: Any) -> nn.Module:
    return networks.OFAMobileNetV3(  # type: ignore[no-any-return]
        dropout_rate=0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )


def _resnet(networks: Any) -> nn.Module:
    return networks.OFAResNets(  # type: ignore[no-any-return]
        dropout_rate=0,
        depth_list=[0, 1, 2],
        expand_ratio_list=[0.2, 0.25, 0.35],
        width_mult_list=[0.65, 0.8, 1.0],
    )


@pytest.mark.parametrize(("variant", "make"), [("mbv3-w1.0", _mobile), ("resnet50", _resnet)])
def test_statistics_are_those_of_the_authors(
    variant: str, make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, utils = authors_module("networks"), authors_module("utils")
    for kind in (nn.Conv2d, nn.Linear):
        monkeypatch.setattr(kind, "reset_parameters", lambda _: None)
    theirs = draw(make(networks), seed=3)
    ours: OFANet = from_variant(variant)
    ours.load_state_dict(theirs.state_dict())
    ours.set_resolutions((64,))
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 3, 64, 64, generator=generator) for n in _BATCHES]
    subnet = ours.space.sample(random.Random(1))
    theirs.set_active_subnet(**ours.arch(subnet))
    active = theirs.get_active_subnet().eval()
    utils.set_running_statistics(active, [(batch, None) for batch in batches])
    expected = [m for m in active.modules() if isinstance(m, nn.BatchNorm2d)]

    found = collect(ours, [subnet], lambda _: [(batch,) for batch in batches])

    means = [array for name, array in found.items() if name.endswith("running_mean")]
    variances = [array for name, array in found.items() if name.endswith("running_var")]
    assert len(means) == len(variances) == len(expected)
    for mean, variance, norm in zip(means, variances, expected, strict=True):
        assert norm.running_mean is not None and norm.running_var is not None
        scale = float(norm.running_var.max()) ** 0.5
        assert abs(mean - norm.running_mean.numpy()).max() < 1e-6 * scale
        assert abs(variance - norm.running_var.numpy()).max() < 1e-6 * scale**2
    after = ours.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
