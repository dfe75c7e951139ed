"""Widths of a compiled network in rings: what each subnet computes, and what they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto

from hwnas.bundle import Bundle
from hwnas.compile import compile_supernet
from hwnas.graphs import external_range, external_tensors
from hwnas.link import whole
from hwnas.link.rings import Rings, split_rings
from hwnas.supernets.protocol import SubnetModule
from hwnas.supernets.sorted_vit import SortedViT, ViTConfig

CONFIG = ViTConfig(8, 2, 1, 10, 48, 3, (24, 48, 96), (1, 2), (1, 2, 3))


@pytest.fixture(scope="module")
def net() -> SortedViT:
    found = SortedViT(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return found


@pytest.fixture(scope="module")
def bundle(net: SortedViT, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile_supernet(net, tmp_path_factory.mktemp("width") / "net.hwnas")


@pytest.fixture(scope="module")
def models(bundle: Bundle) -> dict[str, ModelProto]:
    return {subnet.name: whole(bundle, subnet) for subnet in bundle.manifest.space.subnets()}


@pytest.fixture(scope="module")
def rings(bundle: Bundle, models: dict[str, ModelProto]) -> Rings:
    return split_rings(models, [slot.name for slot in bundle.manifest.space.slots])


def run(bundle: Bundle, model: ModelProto, image: torch.Tensor) -> np.ndarray:
    options = ort.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(bundle.path)
    )
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {"image": image.numpy()})
    return np.asarray(found)


def test_heads_and_feed_forward_are_cut_in_every_layer(rings: Rings) -> None:
    assert rings.cut == {
        "layers.0/query.weight": (16, 32, 48),
        "layers.0/up.weight": (24, 48, 96),
        "layers.1/query.weight": (16, 32, 48),
        "layers.1/up.weight": (24, 48, 96),
    }
    assert not rings.left


def test_every_subnet_computes_the_same_in_rings(
    net: SortedViT, bundle: Bundle, models: dict[str, ModelProto], rings: Rings
) -> None:
    image = torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    for subnet in net.space.subnets():
        wanted = run(bundle, models[subnet.name], image)
        found = run(bundle, rings.models[subnet.name], image)
        # Sums are taken in another order: rounding, and nothing else.
        scale = np.abs(wanted).max()
        assert np.abs(found - wanted).max() <= 1e-5 * scale, subnet.name
        with torch.inference_mode():
            np.testing.assert_allclose(
                found, SubnetModule(net, subnet)(image), rtol=1e-5, atol=1e-5 * scale
            )
    smallest = net.space.smallest().name
    assert np.array_equal(
        run(bundle, models[smallest], image), run(bundle, rings.models[smallest], image)
    )


def node_keys(model: ModelProto) -> set[tuple[object, ...]]:
    ranges = {t.name: external_range(t) for t in external_tensors(model.graph)}
    return {
        (
            node.op_type,
            tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute)),
            tuple(ranges.get(name) for name in node.input),
            node.output[0],
        )
        for node in model.graph.node
    }


def test_all_that_a_subnet_computes_is_in_every_larger_one(net: SortedViT, rings: Rings) -> None:
    largest = rings.models[net.space.largest().name]
    known = node_keys(largest)
    for subnet in net.space.subnets():
        model = rings.models[subnet.name]
        assert len(node_keys(model)) == len(model.graph.node)
        assert node_keys(model) <= known, subnet.name


def test_all_widths_together_use_the_bytes_of_the_largest(net: SortedViT, rings: Rings) -> None:
    def used(model: ModelProto) -> set[tuple[int, int]]:
        return {external_range(tensor) for tensor in external_tensors(model.graph)}

    largest = used(rings.models[net.space.largest().name])
    assert set().union(*map(used, rings.models.values())) == largest
    assert sum(length for _, length in largest) == sum(t.nbytes for t in net.state_dict().values())


def test_depth_alone_is_not_cut(tmp_path: Path) -> None:
    config = ViTConfig(8, 4, 1, 4, 16, 2, (32,), (1, 2))
    bundle = compile_supernet(SortedViT(config), tmp_path / "net.hwnas")
    models = {s.name: whole(bundle, s) for s in bundle.manifest.space.subnets()}
    found = split_rings(models, [slot.name for slot in bundle.manifest.space.slots])
    assert found == Rings(models, {}, {})


def test_one_width_at_a_slot_is_not_cut(bundle: Bundle, models: dict[str, ModelProto]) -> None:
    chosen = {name: models[name] for name in ("d1-ffn24.heads3", "d2-ffn96.heads3")}
    found = split_rings(chosen, [slot.name for slot in bundle.manifest.space.slots])
    assert found.cut == {"layers.0/up.weight": (24, 96)}
