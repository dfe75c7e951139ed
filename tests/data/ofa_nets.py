"""A once-for-all network small enough for tests: 20 subnets at each resolution."""

from __future__ import annotations

import torch
from torch import nn

from hwnas.supernets.ofa import OFAMobileNet
from hwnas.supernets.ofa_geometry import MobileConfig, Stage


def small() -> OFAMobileNet:
    """One stage, kernels 3 and 5, expansions 3 and 4; no weight or statistic is trivial."""
    config = MobileConfig(
        stem=8,
        first=8,
        stages=(Stage(16, 2, True, "hswish", (1, 2)),),
        expand=32,
        last=16,
        first_activation="relu",
        activation="hswish",
        first_adds=True,
        epsilon=1e-5,
        kernels=(3, 5),
        expands=(3, 4),
        classes=5,
    )
    network = OFAMobileNet(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "matrix" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.get_buffer("running_mean").uniform_(-0.3, 0.3, generator=generator)
                module.get_buffer("running_var").uniform_(0.5, 1.5, generator=generator)
    network.update_kernels()
    return network


def large() -> OFAMobileNet:
    """As small in channels, with more subnets than are listed: 160,000 at each resolution."""
    stages = tuple(
        Stage(8, stride, squeeze, "hswish", (1, 2))
        for stride, squeeze in ((2, False), (1, False), (2, True), (1, False))
    )
    return OFAMobileNet(
        MobileConfig(
            stem=8,
            first=8,
            stages=stages,
            expand=16,
            last=16,
            first_activation="relu",
            activation="hswish",
            first_adds=True,
            epsilon=1e-5,
            kernels=(3, 5),
            expands=(3, 4),
            classes=5,
        )
    )
