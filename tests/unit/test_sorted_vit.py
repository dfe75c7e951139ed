from __future__ import annotations

import copy
import itertools
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F

from hwnas.bundle import Bundle
from hwnas.compile import compile_supernet
from hwnas.errors import SupernetError, UnknownName
from hwnas.graphs import external_range, external_tensors, parse_model
from hwnas.supernets.protocol import SubnetModule, Supernet
from hwnas.supernets.sorted_vit import VARIANTS, SortedViT, ViTConfig, from_variant
from hwnas.supernets.vit_parts import Layer

SMALL = ViTConfig(8, 2, 1, 10, 32, 4, (16, 32, 48, 64), (1, 2, 3))


@pytest.fixture(scope="module")
def net() -> SortedViT:
    found = SortedViT(SMALL, seed=3)
    # Biases start at zero and norms at one: moved, or a lost one would go unseen.
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return found


def images(batch: int) -> torch.Tensor:
    return torch.randn((batch, 1, 8, 8), generator=torch.Generator().manual_seed(batch))


def layer_of(net: SortedViT, index: int) -> Layer:
    layer = net.layers[index]
    assert isinstance(layer, Layer)
    return layer


def test_follows_the_protocol(net: SortedViT) -> None:
    assert isinstance(net, Supernet)
    for slot, choice in net.space.blocks:
        assert not net.block(slot, choice).training


def test_space_of_depths_and_widths(net: SortedViT) -> None:
    space = net.space
    names = [subnet.name for subnet in space.subnets()]
    assert space.count() == len(names) == 12
    assert names[0] == space.smallest().name == "d1-ffn16"
    assert names[-1] == space.largest().name == "d3-ffn64"
    assert space.nested
    assert not space.chain


def test_one_width_has_one_choice() -> None:
    space = from_variant("ti16").space
    assert [subnet.name for subnet in space.subnets()] == [f"d{d}" for d in range(1, 13)]
    assert space.slot("layers.0").choices == ("base",)
    assert space.chain


@pytest.mark.parametrize(
    ("name", "parameters"), [("s16", 22_050_664), ("ti16", 5_717_416)], ids=["s16", "ti16"]
)
def test_variants_are_the_published_sizes(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in from_variant(name).parameters()) == parameters
    assert VARIANTS[name].tokens == 197


def test_wide_variant_has_quarters() -> None:
    assert VARIANTS["s16-wide"].ffns == (384, 768, 1152, 1536)


def test_elastic_variant_has_heads_too() -> None:
    assert VARIANTS["s16-elastic"].counts == (2, 4, 6)
    assert VARIANTS["s16"].counts == (6,)


@pytest.mark.parametrize(
    ("change", "names", "nested"),
    [
        ({"head_counts": (1, 4)}, ["ffn16.heads1", "ffn16.heads4", "ffn32.heads1"], True),
        ({"head_counts": (2, 4), "ffns": (16,)}, ["heads2", "heads4"], True),
        ({"head_counts": (4,), "ffns": (16,)}, ["base"], True),
        ({"head_counts": (2, 4), "ffns": (16,), "depths": (1,)}, ["heads2", "heads4"], True),
        ({"head_counts": (2, 4), "depths": (1,)}, ["ffn16.heads2", "ffn16.heads4"], False),
    ],
)
def test_choices_name_what_is_elastic(
    change: dict[str, tuple[int, ...]], names: list[str], nested: bool
) -> None:
    space = SortedViT(ViTConfig(**{**vars(SMALL), **change})).space
    assert list(space.slot("layers.0").choices[: len(names)]) == names
    assert space.nested is nested


def test_unknown_variant_lists_the_known() -> None:
    with pytest.raises(UnknownName, match="s17") as caught:
        from_variant("s17")
    assert all(name in caught.value.fix for name in VARIANTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch": 3}, "patches of 3"),
        ({"heads": 5}, "5 heads"),
        ({"ffns": (64, 16)}, "ffns"),
        ({"ffns": ()}, "ffns"),
        ({"depths": (0, 1)}, "depths"),
        ({"depths": (1, 1)}, "depths"),
        ({"classes": 0}, "below 1"),
        ({"head_counts": (2, 1, 4)}, "head_counts"),
        ({"head_counts": (1, 2)}, "network of 4 heads"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, object], said: str) -> None:
    with pytest.raises(SupernetError, match=said):
        ViTConfig(**{**vars(SMALL), **change})


@pytest.mark.parametrize(("slot", "choice"), [("layers.9", "ffn16"), ("layers.0", "ffn17")])
def test_unknown_slot_or_choice(net: SortedViT, slot: str, choice: str) -> None:
    with pytest.raises(UnknownName):
        net.block(slot, choice)


def test_a_narrow_block_is_a_prefix_view() -> None:
    net = SortedViT(SMALL)
    whole = net.state_dict()
    block = net.block("layers.1", "ffn32")
    for name, part in block.named_parameters():
        stored = whole[f"layers.1.{name}"]
        assert part.data_ptr() == stored.data_ptr(), name
        assert part.is_contiguous()
        assert torch.equal(part, stored[: len(part)])
    assert dict(block.named_parameters())["down_weight"].shape == (32, 32)
    with torch.no_grad():
        layer_of(net, 1).up.weight[0, 0] = 42.0
    assert dict(block.named_parameters())["up.weight"][0, 0] == 42.0


def test_few_heads_are_a_prefix_of_rows() -> None:
    net = SortedViT(replace(SMALL, head_counts=(1, 2, 4)))
    whole = {n: p for n, p in net.state_dict().items() if n.startswith("layers.0.")}
    parts = dict(net.block("layers.0", "ffn32.heads2").named_parameters())
    assert len(parts) == len(whole)
    for name, part in parts.items():
        stored = whole[f"layers.0.{name}"]
        assert part.data_ptr() == stored.data_ptr(), name
        assert part.is_contiguous()
        assert part.shape[1:] == stored.shape[1:]
    narrow = {name: len(part) for name, part in parts.items() if len(part) < 32}
    assert narrow == {
        "query.weight": 16, "query.bias": 16, "key.weight": 16, "key.bias": 16,
        "value.weight": 16, "value.bias": 16, "project_weight": 16,
    }  # fmt: skip


def test_heads_in_training_and_in_blocks_are_the_same_computation() -> None:
    net = SortedViT(replace(SMALL, head_counts=(1, 2, 4), depths=(2,)), seed=1)
    with torch.inference_mode():
        found = [SubnetModule(net, subnet)(images(2)) for subnet in net.space.subnets()]
        wanted = [net(images(2), 2, ffn, h) for ffn in SMALL.ffns for h in (1, 2, 4)]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(found))


def test_heads_do_not_see_each_other(net: SortedViT) -> None:
    """The first heads alone are the whole attention with the others' way back cut off."""
    layer = copy.deepcopy(layer_of(net, 0))
    x = torch.randn((SMALL.tokens, SMALL.width), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = layer(x, heads=3)
        layer.project_weight[24:] = 0
        torch.testing.assert_close(found, layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_training_and_blocks_are_the_same_computation(net: SortedViT, batch: int) -> None:
    with torch.inference_mode():
        for subnet in net.space.subnets():
            depth = sum(slot.startswith("layers.") for slot in subnet.choices)
            ffn = int(subnet.choices["layers.0"].removeprefix("ffn"))
            compiled = SubnetModule(net, subnet)(images(batch))
            assert torch.equal(compiled, net(images(batch), depth, ffn)), subnet.name


def test_forward_without_a_choice_is_the_full_network(net: SortedViT) -> None:
    with torch.inference_mode():
        assert torch.equal(net(images(2)), net(images(2), 3, 64))


def test_images_of_a_batch_do_not_mix(net: SortedViT) -> None:
    batch = images(4)
    with torch.inference_mode():
        alone = torch.cat([net(batch[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(net(batch), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ffn", [16, 64])
def test_layer_equals_torch_own_encoder_layer(net: SortedViT, ffn: int) -> None:
    layer = layer_of(net, 0).prefix(ffn, SMALL.heads)
    width = SMALL.width
    oracle = torch.nn.TransformerEncoderLayer(
        width, SMALL.heads, ffn, dropout=0.0, activation=F.gelu, layer_norm_eps=1e-6,
        batch_first=True, norm_first=True,
    ).eval()  # fmt: skip
    joined = [layer.query, layer.key, layer.value]
    own = oracle.state_dict()
    own["self_attn.in_proj_weight"] = torch.cat([part.weight for part in joined])
    own["self_attn.in_proj_bias"] = torch.cat([part.bias for part in joined])
    for theirs, ours in [
        ("linear1", layer.up),
        ("norm1", layer.norm1),
        ("norm2", layer.norm2),
    ]:
        own[f"{theirs}.weight"], own[f"{theirs}.bias"] = ours.weight, ours.bias
    own["self_attn.out_proj.weight"] = layer.project_weight.T
    own["self_attn.out_proj.bias"] = layer.project_bias
    own["linear2.weight"], own["linear2.bias"] = layer.down_weight.T, layer.down_bias
    oracle.load_state_dict(own)
    x = torch.randn((2, SMALL.tokens, width), generator=torch.Generator().manual_seed(0))
    # In training mode without dropout: the fast path would be another implementation again.
    with torch.no_grad():
        expected = oracle.train()(x)
        found = layer(x.flatten(0, 1)).view(x.shape)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_narrow_step_leaves_the_other_weights_alone(net: SortedViT) -> None:
    trained = copy.deepcopy(net)
    trained(images(2), 2, 16).square().sum().backward()
    first, last = layer_of(trained, 0), layer_of(trained, 2)
    for gradient in (first.up.weight.grad, first.up.bias.grad, first.down_weight.grad):
        assert gradient is not None
        assert gradient[:16].abs().min() > 0
        assert gradient[16:].abs().max() == 0
    assert all(parameter.grad is None for parameter in last.parameters())


def test_weights_depend_on_the_seed_only() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = SortedViT(SMALL).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two, other = SortedViT(SMALL).state_dict(), SortedViT(SMALL, seed=1).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["stem.position"], other["stem.position"])


def test_example_inputs_take_a_batch(net: SortedViT) -> None:
    assert net.example_inputs()["image"].shape == (1, 1, 8, 8)
    assert net.example_inputs(batch=5)["image"].shape == (5, 1, 8, 8)
    assert torch.equal(net.example_inputs()["image"], net.example_inputs()["image"])


@pytest.fixture(scope="module")
def compiled(net: SortedViT, tmp_path_factory: pytest.TempPathFactory) -> tuple[SortedViT, Bundle]:
    small = SortedViT(replace(SMALL, ffns=(16, 64), depths=(1,)))
    small.load_state_dict({k: v for k, v in net.state_dict().items() if k in small.state_dict()})
    path = tmp_path_factory.mktemp("bundle") / "net.hwnas"
    return small, compile_supernet(small, path)


def weight_ranges(bundle: Bundle, choice: str) -> dict[str, tuple[int, int]]:
    used = bundle.manifest.blocks[f"layers.0/{choice}"].weights
    return {part.tensor: (part.offset, part.length) for part in used}


def test_compiled_layers_store_prefixes_once(compiled: tuple[SortedViT, Bundle]) -> None:
    small, bundle = compiled
    narrow, wide = weight_ranges(bundle, "ffn16"), weight_ranges(bundle, "ffn64")
    for name in ("layers.0.up.weight", "layers.0.up.bias", "layers.0.down_weight"):
        assert narrow[name] == (0, wide[name][1] // 4)
    stored = sum(tensor.nbytes for tensor in small.state_dict().values())
    assert bundle.weight_bytes(small.space.largest()) == stored


@pytest.mark.parametrize("choice", ["ffn16", "ffn64"])
def test_the_runtime_takes_every_weight_as_it_is_stored(
    compiled: tuple[SortedViT, Bundle], tmp_path: Path, choice: str
) -> None:
    """No product is rewritten around a transposed copy: widths still share their prefix."""
    small, bundle = compiled
    model, optimised = bundle.model(f"layers.0/{choice}"), tmp_path / "optimised.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(bundle.path)
    )
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = torch.randn((SMALL.tokens, SMALL.width), generator=torch.Generator().manual_seed(0))
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, small.block("layers.0", choice)(x), rtol=1e-5, atol=1e-5)
    graphs = [parse_model(data, choice).graph for data in (model, optimised.read_bytes())]
    before, after = (sorted(map(external_range, external_tensors(graph))) for graph in graphs)
    assert len(before) == 16
    assert after == before
    operators = Counter(node.op_type for node in graphs[1].node)
    assert operators["Gemm"] == 6
    assert operators["Gelu"] == 1
    assert operators["LayerNormalization"] == 2
    assert sum(operators.values()) <= 22, operators
