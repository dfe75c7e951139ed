"""The once-for-all family: sizes, spaces, checkpoints and descriptions of subnets."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hwnas.errors import HwnasError, SupernetError, UnknownName, UsageError
from hwnas.supernets.ofa import VARIANTS, OFAMobileNet, OFANet, OFAResNet, from_variant
from hwnas.supernets.ofa_geometry import (
    MobileConfig,
    ResNetConfig,
    Stage,
    make_divisible,
    mobilenet_v3,
)
from hwnas.supernets.protocol import SubnetModule, Supernet
from hwnas.supernets.reference import load
from hwnas.supernets.weights import load_weights


def _mobile(**changes: Any) -> OFAMobileNet:
    """Two stages of small widths, at two resolutions."""
    sizes: dict[str, Any] = {
        "stem": 8,
        "first": 8,
        "stages": (Stage(16, 2, False, "relu", (1, 2)), Stage(24, 2, True, "hswish", (1, 2))),
        "expand": 32,
        "last": 16,
        "first_activation": "relu",
        "activation": "hswish",
        "first_adds": True,
        "epsilon": 1e-5,
        "expands": (3, 4),
        "classes": 5,
    }
    return OFAMobileNet(MobileConfig(**{**sizes, **changes}), (32, 48))


def _resnet() -> OFAResNet:
    sizes = {"base_depths": (1, 1), "stage_widths": (32, 64), "extra_depths": (0, 1)}
    config = ResNetConfig(stem=16, classes=5, **sizes)
    return OFAResNet(config, (32,))


def _spread(network: OFANet, seed: int) -> OFANet:
    """Every floating tensor drawn anew, matrices too; kernels made from them."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    network.update_kernels()
    return network


# Parameters, keys of the checkpoint, parameters of the largest and smallest subnet, as counted in
# the authors' networks.
_COUNTS = {
    "mbv3-w1.0": (7_678_880, 475, 7_664_760, 3_410_792),
    "mbv3-w1.2": (10_715_752, 475, 10_701_632, 4_602_456),
    "proxyless-w1.3": (7_956_882, 446, 7_942_056, 3_718_832),
    "resnet50": (48_105_992, 368, 48_105_992, 6_539_280),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts_are_those_of_the_authors_networks(variant: str) -> None:
    network = load(f"ofa:{variant}")
    assert isinstance(network, OFANet)
    ends = (network.space.largest(), network.space.smallest())
    sizes = [sum(p.numel() for p in SubnetModule(network, s).parameters()) for s in ends]
    total = sum(parameter.numel() for parameter in network.parameters())
    assert (total, len(network.checkpoint()), *sizes) == _COUNTS[variant]


def test_an_unknown_variant_lists_those_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"mbv3-w1\.1") as raised:
        load("ofa:mbv3-w1.1")
    assert "resnet50" in raised.value.fix


def test_the_spaces_of_the_authors_networks() -> None:
    mobile = mobilenet_v3()
    space = OFAMobileNet(mobile).space
    stage = sum(9**depth for depth in (2, 3, 4))
    assert space.count() == stage**5 > 2 * 10**19
    assert space.slot("stage4.3").choices[0] == "k3e3"
    assert space.slot("stage4.3").choices[-1] == "k7e6"
    assert space.slot("head").dimensions == ()
    resnet = from_variant("resnet50").space
    assert resnet.count() == 2 * 3**6 * (9 + 27 + 81) ** 3 * (81 + 243 + 729)
    assert resnet.slot("stage1.0").dimensions == ("r", "w2", "w3")
    assert resnet.slot("stage1.1").dimensions == ("r", "w3")
    assert "stem.1" not in resnet.smallest().choices


@pytest.mark.parametrize(
    ("value", "expected"), [(3.0, 8), (11.9, 16), (12, 16), (51.2, 48), (58.8, 56), (19, 24)]
)
def test_channels_are_rounded_to_eights(value: float, expected: int) -> None:
    assert make_divisible(value) == expected
    assert make_divisible(value) >= 0.9 * value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": (5, 3)}, "kernels"),
        ({"kernels": (2, 4)}, "odd"),
        ({"expands": ()}, "expands"),
        ({"stages": (Stage(16, 2, False, "relu", (2, 2)),)}, "depths"),
    ],
)
def test_lists_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        _mobile(**change)


def test_resolutions_are_chosen_and_checked() -> None:
    network = _mobile()
    network.set_resolutions((64, 96))
    assert network.example_inputs({"r": 64})["image"].shape == (1, 3, 64, 64)
    assert network.example_inputs()["image"].shape == (1, 3, 96, 96)
    assert "k3e3.r64" in network.space.written("stage0.0")
    for wrong in ((16,), (96, 64), ()):
        with pytest.raises(SupernetError, match="resolution"):
            network.set_resolutions(wrong)


@pytest.mark.parametrize("make", [_mobile, _resnet])
def test_every_subnet_runs_and_every_block_is_a_part_of_the_network(
    make: Callable[[], OFANet],
) -> None:
    network = make()
    assert isinstance(network, Supernet)
    storages = {t.untyped_storage().data_ptr() for t in network.state_dict().values()}
    for slot, choice in network.space.blocks:
        for tensor in network.block(slot, choice).state_dict().values():
            assert tensor.untyped_storage().data_ptr() in storages
    rng = random.Random(0)
    for _ in range(20):
        subnet = network.space.sample(rng)
        image = network.example_inputs(network.space.parts(subnet).dimensions)["image"]
        with torch.inference_mode():
            logits = SubnetModule(network, subnet)(image)
        assert isinstance(logits, Tensor)
        assert logits.shape == (1, 5) and logits.isfinite().all()


def test_smaller_kernels_are_transformed_centres() -> None:
    network = _spread(_mobile(), 1)
    prefix = "blocks.1.conv.depth_conv.conv"
    state = network.state_dict()
    kernel = state[f"{prefix}.weight"].flatten(1)
    index = torch.arange(49).view(7, 7)
    for larger, smaller, places in ((7, 5, index[1:6, 1:6]), (5, 3, None)):
        if places is None:
            places = torch.arange(25).view(5, 5)[1:4, 1:4]
        matrix = state[f"{prefix}.{larger}to{smaller}_matrix"]
        kernel = kernel[:, places.flatten()] @ matrix.T
        for expand, channels in ((3, 24), (4, 32)):
            block = network.block("stage0.0", f"k{smaller}e{expand}.r32")
            got = block.get_parameter("conv.depth_conv.conv.weight")
            assert got.is_contiguous()
            torch.testing.assert_close(got.flatten(1), kernel[:channels], rtol=1e-5, atol=1e-6)


def _layouts(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The same tensors under the names of the authors' older and newer networks."""

    def doubled(name: str) -> str:
        elastic = name.startswith(("blocks.", "input_stem.")) and not name.startswith("blocks.0.c")
        if "classifier" in name:
            return name
        if elastic:
            name = name.replace("bn.", "bn.bn.")
            if "se.fc" not in name:
                name = name.replace("conv.weight", "conv.conv.weight")
        return name

    new = {doubled(name): tensor for name, tensor in state.items()}
    old = {
        name.replace(".conv.", ".mobile_inverted_conv.", 1) if "blocks" in name else name: tensor
        for name, tensor in new.items()
    }
    parallel = {f"module.{name}": tensor for name, tensor in new.items()}
    return {"single": state, "doubled": new, "mobile_inverted_conv": old, "parallel": parallel}


@pytest.mark.parametrize("layout", ["single", "doubled", "mobile_inverted_conv", "parallel"])
def test_checkpoints_of_every_layout_load(layout: str) -> None:
    trained = _spread(_mobile(), 1)
    network = _mobile()
    network.load_state_dict(_layouts(trained.checkpoint())[layout])
    for name, tensor in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_a_resnet_loads_doubled_names() -> None:
    trained = _spread(_resnet(), 2)
    state = {
        name.replace("bn.", "bn.bn.")
        .replace("conv.weight", "conv.conv.weight")
        .replace("linear.", "linear.linear."): tensor
        for name, tensor in trained.checkpoint().items()
    }
    assert "input_stem.1.conv.conv.conv.weight" in state
    assert "classifier.linear.linear.bias" in state
    network = _resnet()
    network.load_state_dict(state)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


@pytest.mark.parametrize("how", ["zip", "legacy", "bare", "safetensors"])
def test_files_are_known_by_what_they_hold(tmp_path: Path, how: str) -> None:
    trained = _spread(_mobile(), 1)
    state = trained.checkpoint()
    path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.0"
    if how == "safetensors":
        save_file(state, path)
    elif how == "bare":
        torch.save(state, path)
    else:
        wrapped = {"epoch": 3, "best_acc": 75.2, "state_dict": state}
        torch.save(wrapped, path, _use_new_zipfile_serialization=how == "zip")
    network = _mobile()
    load_weights(network, path)
    assert torch.equal(network.classifier[0].bias, trained.state_dict()["classifier.linear.bias"])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(UsageError, match="neither"):
        load_weights(_mobile(), path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ofa_mbv3"
    torch.save({"state_dict": {}, "args": Path("x")}, path)
    with pytest.raises(SupernetError, match="plain tensors"):
        load_weights(_mobile(), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w * float("nan"), r"no numbers \(NaN\): classifier.linear.weight"),
        (lambda w: w.to(torch.complex64), "no plain tensor"),
        (lambda w: w.to_sparse(), "no plain tensor"),
        (lambda w: w.to("meta"), "no plain tensor"),
        (lambda w: (w * 100).to(torch.int8), "linear.weight is int8"),
        (lambda w: w > 0, "linear.weight is bool"),
    ],
)
def test_values_that_would_be_taken_for_others_are_refused(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    path = tmp_path / "odd.pth"
    state = _mobile().checkpoint()
    state["classifier.linear.weight"] = change(state["classifier.linear.weight"])
    torch.save(state, path)
    with pytest.raises(SupernetError, match=message):
        load_weights(_mobile(), path)


def test_names_that_drive_a_terminal_are_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"\x1b[2J": torch.ones(1)}, path)
    with pytest.raises(SupernetError) as caught:
        load_weights(_mobile(), path)
    assert "\x1b" not in str(caught.value)


def test_weights_of_another_network_are_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": _mobile(last=24).checkpoint()}, path)
    with pytest.raises(HwnasError, match=r"feature_mix_layer.* is \(24, 32, 1, 1\) instead of"):
        load_weights(_mobile(), path)
    torch.save(_resnet().checkpoint(), path)
    with pytest.raises(SupernetError, match=r"lacks first_conv.*unknown input_stem"):
        load_weights(_mobile(), path)
    state = _mobile().checkpoint()
    torch.save({"blocks.1.conv.depth_conv.bn.bn.bias": torch.ones(1), **state}, path)
    with pytest.raises(SupernetError, match="two names of one tensor"):
        load_weights(_mobile(), path)


@pytest.mark.parametrize("make", [_mobile, _resnet])
def test_descriptions_and_subnets_are_each_others_inverse(make: Callable[[], OFANet]) -> None:
    network = make()
    rng = random.Random(0)
    subnets = [network.space.sample(rng) for _ in range(20)]
    for subnet in [network.space.largest(), network.space.smallest(), *subnets]:
        assert network.subnet(network.arch(subnet)) == subnet


def test_descriptions_may_be_short() -> None:
    network = from_variant("mbv3-w1.0")
    subnet = network.subnet({"wid": None, "ks": 3, "e": 6, "d": [2, 3, 4, 2, 2], "r": [224]})
    assert subnet.choices["stage1.2"] == "k3e6" and "stage0.2" not in subnet.choices
    assert network.arch(subnet)["d"] == [2, 3, 4, 2, 2]
    other = from_variant("proxyless-w1.3")
    assert other.subnet({"ks": 7, "e": 6, "d": 4 * [4] + [2]}).choices["stage5.0"] == "k7e6"


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"ks": 3, "e": 6}, "parts"),
        ({"ks": 3, "e": 6, "d": 2, "width": 1}, "width"),
        ({"ks": [3, 5], "e": 6, "d": 2}, "ks has 2 values"),
        ({"ks": 9, "e": 6, "d": 2}, "k9e6"),
        ({"ks": 3, "e": 6, "d": 9}, "d0_"),
        ({"ks": 3, "e": 6, "d": 2, "r": 100}, "r"),
    ],
)
def test_wrong_descriptions_are_refused(arch: dict[str, Any], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        from_variant("mbv3-w1.0").subnet(arch)
