"""Subnets that take and give other shapes: from compile to both switchers, and every refusal."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.bench import Rounds, compare_all
from hwnas.bundle import Bundle
from hwnas.cli.main import main
from hwnas.compile import compile_supernet
from hwnas.errors import InputError, UnknownName, UsageError
from hwnas.export import Wanted, export_bundle, export_finalised, export_onnx, verify
from hwnas.export.onnx_switch import export_onnx_switch, switch_runner
from hwnas.export.switch_cost import switch_cost
from hwnas.export.verify import Runner, bundle_runner, onnx_runner
from hwnas.link import whole
from hwnas.profile.jobs import subnet_job
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from hwnas.supernets.reference import load
from hwnas.supernets.runner import torch_runner
from tests.support.backends import BACKENDS, need

NETS = Path(__file__).parents[1] / "data" / "elastic_nets.py"
FORMS = {"portable": export_bundle, "finalised": export_finalised}
SMALL, LARGE = "r8-d2-mlp.h16", "r16-d2-mlp.h32"
FEW = ("r8-d1-mlp.h16", "r8-d2-mlp.h32", LARGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(scope="module")
def source(folder: Path) -> Bundle:
    return compile_supernet(load(f"{NETS}:resolutions"), folder / "resolutions")


@pytest.fixture(scope="module")
def static(folder: Path, source: Bundle) -> Runner:
    """Stock sessions on each subnet's own export."""
    wanted = [Wanted(subnet) for subnet in source.manifest.space.subnets()]
    export_onnx(source, wanted, folder / "onnx")
    return onnx_runner(folder / "onnx")


@pytest.fixture(scope="module")
def exported(folder: Path, source: Bundle) -> dict[str, Path]:
    """All subnets, in both forms."""
    wanted = [Wanted(subnet) for subnet in source.manifest.space.subnets()]
    for form, export in FORMS.items():
        export(source, wanted, folder / form)
    return {form: folder / form for form in FORMS}


@pytest.fixture(scope="module")
def few(folder: Path, source: Bundle) -> Path:
    """Three subnets of two resolutions, finalised."""
    export_finalised(source, [Wanted(source.subnet(name)) for name in FEW], folder / "few")
    return folder / "few"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return need(request.param)


@pytest.mark.parametrize("form", FORMS)
def test_every_subnet_equals_its_own_export(
    form: str, backend: str, source: Bundle, exported: dict[str, Path], static: Runner
) -> None:
    with Switcher(exported[form], backend=backend) as switcher:
        for name in switcher.subnets:
            feeds = random_inputs(switcher.inputs_of(name), 0)
            got, wanted = switcher.run(feeds, subnet=name), static(source.subnet(name), feeds)
            np.testing.assert_array_equal(got["map"], wanted["map"])
            # Widths are summed part by part in a finalised bundle, and at once in the export.
            tolerance = 1e-6 if form == "finalised" else 0
            np.testing.assert_allclose(got["logits"], wanted["logits"], atol=tolerance, rtol=0)


def test_torch_agrees(source: Bundle, exported: dict[str, Path]) -> None:
    references = {"torch": torch_runner(load(f"{NETS}:resolutions"), source)}
    subnets = list(source.manifest.space.subnets())
    ran = ("finalised", bundle_runner(exported["finalised"]))
    for record in verify(subnets, source.inputs, ran, references):
        assert record.max_abs_diff < 1e-5


def test_the_manifest_says_what_is_not_the_networks(
    source: Bundle, exported: dict[str, Path]
) -> None:
    for form in FORMS:
        made = Bundle.open(exported[form], "subnets")
        assert made.manifest.inputs == source.manifest.inputs
        for name, entry in made.manifest.subnets.items():
            subnet = source.subnet(name)
            side = source.manifest.space.parts(subnet).dimensions["r"]
            if side == 16:
                assert entry.inputs is entry.outputs is None
                continue
            assert entry.inputs == made.inputs(subnet) == source.inputs(subnet)
            assert entry.outputs == made.outputs(subnet) == source.outputs(subnet)
            assert entry.inputs is not None and entry.inputs[0].shape == (1, 3, side, side)


def test_what_ships_says_what_the_bundle_takes(source: Bundle, tmp_path: Path) -> None:
    made = export_bundle(source, [Wanted(source.subnet(SMALL))], tmp_path / "out")
    assert [spec.shape for spec in made.manifest.inputs] == [(1, 3, 8, 8)]
    entry = made.manifest.subnets[SMALL]
    assert entry.inputs is entry.outputs is None
    assert made.manifest.outputs == source.outputs(source.subnet(SMALL))


@pytest.mark.parametrize("form", FORMS)
def test_resolutions_share_their_weights(form: str, source: Bundle, tmp_path: Path) -> None:
    """Also as the optimiser lays them out: what is laid out is equal at all resolutions."""

    def stored(*names: str) -> int:
        made = FORMS[form](source, [Wanted(source.subnet(n)) for n in names], tmp_path / "out")
        return made.manifest.weights.bytes

    assert stored(SMALL) == stored(SMALL, "r12-d2-mlp.h16", "r16-d2-mlp.h16")


def test_a_portable_bundle_is_finalised_later(
    exported: dict[str, Path], source: Bundle, tmp_path: Path
) -> None:
    portable = Bundle.open(exported["portable"], "subnets")
    subnets = [portable.subnet(name) for name in portable.manifest.subnets]
    export_finalised(portable, [Wanted(subnet) for subnet in subnets], tmp_path / "out")
    made = ("later", bundle_runner(tmp_path / "out"))
    references = {"at once": bundle_runner(exported["finalised"])}
    for record in verify(subnets, source.inputs, made, references):
        assert record.max_abs_diff == 0


def test_specs_of_each_subnet(exported: dict[str, Path], backend: str) -> None:
    with Switcher(exported["portable"], backend=backend) as switcher:
        assert switcher.inputs[0].shape == (1, 3, 16, 16)
        assert switcher.outputs[1].shape == (1, 16, 16, 16)
        assert switcher.inputs_of(SMALL)[0].shape == (1, 3, 8, 8)
        assert switcher.outputs_of(SMALL)[1].shape == (1, 16, 8, 8)
        assert switcher.inputs_of(LARGE) == switcher.inputs
        assert switcher.outputs_of(LARGE) == switcher.outputs
        with pytest.raises(UnknownName, match="r9"):
            switcher.inputs_of("r9-d1")
        with pytest.raises(UsageError, match="not a name"):
            switcher.outputs_of(1)  # type: ignore[arg-type]
        # As many weights at every resolution: then it is the one with the largest inputs.
        assert switcher.current == LARGE


def test_a_wrong_shape_is_refused_with_who_takes_it(
    exported: dict[str, Path], backend: str
) -> None:
    small = np.zeros((1, 3, 8, 8), np.float32)
    with Switcher(exported["portable"], backend=backend) as switcher:
        for given in (small, torch.from_numpy(small)):
            with pytest.raises(InputError) as caught:
                switcher.run({"image": given})
            assert caught.value.cause == (
                f"the input 'image' is float32[1,3,8,8], subnet '{LARGE}' takes float32[1,3,16,16]"
            )
            takers = [f"r8-d{depth}-mlp.h{width}" for depth in (1, 2) for width in (16, 32)]
            assert caught.value.fix == f"run a subnet that takes it: {', '.join(takers)}"
        with pytest.raises(InputError) as caught:
            switcher.run({"image": np.zeros((1, 3, 9, 9), np.float32)}, subnet=SMALL)
        assert f"subnet '{SMALL}' takes float32[1,3,8,8]" in caught.value.cause
        assert "float32[1,3,12,12] (r12-d1-mlp.h16, " in caught.value.fix
        switcher.current = SMALL
        assert switcher.run({"image": small})["map"].shape == (1, 16, 8, 8)


def test_out_has_the_shape_of_the_subnet(exported: dict[str, Path], backend: str) -> None:
    with Switcher(exported["finalised"], backend=backend) as switcher:
        feeds = random_inputs(switcher.inputs_of(SMALL), 0)
        wanted = switcher.run(feeds, subnet=SMALL)["map"]
        out = {"map": np.empty((1, 16, 8, 8), np.float32)}
        assert switcher.run(feeds, subnet=SMALL, out=out)["map"] is out["map"]
        np.testing.assert_array_equal(out["map"], wanted)
        with pytest.raises(InputError, match=f"cannot take it from subnet '{SMALL}'") as caught:
            large = {"map": np.empty((1, 16, 16, 16), np.float32)}
            switcher.run(feeds, subnet=SMALL, out=large)
        assert "float32[1,16,8,8]" in caught.value.fix
        # The image would lie in the large subnet's map, and lies beside the small one's.
        memory = np.zeros(16 * 8 * 8 + 3 * 8 * 8, np.float32)
        apart = {"map": memory[: 16 * 8 * 8].reshape(1, 16, 8, 8)}
        image = memory[16 * 8 * 8 :].reshape(1, 3, 8, 8)
        image[...] = feeds["image"]
        switcher.run({"image": image}, subnet=SMALL, out=apart)
        np.testing.assert_array_equal(apart["map"], wanted)


@pytest.mark.parametrize("form", FORMS)
def test_eight_threads_switch_between_shapes(
    form: str, exported: dict[str, Path], backend: str
) -> None:
    """Runs of named subnets are right; runs of whichever is current are right or refused."""
    with Switcher(exported[form], backend=backend) as switcher:
        names = list(switcher.subnets)
        feeds = {name: random_inputs(switcher.inputs_of(name), 1) for name in names}
        wanted = {n: switcher.run(feeds[n], subnet=n)["map"].tobytes() for n in names}
        of_one_length: dict[int, set[bytes]] = {}
        for result in wanted.values():
            of_one_length.setdefault(len(result), set()).add(result)
        problems: list[Any] = []
        refused = []

        def work(number: int) -> None:
            rng = np.random.default_rng(number)
            for _ in range(100):
                name = names[rng.integers(len(names))]
                if switcher.run(feeds[name], subnet=name)["map"].tobytes() != wanted[name]:
                    problems.append(name)
                switcher.current = name
                try:
                    got = switcher.run(feeds[name])["map"].tobytes()
                except InputError as error:
                    refused.append(error.cause)
                    continue
                if got not in of_one_length[len(wanted[name])]:
                    problems.append(name)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []
    assert all("takes float32[1,3," in cause for cause in refused)


def test_also_all_names_what_is_covered_at_its_resolution(
    source: Bundle, static: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both depths at 8 cover both widths there; of 12 nothing was exported."""
    words = ["export", str(source.path), "--finalise", "--also", "all", "-o", str(tmp_path / "out")]
    assert main([*words, *(word for name in FEW for word in ("--subnet", name))]) == 0
    assert "further subnets are not covered" in capfd.readouterr().err
    named = Bundle.open(tmp_path / "out", "subnets").manifest.subnets
    assert set(named) == {*FEW, "r8-d1-mlp.h32", "r8-d2-mlp.h16", "r16-d2-mlp.h16"}
    subnets = [source.subnet(name) for name in named]
    ran = ("covered", bundle_runner(tmp_path / "out"))
    for record in verify(subnets, source.inputs, ran, {"onnx": static}):
        assert record.max_abs_diff < 1e-5


def test_one_onnx_model_has_one_shape(source: Bundle, static: Runner, tmp_path: Path) -> None:
    mixed = [Wanted(source.subnet(name)) for name in (SMALL, LARGE)]
    with pytest.raises(UsageError) as caught:
        export_onnx_switch(source, mixed, tmp_path / "out")
    assert f"'image' is float32[1,3,8,8] in {SMALL} and float32[1,3,16,16] in" in caught.value.cause
    assert "one model for each shape" in caught.value.fix
    small = [Wanted(source.subnet(name)) for name in FEW[:2]]
    export_onnx_switch(source, small, tmp_path / "out")
    subnets = [item.subnet for item in small]
    ran = ("switch", switch_runner(tmp_path / "out"))
    assert len(verify(subnets, source.inputs, ran, {"onnx": static})) == 2
    costs = switch_cost(source, small, tmp_path / "out", seconds=0, min_rounds=2)
    assert [cost.subnet for cost in costs] == [subnet.name for subnet in subnets]


def test_widths_between_slots_differ_inside_alone(tmp_path: Path) -> None:
    """A dimension that no input or output shows: all forms, ``onnx-switch`` as well."""
    net = compile_supernet(load(f"{NETS}:widths"), tmp_path / "net")
    subnets = list(net.manifest.space.subnets())
    wanted = [Wanted(subnet) for subnet in subnets]
    export_onnx(net, wanted, tmp_path / "onnx")
    export_onnx_switch(net, wanted, tmp_path / "switch")
    runners = {"switch": switch_runner(tmp_path / "switch")}
    for form, export in FORMS.items():
        export(net, wanted, tmp_path / form)
        runners[form] = bundle_runner(tmp_path / form)
    for record in verify(subnets, net.inputs, ("onnx", onnx_runner(tmp_path / "onnx")), runners):
        assert record.max_abs_diff < 1e-6


def test_a_whole_subnet_is_measured_on_what_it_takes(source: Bundle) -> None:
    subnet = source.subnet(SMALL)
    job = subnet_job(source, subnet, whole(source, subnet).SerializeToString())
    assert [tensor.shape for tensor in job.inputs] == [(1, 3, 8, 8)]


def test_run_and_inspect(
    source: Bundle, few: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(few), "--format", "json"]
    assert main([*words, "--subnet", FEW[0]]) == 0
    assert json.loads(capfd.readouterr().out)["outputs"]["map"]["shape"] == [1, 16, 8, 8]
    np.savez(tmp_path / "in.npz", image=np.zeros((1, 3, 12, 12), np.float32))
    assert main([*words, "--input", str(tmp_path / "in.npz"), "--subnet", LARGE]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert f"subnet '{LARGE}' takes float32[1,3,16,16]" in said
    assert f"float32[1,3,8,8] ({FEW[0]}, {FEW[1]})" in said
    for path in (source.path, few):
        assert main(["inspect", str(path)]) == 0
        shown = capfd.readouterr().out
        assert "image float32[1,3,8 to 16,8 to 16]" in shown
        assert "logits float32[1,4], map float32[1,16,8 to 16,8 to 16]" in shown
        assert ("r of 8, 12, 16" in shown) == (path == source.path)


def test_bench_runs_each_on_what_it_takes(few: Path) -> None:
    rounds = Rounds(seconds=0.0, replicates=1, fewest=3)
    report = compare_all(few, rounds=rounds, processes=1)
    assert report.largest.startswith("r16-")
    assert set(report.subnets) == set(FEW)
    for one in report.subnets.values():
        assert all(found.equal for found in one.contenders.values())
