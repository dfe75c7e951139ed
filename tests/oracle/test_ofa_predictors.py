"""Accuracy predictors say what the authors' own say, for each of their encoders."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.select.quality.ofa import AccuracyPredictor
from hwnas.supernets.ofa_arch import mobile_subnet, resnet_subnet
from hwnas.supernets.ofa_geometry import (
    mobile_space,
    mobilenet_v3,
    proxyless,
    resnet50,
    resnet_space,
)
from tests.oracle.authors import authors_module

_SUBNETS = 50
_FOUR, _EIGHT = (128, 160, 192, 224), (128, 144, 160, 176, 192, 224, 240, 256)


@pytest.fixture(autouse=True)
def _in_float32(_in_float64: None) -> None:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)


def _authors(file: str) -> Any:
    """A file of their package alone: its neighbours import what is of no use here."""
    authors_module("networks")  # what these files import, which has stand-ins of its own
    [folder] = importlib.util.find_spec("ofa").submodule_search_locations  # type: ignore[union-attr,misc]
    spec = importlib.util.spec_from_file_location(f"authors_{Path(file).stem}", f"{folder}/{file}")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("zipped", [True, False])
def test_the_form_of_the_tutorial(tmp_path: Path, zipped: bool) -> None:
    theirs = _authors("tutorial/accuracy_predictor.py").AccuracyPredictor(False, "cpu")
    path = tmp_path / "acc.pth"
    torch.save(theirs.model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    config = mobilenet_v3()
    space = mobile_space(config, _FOUR)
    rng = random.Random(0)
    archs = [
        {
            "ks": rng.choices((3, 5, 7), k=20),
            "e": rng.choices((3, 4, 6), k=20),
            "d": rng.choices((2, 3, 4), k=5),
            "r": [rng.choice(_FOUR)],
        }
        for _ in range(_SUBNETS)
    ]
    ours = AccuracyPredictor.read(path, space)
    found = ours.scores([mobile_subnet(config, space, arch) for arch in archs])
    expected = theirs.predict_accuracy(archs)[:, 0].tolist()
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(found) - min(found) > 1e-3


@pytest.mark.parametrize("network", ["mbv3", "proxyless", "resnet"])
def test_the_form_of_the_library(tmp_path: Path, network: str) -> None:
    encoders = _authors("nas/accuracy_predictor/arch_encoder.py")
    random.seed(0)
    if network == "resnet":
        encoder = encoders.ResNetArchEncoder(list(_EIGHT))
        config: Any = resnet50()
        space = resnet_space(config, _EIGHT)
    else:
        kind = {"SPACE_TYPE": "mbv2" if network == "proxyless" else "mbv3"}
        encoder = type("Encoder", (encoders.MobileNetArchEncoder,), kind)(list(_FOUR))
        config = proxyless() if network == "proxyless" else mobilenet_v3()
        space = mobile_space(config, _FOUR)
    theirs = _authors("nas/accuracy_predictor/acc_predictor.py").AccuracyPredictor(
        encoder, device="cpu"
    )
    theirs.base_acc.data.fill_(0.7123)
    path = tmp_path / "acc.pth"
    torch.save({"state_dict": theirs.state_dict()}, path)
    archs = [encoder.random_sample_arch() for _ in range(_SUBNETS)]
    if network == "proxyless":
        for arch in archs:
            arch["d"][5] = 1
    make = resnet_subnet if network == "resnet" else mobile_subnet
    ours = AccuracyPredictor.read(path, space)
    found = ours.scores([make(config, space, arch) for arch in archs])
    with torch.no_grad():
        expected = theirs.predict_acc(archs).tolist()
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(found) - min(found) > 1e-3
