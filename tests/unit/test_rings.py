from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from hwnas.graphs import external_range, external_tensors
from hwnas.link import whole
from hwnas.link.rings import Rings, split_rings
from tests.support.bundles import make_bundle
from tests.support.elastic import (
    DIM,
    TOKENS,
    Net,
    attention,
    gated,
    ints,
    inverted,
    keys,
    node,
    rotated,
)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path)


def holds(net: Net, models: dict[str, ModelProto], found: Rings) -> None:
    """In rings each subnet computes the same, and its nodes are those of every wider one."""
    assert found.cut
    assert not found.left
    for name, model in models.items():
        ringed = found.models[name]
        np.testing.assert_allclose(net.run(ringed), net.run(model), rtol=1e-5, atol=1e-6)
        (net.folder / "ringed.onnx").write_bytes(ringed.SerializeToString())
        onnx.checker.check_model(net.folder / "ringed.onnx", full_check=True)
    ordered = list(models)
    for narrow, wide in itertools.pairwise(ordered):
        alone = keys(found.models[narrow]) - keys(found.models[wide])
        assert not alone, (narrow, wide, alone)


def mlp(net: Net, width: int, act: Callable[[str, str], list[NodeProto]]) -> ModelProto:
    p = f"mlp/w{width}"
    return net.model(
        [
            node("Gemm", f"x {p}/up {p}/upb", f"{p}/h", transB=1),
            *act(f"{p}/h", f"{p}/a"),
            node("Gemm", f"{p}/a {p}/down {p}/downb", f"{p}/d", alpha=0.5, beta=2.0),
            node("Add", f"x {p}/d", "y"),
        ],
        [
            net.weight(f"{p}/up", (24, DIM), width),
            net.weight(f"{p}/upb", (24,), width),
            net.weight(f"{p}/down", (24, DIM), width),
            net.weight(f"{p}/downb", (DIM,), DIM),
            helper.make_tensor(f"{p}/half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor(f"{p}/one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )


def erf_gelu(h: str, a: str) -> list[NodeProto]:
    p = h.rpartition("/")[0]
    return [
        node("Mul", f"{h} {p}/half", f"{a}1"),
        node("Erf", f"{a}1", f"{a}2"),
        node("Add", f"{p}/one {a}2", f"{a}3"),
        node("Mul", f"{a}3 {h}", a),
    ]


ACTIVATIONS: dict[str, Callable[[str, str], list[NodeProto]]] = {
    "relu": lambda h, a: [node("Relu", h, a)],
    "erf": erf_gelu,
    "norm of one": lambda h, a: [
        node("Unsqueeze", f"{h} {h[:-1]}axis", f"{a}1"),
        node("Softmax", f"{a}1", f"{a}2"),
        node("Squeeze", f"{a}2 {h[:-1]}axis", f"{a}3"),
        node("Mul", f"{a}3 {h}", a),
    ],
}


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_feed_forward(net: Net, act: str) -> None:
    models = {}
    for width in (4, 8, 20, 24):
        models[f"w{width}"] = model = mlp(net, width, ACTIVATIONS[act])
        model.graph.initializer.append(ints(f"mlp/w{width}/axis", 2))
    found = split_rings(models, ["mlp"])
    holds(net, models, found)
    assert found.cut == {"mlp/up": (4, 8, 20, 24)}
    ringed = found.models["w24"]
    gemms = [n for n in ringed.graph.node if n.op_type == "Gemm"]
    assert [n.output[0] for n in gemms[:4]] == [
        "mlp/h/ring0-4", "mlp/d/ring0-4", "mlp/h/ring4-8", "mlp/d/ring4-8",
    ]  # fmt: skip
    stored = {external_range(t) for t in external_tensors(models["w24"].graph)}
    parts = [external_range(t) for t in external_tensors(ringed.graph)]
    assert len(parts) == 4 * 3 + 1
    assert sum(n for _, n in parts) == sum(n for _, n in stored)


def test_one_ring_is_bit_exact(net: Net) -> None:
    models = {f"w{w}": mlp(net, w, erf_gelu) for w in (8, 16)}
    found = split_rings(models, ["mlp"])
    assert np.array_equal(net.run(models["w8"]), net.run(found.models["w8"]))


def test_further_subnets_are_cut_at_the_widths_of_the_others(net: Net) -> None:
    models = {f"w{w}": mlp(net, w, erf_gelu) for w in (8, 16, 24)}
    other = {"w12": mlp(net, 12, erf_gelu)}
    found = split_rings({n: models[n] for n in ("w8", "w24")}, ["mlp"], {"w16": models["w16"]})
    assert found.cut == {"mlp/up": (8, 24)}
    assert Counter(n.op_type for n in found.models["w16"].graph.node)["Gemm"] == 2
    both = split_rings({n: models[n] for n in ("w8", "w24")}, ["mlp"], other | models)
    holds(net, {n: models[n] for n in ("w8", "w24")}, both)
    np.testing.assert_array_equal(net.run(both.models["w12"]), net.run(other["w12"]))


def test_gated_feed_forward(net: Net) -> None:
    models = {f"w{w}": gated(net, w) for w in (4, 12, 16)}
    holds(net, models, split_rings(models, ["mlp"]))


@pytest.mark.parametrize("batch", [1, 2])
def test_heads(net: Net, batch: int) -> None:
    models = {f"h{h}": attention(net, h, batch) for h in (1, 2, 3)}
    found = split_rings(models, ["attn"])
    holds(net, models, found)
    assert found.cut == {"attn/wq": (4, 8, 12)}


def test_a_sum_that_the_network_returns_keeps_its_name(net: Net) -> None:
    models = {f"h{h}": attention(net, h, 1, ended=False) for h in (1, 3)}
    found = split_rings(models, ["attn"])
    assert [v.name for v in found.models["h3"].graph.output] == ["y"]
    np.testing.assert_allclose(
        net.run(found.models["h3"]), net.run(models["h3"]), rtol=1e-5, atol=1e-6
    )


def test_what_stands_around_a_head(net: Net) -> None:
    models = {f"h{h}": rotated(net, h) for h in (1, 2, 3)}
    found = split_rings(models, ["attn"])
    holds(net, models, found)
    assert found.cut == {"attn/wq": (4, 8, 12)}


def test_inverted_residual(net: Net) -> None:
    models = {f"w{w}": inverted(net, w) for w in (6, 18, 24)}
    # Inline parameters of the batch norm are equal values, cut as the stored ones are.
    found = split_rings(models, ["conv"])
    assert found.cut == {"conv/expand": (6, 18, 24)}
    holds(net, models, found)


def test_a_mean_over_the_channels_is_left_alone(net: Net) -> None:
    models = {f"w{w}": inverted(net, w, mean=True) for w in (6, 24)}
    found = split_rings(models, ["conv"])
    assert not found.cut
    assert "ReduceMean mixes" in found.left["conv/expand"]
    assert all(found.models[name] is model for name, model in models.items())


def test_usual_convolutions_are_left_alone(net: Net) -> None:
    models = {f"w{w}": inverted(net, w, usual=True) for w in (6, 24)}
    found = split_rings(models, ["conv"])
    assert not found.cut
    assert "not stored by the channels" in found.left["conv/expand"]


def broken(net: Net, width: int, how: str) -> ModelProto:
    def act(h: str, a: str) -> list[NodeProto]:
        p = h.rpartition("/")[0]
        return {
            "Softmax": [node("Softmax", h, a)],
            "CumSum": [node("CumSum", f"{h} {p}/last", a)],
            "network returns": [node("Identity", h, "y"), node("Relu", h, a)],
            "not made by": [
                node("Gemm", f"x {p}/own", f"{p}/o", transB=1),
                node("Mul", f"{p}/o {h}", a),
            ],
            "Reshape": [
                node("Reshape", f"{h} {p}/mix", f"{p}/r"),
                node("Relu", f"{p}/r", f"{p}/r2"),
                node("Reshape", f"{p}/r2 {p}/unmix", a),
            ],
            "graph of its own": [
                helper.make_node(
                    "If", [f"{p}/yes"], [a],
                    then_branch=helper.make_graph(
                        [helper.make_node("Relu", [h], ["then"])],
                        "then", [], [helper.make_empty_tensor_value_info("then")],
                    ),
                    else_branch=helper.make_graph(
                        [helper.make_node("Neg", [h], ["else"])],
                        "else", [], [helper.make_empty_tensor_value_info("else")],
                    ),
                )
            ],
        }[how]  # fmt: skip

    model = mlp(net, width, act)
    p = f"mlp/w{width}"
    model.graph.initializer.extend(
        [
            helper.make_tensor(f"{p}/last", TensorProto.INT64, [], [1]),
            helper.make_tensor(f"{p}/yes", TensorProto.BOOL, [], [True]),
            ints(f"{p}/mix", width, TOKENS),
            ints(f"{p}/unmix", TOKENS, width),
            net.weight(f"{p}/own{width}", (width, DIM), width),
        ]
    )
    model.graph.initializer[-1].name = f"{p}/own"
    if how == "network returns":
        model.graph.node[-1].output[0] = f"{p}/unused"
        del model.graph.output[0].type.tensor_type.shape.dim[:]
    return model


@pytest.mark.parametrize(
    "how",
    ["Softmax", "CumSum", "network returns", "not made by", "Reshape", "graph of its own"],
)
def test_what_cannot_be_followed_is_left_alone(net: Net, how: str) -> None:
    models = {f"w{w}": broken(net, w, how) for w in (8, 24)}
    if how != "network returns":
        net.run(models["w8"])
    found = split_rings(models, ["mlp"])
    assert not found.cut
    assert how in found.left["mlp/up"]
    assert all(found.models[name] is model for name, model in models.items())


def test_one_lost_region_leaves_the_others(net: Net) -> None:
    models = {}
    for width in (8, 24):
        good, bad = mlp(net, width, erf_gelu), broken(net, width, "Softmax")
        for n in (*bad.graph.node, *bad.graph.initializer):
            n.name = n.name.replace("mlp/", "bad/").replace("y", "z")
            if isinstance(n, NodeProto):
                n.input[:] = [i.replace("mlp/", "bad/") if i != "x" else "y" for i in n.input]
                n.output[:] = [o.replace("mlp/", "bad/").replace("y", "z") for o in n.output]
        good.graph.node.extend(bad.graph.node)
        good.graph.initializer.extend(bad.graph.initializer)
        good.graph.output[0].name = "z"
        models[f"w{width}"] = good
    found = split_rings(models, ["mlp", "bad"])
    assert found.cut == {"mlp/up": (8, 24)}
    assert list(found.left) == ["bad/up"]
    np.testing.assert_allclose(
        net.run(found.models["w24"]), net.run(models["w24"]), rtol=1e-5, atol=1e-6
    )


def test_without_elastic_weights_nothing_changes(net: Net) -> None:
    models = {"a": mlp(net, 24, erf_gelu), "b": mlp(net, 24, ACTIVATIONS["relu"])}
    found = split_rings(models, ["mlp"], {"c": models["a"]})
    assert found == Rings({**models, "c": models["a"]}, {}, {})
    assert found.models["a"] is models["a"]


@pytest.mark.parametrize("equal", [True, False])
def test_whole_subnets_of_a_space(tmp_path: Path, equal: bool) -> None:
    bundle = make_bundle(tmp_path / "net.hwnas", depth=2, widths=(4, 8, 16), equal=equal)
    space = bundle.manifest.space
    models = {s.name: whole(bundle, s) for s in space.subnets()}
    before = {name: model.SerializeToString() for name, model in models.items()}
    found = split_rings(models, [slot.name for slot in space.slots])
    assert found.cut == {f"layers.{i}/layers.{i}.w1": (4, 8, 16) for i in (0, 1)}
    assert not found.left
    net = Net(tmp_path)
    net.folder = bundle.path
    for name, model in models.items():
        assert model.SerializeToString() == before[name]
        np.testing.assert_allclose(
            net.run(found.models[name]), net.run(model), rtol=1e-5, atol=1e-6
        )
    known = keys(found.models[space.largest().name])
    assert all(not keys(model) - known for model in found.models.values())


def test_regions_that_share_a_constant_cut_it_each_in_its_own_way(tmp_path: Path) -> None:
    net = Net(tmp_path)

    def layer(slot: str, choice: str, x: str, y: str, rows: int, full: int, size: int) -> Any:
        at, heads = f"{slot}/{choice}", rows // size
        nodes = [
            node("Gemm", f"{x} {at}/up", f"{at}/h", transB=1),
            node("Reshape", f"{at}/h {at}/split", f"{at}/heads"),
            node("Mul", f"{at}/heads a/{choice}/slopes{heads}", f"{at}/scaled"),
            node("Reshape", f"{at}/scaled {at}/join", f"{at}/joined"),
            node("Gemm", f"{at}/joined {at}/down", y),
        ]
        weights = [
            net.weight(f"{at}/up", (full, DIM), rows),
            net.weight(f"{at}/down", (full, DIM), rows),
            ints(f"{at}/split", TOKENS, heads, size),
            ints(f"{at}/join", TOKENS, rows),
        ]
        return nodes, weights, heads

    models = {}
    for choice, first, second in (("s", 8, 8), ("l", 32, 16)):
        middle = f"a/{choice}/y"
        nodes, weights, heads = layer("a", choice, "x", middle, first, 32, 8)
        more, others, others_heads = layer("b", choice, middle, "y", second, 16, 4)
        slopes = [
            net.weight(f"a/{choice}/slopes{n}", (4, 1), n) for n in sorted({heads, others_heads})
        ]
        models[choice] = net.model(nodes + more, [*weights, *others, *slopes])
    found = split_rings(models, ["a", "b"])
    assert len(found.cut) == 2
    for name, model in models.items():
        np.testing.assert_allclose(net.run(found.models[name]), net.run(model), 1e-5, 1e-6)
