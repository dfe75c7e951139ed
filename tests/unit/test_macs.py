"""Multiply-accumulates, against what is known of networks and against formulas by hand."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from hwnas.bundle import Bundle
from hwnas.errors import BundleError
from hwnas.graphs import macs
from hwnas.table import CostModel
from tests.support.bundles import make_bundle
from tests.support.mobile import Net
from tests.support.tables import fill_blocks


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or None)


def model(nodes: list[onnx.NodeProto], given: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [value(n, *s) for n, s in given.items()], [value("y")]
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


@pytest.mark.parametrize(
    ("kind", "given", "attributes", "expected"),
    [
        ("Conv", {"x": (2, 8, 10, 10), "w": (6, 8, 3, 3)}, {}, 2 * 6 * 8 * 8 * 8 * 9),
        (
            "Conv",
            {"x": (1, 8, 10, 10), "w": (8, 1, 3, 3)},
            {"group": 8, "strides": [2, 2], "pads": [1, 1, 1, 1]},
            8 * 5 * 5 * 9,
        ),
        ("Conv", {"x": (1, 4, 20), "w": (6, 4, 5)}, {}, 6 * 16 * 4 * 5),
        ("ConvTranspose", {"x": (1, 8, 4, 4), "w": (8, 3, 2, 2)}, {}, 8 * 16 * 3 * 4),
        ("Gemm", {"x": (7, 5), "w": (5, 3)}, {}, 7 * 5 * 3),
        ("Gemm", {"x": (5, 7), "w": (3, 5)}, {"transA": 1, "transB": 1}, 7 * 5 * 3),
        ("MatMul", {"x": (2, 4, 9, 16), "w": (16, 5)}, {}, 2 * 4 * 9 * 16 * 5),
        ("MatMul", {"x": (1, 4, 9, 16), "w": (1, 4, 16, 9)}, {}, 4 * 9 * 16 * 9),
        ("MatMul", {"x": (16,), "w": (16,)}, {}, 16),
        ("Add", {"x": (7, 5), "w": (7, 5)}, {}, 0),
    ],
)
def test_each_operator(
    kind: str, given: dict[str, tuple[int, ...]], attributes: dict[str, object], expected: int
) -> None:
    node = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    assert macs(model([node], given)) == expected


def test_shapes_within_are_inferred() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    assert macs(model(nodes, {"x": (7, 5)})) == 7 * 7 * 5


def test_what_cannot_be_counted_is_refused() -> None:
    free = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([free], "g", [value("x", 2, 3), value("w")], [value("y")])
    with pytest.raises(BundleError, match=r"shape of '[yw]' at MatMul is not known"):
        macs(helper.make_model(graph))
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [value("z")])
    either = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    inputs = [value("x", 2), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph([either], "g", inputs, [value("y")])
    with pytest.raises(BundleError, match="how often If runs"):
        macs(helper.make_model(graph))


def bottleneck(net: Net, middle: int, out: int, stride: int, projects: bool) -> int:
    before = net.shape
    net.conv(middle).conv(middle, 3, stride).conv(out)
    total = 0
    if projects:  # beside the trunk, so that it does not change its shape
        total = before[0] * out * net.shape[1] * net.shape[2]
    return total


def test_resnet50_has_the_known_number() -> None:
    """4,089,184,256 for 224 x 224 and 1000 classes, as counters of several frameworks give it."""
    net = Net((3, 224, 224)).conv(64, 7, 2)
    net.shape = (64, 56, 56)  # what a max pooling does to it
    net.add("MaxPool", [net.value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    beside = 0
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            beside += bottleneck(net, 64 << stage, 256 << stage, stride, projects=not i)
    found = macs(net.pool().linear(1000).model())
    assert found + beside == 4_089_184_256


# MobileNetV3-Large (arXiv:1905.02244) with all kernels 7, expansions 6 and depths 4, as the largest
# subnet of Once-for-All: width, stride, squeeze and excitation of each stage.
STAGES = [(24, 2, False), (40, 2, True), (80, 2, False), (112, 1, True), (160, 2, True)]


def divisible(value: float) -> int:
    return int(value + 4) // 8 * 8


def test_the_largest_once_for_all_mobilenet_has_about_0_6_billion() -> None:
    net = Net((3, 224, 224)).conv(16, 3, 2).inverted(16, 16, 3, expands=False)
    by_hand = 16 * 3 * 9 * 112**2 + 16 * 9 * 112**2 + 16 * 16 * 112**2
    channels, size = 16, 112
    for width, stride, squeezes in STAGES:
        for i in range(4):
            middle, step = channels * 6, stride if i == 0 else 1
            se = divisible(middle / 4) if squeezes else 0
            net.inverted(width, middle, 7, step, "hswish", se)
            by_hand += channels * middle * size**2
            size //= step
            by_hand += middle * 49 * size**2 + 2 * middle * se + middle * width * size**2
            channels = width
    net.conv(960).pool().conv(1280).linear(1000)
    by_hand += 160 * 960 * 7**2 + 960 * 1280 + 1280 * 1000
    assert macs(net.model()) == by_hand
    assert 0.5e9 < by_hand < 0.7e9


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "net.hwnas")


def test_a_subnet_has_those_of_its_blocks(tmp_path_factory: pytest.TempPathFactory,
                                          bundle: Bundle) -> None:  # fmt: skip
    ms = dict.fromkeys(bundle.kinds().values(), 1.0)
    with fill_blocks(tmp_path_factory.mktemp("lut") / "l.db", bundle, ms) as lut:
        cost = CostModel(bundle, lut).predict(bundle.manifest.space.find("d2-h8"))
    assert cost.macs == 16 * 16 + 2 * (2 * 16 * 8) + 16 * 4
    assert cost.metric("macs") == cost.macs
