"""Finalised bundles: made for this CPU, cut across blocks, equal bit for bit to static exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hwnas.bundle import Bundle
from hwnas.compile import compile_supernet
from hwnas.errors import InputError, OtherMachine, UsageError
from hwnas.export import Wanted, export_bundle, export_finalised, export_onnx
from hwnas.export.verify import onnx_runner
from hwnas.link import whole
from hwnas.link.norms import OwnNorms, read_norms
from hwnas.link.optimise import optimise
from hwnas.link.pool import Pool
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from hwnas.space import Subnet
from hwnas.supernets.reference import load
from tests.support.bundles import make_bundle

NETS = Path(__file__).parents[1] / "data" / "nets.py"


def compiled(name: str, folder: Path) -> Bundle:
    return compile_supernet(load(f"{NETS}:{name}"), folder / f"{name}.hwnas")


@pytest.fixture(scope="module")
def convs(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compiled("convs", tmp_path_factory.mktemp("convs"))


def wanted(bundle: Bundle, *names: str) -> list[Wanted]:
    space = bundle.manifest.space
    return [Wanted(space.find(n)) for n in names] or [Wanted(s) for s in space.subnets()]


def outputs(path: Path, subnets: list[Subnet]) -> dict[str, Mapping[str, Any]]:
    with Switcher(path) as switcher:
        feeds = random_inputs(switcher.inputs, 0)
        return {s.name: switcher.run(feeds, subnet=s.name) for s in subnets}


def assert_static(
    source: Bundle, path: Path, items: list[Wanted], folder: Path, *, rings: bool = False
) -> None:
    """Every subnet computes, bit for bit, what its own export computes in stock ONNX Runtime.

    Widths are cut into rings, which add up in another order: then up to rounding.
    """
    export_onnx(source, items, folder)
    run = onnx_runner(folder)
    feeds = random_inputs(source.manifest.inputs, 0)
    for name, found in outputs(path, [item.subnet for item in items]).items():
        subnet = next(item.subnet for item in items if item.subnet.name == name)
        for output, expected in run(subnet, feeds).items():
            if rings:
                np.testing.assert_allclose(found[output], expected, 1e-5, 1e-5)
            else:
                np.testing.assert_array_equal(found[output], expected, f"{name} {output}")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("tiny", ["d1-ffn64", "d2-ffn64", "d3-ffn64"]),
        ("UNet", ["d0", "d1-w16", "d2-w16"]),
        ("convs", []),
    ],
)
def test_every_depth_equals_its_static_export(name: str, names: list[str], tmp_path: Path) -> None:
    source = compiled(name, tmp_path)
    items = wanted(source, *names)
    export_finalised(source, items, tmp_path / "out")
    assert_static(source, tmp_path / "out", items, tmp_path / "onnx")


@pytest.mark.parametrize("name", ["tiny", "UNet"])
def test_every_width_computes_what_its_static_export_does(name: str, tmp_path: Path) -> None:
    source = compiled(name, tmp_path)
    items = [item for item in wanted(source) if not item.subnet.name.startswith("d0")]
    export_finalised(source, items, tmp_path / "out")
    assert_static(source, tmp_path / "out", items, tmp_path / "onnx", rings=True)


def test_what_subnets_share_is_stored_once(tiny_bundle: Path, tmp_path: Path) -> None:
    source = Bundle.open(tiny_bundle, "space")
    export_finalised(source, wanted(source, "d1-ffn64", "d2-ffn64", "d3-ffn64"), tmp_path / "all")
    export_finalised(source, wanted(source, "d3-ffn64"), tmp_path / "one")
    everything, largest = (load_file(tmp_path / n / "weights.safetensors") for n in ("all", "one"))
    assert sum(a.nbytes for a in everything.values()) == sum(a.nbytes for a in largest.values())
    contents = [array.tobytes() for array in everything.values()]
    assert len(contents) == len(set(contents))


def test_the_same_export_gives_the_same_bytes(convs: Bundle, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        export_finalised(convs, wanted(convs), tmp_path / folder)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    for file in files:
        if (tmp_path / "a" / file).is_file():
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_nothing_is_left_behind(convs: Bundle, tmp_path: Path) -> None:
    export_finalised(convs, wanted(convs, "d1", "d3"), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".hwnas.json",
        "manifest.json",
        "segments",
        "weights.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_further_subnets_are_named_where_they_are_covered(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "net", depth=3, widths=(8,))
    export_finalised(
        source,
        wanted(source, "d1", "d2", "d3"),
        tmp_path / "out",
    )
    before = (tmp_path / "out" / "weights.safetensors").read_bytes()
    shallow = wanted(source, "d1", "d3")
    with pytest.raises(UsageError, match=r"do not cover 'd2'.*part of segment"):
        export_finalised(source, shallow, tmp_path / "no", further=wanted(source, "d2"))
    assert not (tmp_path / "no").exists()
    found = export_finalised(
        source, shallow, tmp_path / "some", further=wanted(source, "d2"), optional={"d2"}
    )
    assert list(found.manifest.subnets) == ["d1", "d3"]
    assert before == (tmp_path / "out" / "weights.safetensors").read_bytes()


def test_what_was_never_exported_is_named(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "net", depth=2, widths=(8, 16), equal=False)
    pairs = [(8, 8), (16, 16), (16, 8)]
    items = wanted(source, *(f"d2-layers.0.h{a}-layers.1.h{b}" for a, b in pairs))
    mixed = wanted(source, "d2-layers.0.h8-layers.1.h16")
    export_finalised(source, items, tmp_path / "out", further=mixed)
    assert_static(source, tmp_path / "out", [*items, *mixed], tmp_path / "onnx", rings=True)


def test_a_portable_bundle_is_finalised_where_it_runs(convs: Bundle, tmp_path: Path) -> None:
    portable = export_bundle(convs, wanted(convs), tmp_path / "portable")
    assert portable.manifest.finalised is None
    items = [Wanted(item.subnet, 0.5, {"p50_ms": 1.0}) for item in wanted(convs)]
    made = export_finalised(portable, items, tmp_path / "out")
    assert made.manifest.finalised is not None
    assert made.entry("d2").quality == 0.5
    assert made.entry("d2").kind == portable.entry("d2").kind
    assert_static(convs, tmp_path / "out", items, tmp_path / "onnx")
    with pytest.raises(UsageError, match="finalised already"):
        export_finalised(made, items, tmp_path / "again")


@pytest.mark.parametrize(
    "change", [{"version": "1.1.0"}, {"machine": "riscv64"}, {"isa": ["avx"]}, {"isa": []}]
)
def test_elsewhere_it_is_refused(convs: Bundle, tmp_path: Path, change: dict[str, Any]) -> None:
    export_finalised(convs, wanted(convs, "d1"), tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    data = json.loads(path.read_text())
    data["finalised"] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(OtherMachine, match="finalised for onnxruntime"):
        Switcher(tmp_path / "out")


def statistics(convs: Bundle, subnet: str, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    depth = int(subnet[1:])
    return {
        f"body.{i}/base/norm.{name}": generator.uniform(0.5, 2, 16).astype(np.float32)
        for i in range(depth)
        for name in ("running_mean", "running_var")
    }


@pytest.mark.parametrize("mode", ["shared", "folded"])
def test_subnets_with_statistics_of_their_own(convs: Bundle, tmp_path: Path, mode: Any) -> None:
    items = [
        Wanted(convs.manifest.space.find(n), norms=OwnNorms(statistics(convs, n, i), mode))
        for i, n in enumerate(("d1", "d2", "d3"))
    ]
    export_finalised(convs, items, tmp_path / "own")
    plain = [Wanted(item.subnet) for item in items]
    export_finalised(convs, plain, tmp_path / "plain")
    export_onnx(convs, items, tmp_path / "onnx")
    run = onnx_runner(tmp_path / "onnx")
    feeds = random_inputs(convs.manifest.inputs, 0)
    found = outputs(tmp_path / "own", [item.subnet for item in items])
    common = outputs(tmp_path / "plain", [item.subnet for item in items])
    for item in items:
        expected = run(item.subnet, feeds)["logits"]
        np.testing.assert_allclose(found[item.subnet.name]["logits"], expected, atol=1e-5)
        assert np.abs(common[item.subnet.name]["logits"] - expected).max() > 1e-3
    # Three convolutions of 16x16x3x3 are shared; folded, each subnet has its own: 1 + 2 + 3.
    sizes = [a.nbytes for a in load_file(tmp_path / "own" / "weights.safetensors").values()]
    assert sizes.count(16 * 16 * 9 * 4) == {"shared": 3, "folded": 6}[mode]


def test_statistics_that_fit_nothing(convs: Bundle, tmp_path: Path) -> None:
    subnet = convs.manifest.space.find("d1")
    for name, array, text in (
        ("body.0/base/norm.nothing", np.ones(16, np.float32), "no batch norm of subnet 'd1'"),
        ("body.1/base/norm.running_var", np.ones(16, np.float32), "no batch norm of subnet 'd1'"),
        ("body.0/base/norm.running_var", np.ones(15, np.float32), "give finite numbers"),
        ("body.0/base/norm.running_var", np.full(16, np.nan, np.float32), "give finite numbers"),
    ):
        with pytest.raises(InputError) as caught:
            item = Wanted(subnet, norms=OwnNorms({name: array}))
            export_finalised(convs, [item], tmp_path / "out")
        assert text in str(caught.value)
    item = Wanted(subnet, norms=OwnNorms(statistics(convs, "d1", 0)))
    with pytest.raises(UsageError, match="portable bundle"):
        export_bundle(convs, [item], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reading_statistics(tmp_path: Path) -> None:
    array = np.ones(3, np.float32)
    save_file({"d1:a/base/n.running_mean": array}, tmp_path / "good.safetensors")
    found = read_norms(tmp_path / "good.safetensors")
    assert list(found["d1"]) == ["a/base/n.running_mean"]
    save_file({"running_mean": array}, tmp_path / "names.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    for name in ("names", "damaged", "missing"):
        with pytest.raises(InputError):
            read_norms(tmp_path / f"{name}.safetensors")


def test_a_graph_that_the_runtime_refuses(convs: Bundle, tmp_path: Path) -> None:
    model = whole(convs, "d1")
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(Exception, match="cannot finalise d1"):
        optimise(model, convs.path, tmp_path, "d1")


def test_the_pool_keeps_each_content_once(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "pool")
    whole_tensor = np.arange(12, dtype=np.float32).reshape(4, 3)
    first = pool.add(whole_tensor, "w")
    assert pool.add(whole_tensor.copy(), "other") == first
    rows, other = pool.add(whole_tensor[:2], "rows"), pool.add(whole_tensor[1:3], "middle")
    shaped = pool.add(whole_tensor.reshape(3, 4), "shaped")
    tensors, ranges = pool.stored(dict.fromkeys([first, rows, other, shaped]))
    assert {name: array.shape for name, array in tensors.items()} == {
        "w": (4, 3),
        "middle": (2, 3),
        "shaped": (3, 4),
    }
    assert (ranges[rows].tensor, ranges[rows].offset, ranges[rows].length) == ("w", 0, 24)
    np.testing.assert_array_equal(pool.array(rows), whole_tensor[:2])
