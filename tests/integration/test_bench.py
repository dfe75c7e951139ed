"""``hwnas bench``: that it measures every contender, and finds an artifact that computes else.

Nothing here asserts a time: figures belong to ``make bench``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper, load

from hwnas.bench import Report, Rounds, compare_all
from hwnas.bench.static import prepare
from hwnas.bundle import WEIGHTS, Bundle
from hwnas.errors import BundleError, UnknownName
from hwnas.export import Wanted, export_finalised, export_onnx
from hwnas.files import sha256_file
from hwnas.profile.interleave import interleave, ratio
from hwnas.runtime.native import native_missing
from tests.support.backends import need

SHORT = Rounds(seconds=0.0, replicates=2, fewest=3)
NATIVE = native_missing() is None


def bench(path: Path, onnx: Path | None = None, onnx_switch: Path | None = None) -> Report:
    return compare_all(path, onnx=onnx, onnx_switch=onnx_switch, rounds=SHORT, processes=1)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> tuple[Path, Path]:
    """Two depths of one width, finalised, and the same as ONNX files."""
    folder = tmp_path_factory.mktemp("bench")
    source = Bundle.open(tiny_bundle, "space")
    subnets = list(source.manifest.space.subnets())
    wide = [subnet for subnet in subnets if subnet.name.endswith("ffn64")]
    wanted = [Wanted(wide[0]), Wanted(wide[-1])]
    export_finalised(source, wanted, folder / "out")
    export_onnx(source, wanted, folder / "onnx")
    return folder / "out", folder / "onnx"


def check_complete(report: Report, path: Path, contenders: set[str]) -> None:
    found = report.to_dict()
    json.dumps(found, allow_nan=False)
    assert found["schema_version"] == 1
    assert found["device"]["runtime_version"]
    names = set(Bundle.open(path).manifest.subnets)
    assert set(found["subnets"]) == names
    assert found["contender"] == ("native" if NATIVE else "python")
    both = {"native", "native static"} if NATIVE else set()
    for one in found["subnets"].values():
        assert set(one["contenders"]) == contenders | both
        assert one["rounds"] >= SHORT.replicates * SHORT.fewest
        assert one["noise"]["low"] <= one["noise"]["value"] <= one["noise"]["high"]
        for contender in one["contenders"].values():
            value = contender["ratio"]
            assert len(value["replicates"]) == SHORT.replicates
            assert 0 < value["low"] <= value["high"]
            assert contender["equal"], one
            assert contender["max_abs_diff"] == 0
    alone = {"native alone", "native unverified", "native"} if NATIVE else set()
    assert set(found["footprints"]) == {"stock alone", "separate", *contenders} | alone
    for one in found["footprints"].values():
        assert len(one["load_ms"]) == len(one["first_ms"]) == 1
        assert one["bytes"] > 0
    assert set(found["switch_us"]) == {"python", *({"native"} if NATIVE else ())}


def test_every_contender_is_measured(exports: tuple[Path, Path]) -> None:
    report = bench(exports[0], onnx=exports[1])
    check_complete(report, exports[0], {"python"})
    assert report.finalised
    assert report.exported
    assert 1.0 < report.bytes_ratio("native" if NATIVE else "python") < 3.0
    assert report.bytes_ratio("separate") > 1.2
    memory = report.memory_ratio("separate")  # of so small a net it is noise
    assert memory is None or memory > 0


def test_a_bundle_alone_is_enough(shipped: Path, exports: tuple[Path, Path]) -> None:
    for path in (shipped, exports[0]):
        before = sorted(path.parent.iterdir())
        check_complete(bench(path), path, {"python"})
        assert sorted(path.parent.iterdir()) == before  # nothing is left beside it


def test_a_wrong_artifact_shows(exports: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "out"
    shutil.copytree(exports[0], wrong)
    spoil(wrong)
    report = bench(wrong, onnx=exports[1])
    for one in report.subnets.values():
        assert not one.contenders["python"].equal
        assert one.contenders["python"].max_abs_diff > 0
        assert one.contenders[report.main].max_abs_diff > 0


def spoil(path: Path) -> None:
    """Flip one bit of every stored weight, and make the manifest agree."""
    weights = path / WEIGHTS
    data = bytearray(weights.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    numbers = np.frombuffer(data, np.uint32, (len(data) - start) // 4, start)
    numbers ^= 1 << 20
    weights.write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["weights"]["sha256"] = sha256_file(weights)
    (path / "manifest.json").write_text(json.dumps(manifest))


def make_switch_model(onnx_folder: Path, names: list[str], folder: Path) -> None:
    """A model with one ``If`` per two subnets, the way that ``--to onnx-switch`` is read."""
    bodies = [load(onnx_folder / f"{name}.onnx", load_external_data=False) for name in names]
    branches, stored = [], []
    for i, body in enumerate(bodies):
        for tensor in body.graph.initializer:
            stored.append(tensor)
        nodes = list(body.graph.node)
        rename = {t.name: f"{i}/{t.name}" for t in body.graph.initializer}
        rename |= {o: f"{i}/{o}" for node in nodes for o in node.output}
        for node in nodes:
            node.input[:] = [rename.get(v, v) for v in node.input]
            node.output[:] = [rename.get(v, v) for v in node.output]
        for tensor in body.graph.initializer:
            tensor.name = rename[tensor.name]
        outputs = [ValueInfoProto.FromString(o.SerializeToString()) for o in body.graph.output]
        for value in outputs:
            value.name = rename[value.name]
        branches.append(helper.make_graph(nodes, f"body{i}", [], outputs))
    first = bodies[0].graph
    which = helper.make_tensor_value_info("subnet", TensorProto.INT64, [])
    condition = helper.make_node("Cast", ["subnet"], ["last"], to=TensorProto.BOOL)
    gate = helper.make_node(
        "If",
        ["last"],
        [value.name for value in first.output],
        then_branch=branches[1],
        else_branch=branches[0],
    )
    graph = helper.make_graph(
        [condition, gate], "switch", [*first.input, which], list(first.output), stored
    )
    model = helper.make_model(
        graph, opset_imports=bodies[0].opset_import, ir_version=bodies[0].ir_version
    )
    helper.set_model_props(model, {"hwnas.subnets": json.dumps(names)})
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    shutil.copy(onnx_folder / WEIGHTS, folder / WEIGHTS)


def test_the_single_file_model_is_a_contender(exports: tuple[Path, Path], tmp_path: Path) -> None:
    names = list(Bundle.open(exports[0]).manifest.subnets)
    make_switch_model(exports[1], names, tmp_path / "switch")
    report = bench(exports[0], onnx=exports[1], onnx_switch=tmp_path / "switch")
    for one in report.subnets.values():
        assert one.contenders["onnx-switch"].max_abs_diff < 1e-4
    assert report.footprints["onnx-switch"].bytes > 0
    assert "onnx-switch" not in report.switch_us  # there is no such call


def test_wrong_folders_are_named(exports: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"hwnas export --to onnx'"):
        bench(exports[0], onnx=tmp_path)
    with pytest.raises(BundleError, match=r"--to onnx-switch"):
        bench(exports[0], onnx=exports[1], onnx_switch=tmp_path)
    names = list(Bundle.open(exports[0]).manifest.subnets)
    make_switch_model(exports[1], names, tmp_path / "switch")
    model = load(tmp_path / "switch" / "model.onnx", load_external_data=False)
    helper.set_model_props(model, {"hwnas.subnets": '["other", "more"]'})
    (tmp_path / "switch" / "model.onnx").write_bytes(model.SerializeToString())
    from hwnas.bench.contenders import SwitchModel

    with pytest.raises(UnknownName, match="other"):
        SwitchModel(tmp_path / "switch", 1).runner(names[0], {})


def test_native_workers_import_no_onnxruntime(exports: tuple[Path, Path]) -> None:
    need("native")
    with prepare(Bundle.open(exports[0]), exports[1]) as statics:
        request = {
            "how": "native",
            "paths": str(exports[0]),
            "nothing": str(statics.nothing.bundle),
            "specs": str(exports[0]),
            "subnets": list(statics.subnets),
            "threads": 1,
            "verify": True,
        }
        code = (
            "import json, sys; from hwnas.bench.footprint_worker import main; "
            "print(json.dumps(main(json.loads(sys.argv[1])))); "
            "sys.exit('onnxruntime' in sys.modules)"
        )
        command = [sys.executable, "-P", "-c", code, json.dumps(request)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["load_ms"] > 0


def test_ratios_and_their_intervals() -> None:
    rng = np.random.default_rng(1)
    quiet = [1.02 + 0.001 * rng.standard_normal(200) for _ in range(3)]
    found = ratio(quiet)
    assert found.low <= found.value <= found.high
    assert abs(found.value - 1.02) < 0.001
    assert found.half < 0.001
    # Replicates that disagree make the interval as wide as they are apart.
    apart = ratio([quiet[0] - 0.02, quiet[1], quiet[2] + 0.02])
    assert apart.low < 1.002 < 1.038 < apart.high
    assert ratio([np.ones(5)]).half == 0
    # A round in ten that is interrupted does not move it.
    noisy = quiet[0].copy()
    noisy[::10] *= 30
    assert abs(ratio([noisy]).value - 1.02) < 0.001


def test_every_run_is_timed_in_every_round() -> None:
    seen: list[str] = []
    runs = [lambda: seen.append("a"), lambda: seen.append("b")]
    times, total = interleave(runs, 0.0, 4)
    assert times.shape == (total, 2) == (4, 2)
    assert (times > 0).all()
    assert {"a", "b"} == set(seen)


def test_rounds_that_waited_are_left_out() -> None:
    calls = iter(range(1000))

    def now_and_then() -> None:
        if next(calls) % 4 == 3:
            time.sleep(0.02)
        else:
            end = time.perf_counter() + 0.015
            while time.perf_counter() < end:
                pass

    times, total = interleave([now_and_then], 0.8, 4)
    assert 4 <= len(times) < total
    assert (times < 20e6).any()
    kept, total = interleave([lambda: time.sleep(0.02)], 0.0, 3)
    assert len(kept) == total == 3  # all of them waited: better than nothing
