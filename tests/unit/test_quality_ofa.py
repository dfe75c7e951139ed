"""Accuracy predictors of once-for-all; tests/oracle holds them against the authors' own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hwnas.errors import UsageError
from hwnas.select.quality.ofa import AccuracyPredictor
from hwnas.space import Space
from hwnas.supernets.ofa_arch import mobile_subnet, resnet_subnet
from hwnas.supernets.ofa_geometry import (
    mobile_space,
    mobilenet_v3,
    proxyless,
    resnet50,
    resnet_space,
)
from tests.support.bundles import make_space

Tensors = dict[str, NDArray[np.float32]]


def _mbv3(*resolutions: int) -> Space:
    return mobile_space(mobilenet_v3(), resolutions or (224,))


def _tutorial(first: NDArray[np.float32], bias: float = 0.5) -> Tensors:
    """Adds up its first layer: what each feature is worth."""
    return {
        "0.weight": first.reshape(1, -1).astype("f4"),
        "0.bias": np.zeros(1, "f4"),
        "2.weight": np.ones((1, 1), "f4"),
        "2.bias": np.full(1, bias, "f4"),
    }


def _library(first: NDArray[np.float32], base: float = 0.5) -> Tensors:
    return {
        "layers.0.0.weight": first.reshape(1, -1).astype("f4"),
        "layers.0.0.bias": np.zeros(1, "f4"),
        "layers.1.weight": np.ones((1, 1), "f4"),
        "base_acc": np.full(1, base, "f4"),
    }


def _read(path: Path, tensors: Tensors, space: Space, *resolutions: int) -> AccuracyPredictor:
    save_file(tensors, path / "acc.safetensors")
    return AccuracyPredictor.read(path / "acc.safetensors", space, resolutions or None)


def _only(width: int, *ones: int) -> NDArray[np.float32]:
    found = np.zeros(width, "f4")
    found[list(ones)] = 1
    return found


MOBILE = {"ks": [3, 5, 7, 3] * 5, "e": [6, 4, 3, 6] * 5, "d": [2, 3, 4, 3, 2]}


def test_the_features_of_the_tutorial(tmp_path: Path) -> None:
    space = _mbv3(160, 224)
    subnet = mobile_subnet(mobilenet_v3(), space, {**MOBILE, "r": 160})
    # stage0.1 is block 1 with k5, stage1.3 is block 7 and skipped, stage2.3 is block 11 with e6.
    for ones, count in [
        ((3 + 1,), 1),
        ((21, 22, 23), 0),
        ((60 + 33 + 2,), 1),
        ((60 + 33,), 0),
        ((120 + 3,), 1),
        ((120 + 7,), 0),
        (tuple(range(60)), 14),
        (tuple(range(60, 120)), 14),
        (tuple(range(120, 128)), 1),
    ]:
        quality = _read(tmp_path, _tutorial(_only(128, *ones)), space)
        assert quality.scores([subnet]) == [count + 0.5]
    assert quality.kind == "accuracy predictor"
    assert quality.source == "accuracy predictor acc.safetensors (tutorial, MobileNetV3)"
    assert quality.rated() is None


def test_the_features_of_the_library(tmp_path: Path) -> None:
    space = _mbv3(160, 224)
    subnet = mobile_subnet(mobilenet_v3(), space, {**MOBILE, "r": 224})
    for ones, count in [((3,), 1), ((1,), 0), ((4 + 3 + 1,), 1), ((64 + 33 + 2,), 1)]:
        quality = _read(tmp_path, _library(_only(124, *ones)), space)
        assert quality.scores([subnet]) == [count + 0.5]
    assert "library, MobileNetV3, at 128, 160, 192, 224" in quality.source
    config = proxyless()
    space = mobile_space(config, (224,))
    subnet = mobile_subnet(config, space, {"ks": [5] * 21, "e": [4] * 21, "d": [2] * 5})
    for ones, count in [((0,), 1), ((1 + 60 + 1,), 1), ((1 + 63 + 60 + 1,), 1), ((1 + 6,), 0)]:
        quality = _read(tmp_path, _library(_only(127, *ones)), space)
        assert quality.scores([subnet]) == [count + 0.5]


def test_the_features_of_resnet(tmp_path: Path) -> None:
    space = resnet_space(resnet50(), (128, 224))
    arch: dict[str, Any] = {"e": [0.25] * 18, "w": [0, 1, 2, 0, 1, 2], "r": 224}
    deep = resnet_subnet(resnet50(), space, {**arch, "d": [2, 0, 1, 2, 0]})
    flat = resnet_subnet(resnet50(), space, {**arch, "d": [0, 0, 1, 2, 0]})
    for ones, counts in [
        ((5,), [1, 1]),
        ((8,), [0, 1]),  # the stem's block is skipped
        ((9,), [1, 0]),
        ((10 + 0, 10 + 4, 10 + 8, 10 + 9, 10 + 13, 10 + 17), [6, 6]),
        ((28 + 3 * 2 + 1, 28 + 3 * 3 + 1), [0, 0]),  # stage 0 has its two blocks
        ((28 + 3 * 6 + 1, 28 + 3 * 7 + 1), [1, 1]),  # stage 1 has one more
        (tuple(range(28, 82)), [13, 13]),
    ]:
        quality = _read(tmp_path, _library(_only(82, *ones)), space)
        assert quality.scores([deep, flat]) == [count + 0.5 for count in counts]


def test_hidden_layers_compute_what_torch_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(128, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8), torch.nn.ReLU(),
        torch.nn.Linear(8, 1),
    )  # fmt: skip
    torch.save(net.state_dict(), tmp_path / "acc.pth")
    space = _mbv3(160, 224)
    quality = AccuracyPredictor.read(tmp_path / "acc.pth", space)
    subnets = [space.largest(), space.smallest()]
    rows = torch.from_numpy(quality._one_hot.matrix(subnets, np.float32))
    with torch.no_grad():
        assert quality.scores(subnets) == pytest.approx(net(rows)[:, 0].tolist(), abs=1e-6)


def test_resolutions_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"knows r = 112, 128, .*; the space has r=164"):
        _read(tmp_path, _tutorial(_only(128)), _mbv3(160, 164))
    with pytest.raises(UsageError, match=r"knows r = 128, 160, 192, 224; the space has r=176"):
        _read(tmp_path, _library(_only(124)), _mbv3(176))
    with pytest.raises(UsageError, match="was trained at 2 resolutions, if it is for MobileNetV3"):
        _read(tmp_path, _library(_only(122)), _mbv3(176))
    quality = _read(tmp_path, _library(_only(122, 1)), _mbv3(176), 200, 176)
    assert quality.scores([_mbv3(176).largest()]) == [1.5]
    with pytest.raises(UsageError, match=r"if it is for MobileNetV3, and 3 are given"):
        _read(tmp_path, _library(_only(122)), _mbv3(176), 200, 176, 224)
    with pytest.raises(UsageError, match="whose resolutions are known"):
        _read(tmp_path, _tutorial(_only(128)), _mbv3(160), 160)


def test_a_predictor_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for the networks over MobileNetV3 alone"):
        _read(tmp_path, _tutorial(_only(128)), mobile_space(proxyless(), (224,)))
    with pytest.raises(UsageError, match="there is no choice e20"):
        _read(tmp_path, _tutorial(_only(128)), resnet_space(resnet50(), (224,)))
    with pytest.raises(UsageError, match="this is no once-for-all network"):
        _read(tmp_path, _tutorial(_only(128)), make_space())
    with pytest.raises(UsageError, match="it reads fewer features than ProxylessNAS has"):
        _read(tmp_path, _library(_only(124)), mobile_space(proxyless(), (224,)))
    with pytest.raises(UsageError, match=r"it knows no block stage0\.0/k3e8"):
        config = mobilenet_v3(expands=(3, 8))
        _read(tmp_path, _library(_only(121)), mobile_space(config, (224,)))
    with pytest.raises(UsageError, match=r"it knows no block stage0\.4"):
        config = mobilenet_v3(depths=(2, 5))
        _read(tmp_path, _library(_only(121)), mobile_space(config, (224,)))


def test_a_part_of_the_space_will_do(tmp_path: Path) -> None:
    config = mobilenet_v3(kernels=(5,), expands=(3, 6), depths=(2, 3))
    space = mobile_space(config, (224,))
    quality = _read(tmp_path, _library(_only(121, *range(1, 61))), space)
    assert quality.scores([space.largest(), space.smallest()]) == [15.5, 10.5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"0.weight": np.zeros((1, 100), "f4")}, "layer 0 has a weight of shape"),
        ({"2.weight": np.zeros((1, 2), "f4")}, "layer 1 has a weight of shape"),
        ({"2.weight": np.zeros((2, 1), "f4"), "2.bias": np.zeros(2, "f4")}, "gives 2 numbers"),
        ({"0.bias": np.zeros(3, "f4")}, "a bias of shape"),
        ({"0.weight": np.zeros(128, "f4")}, "is no accuracy predictor"),
        ({"extra": np.zeros(1, "f4")}, "is no accuracy predictor"),
        ({"2.bias": np.full(1, np.nan, "f4")}, "tensor 2.bias is not finite"),
    ],
)
def test_what_is_no_predictor_is_refused(tmp_path: Path, change: Tensors, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _read(tmp_path, {**_tutorial(_only(128)), **change}, _mbv3(224))


def test_the_last_layer_of_a_library_has_one_number(tmp_path: Path) -> None:
    tensors = {**_library(_only(121)), "base_acc": np.zeros(2, "f4")}
    with pytest.raises(UsageError, match="a base_acc of 2 numbers"):
        _read(tmp_path, tensors, _mbv3(224))
    with pytest.raises(UsageError, match="cannot read"):
        AccuracyPredictor.read(tmp_path / "none.safetensors", _mbv3(224))


def test_a_prediction_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    tensors = _tutorial(_only(128, *range(128)) * 1e38)
    quality = _read(tmp_path, tensors, _mbv3(224))
    with pytest.raises(UsageError, match="predicts inf for"):
        quality.scores([_mbv3(224).largest()])
