from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, InputError, UnknownName, VerificationFailed
from hwnas.export import Wanted, export_bundle, export_onnx, verify
from hwnas.export.verify import bundle_runner, onnx_runner
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from hwnas.supernets.reference import load
from hwnas.supernets.runner import torch_runner
from tests.support.backends import BACKENDS, need


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return need(request.param)


@pytest.fixture(scope="module")
def static(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ort.InferenceSession]:
    """Stock sessions on the files of ``--to onnx``, loaded by path."""
    source = Bundle.open(tiny_bundle, "space")
    folder = tmp_path_factory.mktemp("onnx") / "out"
    files = export_onnx(source, [Wanted(s) for s in source.manifest.space.subnets()], folder)
    return {f.stem: ort.InferenceSession(f, providers=["CPUExecutionProvider"]) for f in files}


def test_every_subnet_equals_its_own_export(
    shipped: Path, static: dict[str, ort.InferenceSession], backend: str
) -> None:
    with Switcher(shipped, backend=backend) as switcher:
        for seed in range(3):
            feeds = random_inputs(switcher.inputs, seed)
            for name in switcher.subnets:
                [wanted] = static[name].run(None, feeds)
                got = switcher.run(feeds, subnet=name)["logits"]
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_torch_agrees(shipped: Path, tiny_bundle: Path, tiny_reference: str) -> None:
    source = Bundle.open(tiny_bundle, "space")
    supernet = load(tiny_reference)
    with torch.no_grad():  # the runner must take the bundle's weights, not these
        for parameter in supernet.parameters():
            parameter.zero_()
    runner = torch_runner(supernet, source)
    subnets = list(source.manifest.space.subnets())
    records = verify(subnets, source.inputs, ("bundle", bundle_runner(shipped)), {"torch": runner})
    assert len(records) == 6
    assert 0 < max(record.max_abs_diff for record in records) < 1e-5


def test_verification_can_fail(shipped: Path, tiny_bundle: Path) -> None:
    source = Bundle.open(tiny_bundle, "space")
    run = bundle_runner(shipped)

    def wrong(subnet: object, feeds: object) -> dict[str, np.ndarray]:
        got = run(subnet, feeds)["logits"].copy()  # type: ignore[arg-type]
        got[0, 0] += np.nan
        return {"logits": got}

    subnets = list(source.manifest.space.subnets())[:2]
    with pytest.raises(VerificationFailed, match="nan"):
        verify(subnets, source.inputs, ("bundle", run), {"wrong": wrong})


def test_switching(shipped: Path, backend: str) -> None:
    switcher = Switcher(shipped, subnet="d1-ffn32", backend=backend)
    feeds = random_inputs(switcher.inputs, 0)
    alone = {name: switcher.run(feeds, subnet=name)["logits"] for name in switcher.subnets}
    assert len({array.tobytes() for array in alone.values()}) == 6
    assert switcher.current == "d1-ffn32"
    for name in [*switcher.subnets, *reversed(switcher.subnets)]:
        switcher.current = name
        np.testing.assert_array_equal(switcher.run(feeds)["logits"], alone[name])
        np.testing.assert_array_equal(
            switcher.run(feeds, subnet="d3-ffn64")["logits"], alone["d3-ffn64"]
        )
    assert Switcher(shipped, backend=backend).current == "d3-ffn64"


def test_results_are_the_callers(shipped: Path, backend: str) -> None:
    with Switcher(shipped, backend=backend) as switcher:
        first_feeds, other_feeds = (random_inputs(switcher.inputs, seed) for seed in (0, 1))
        first = switcher.run(first_feeds)["logits"]
        kept = first.copy()
        switcher.run(other_feeds)
        np.testing.assert_array_equal(first, kept)
        out = {"logits": np.zeros((1, 10), np.float32)}
        assert switcher.run(first_feeds, out=out)["logits"] is out["logits"]
        np.testing.assert_array_equal(out["logits"], kept)


def test_strided_and_torch_inputs(shipped: Path, backend: str) -> None:
    with Switcher(shipped, backend=backend) as switcher:
        feeds = random_inputs(switcher.inputs, 0)
        wanted = switcher.run(feeds)["logits"]
        strided = np.asfortranarray(feeds["image"])
        np.testing.assert_array_equal(switcher.run({"image": strided})["logits"], wanted)
        tensor = torch.from_numpy(feeds["image"])
        np.testing.assert_array_equal(switcher.run({"image": tensor})["logits"], wanted)


def test_eight_threads_at_mixed_subnets_while_another_switches(shipped: Path, backend: str) -> None:
    switcher = Switcher(shipped, backend=backend)
    names = list(switcher.subnets)
    feeds = [random_inputs(switcher.inputs, seed) for seed in range(4)]
    wanted = {
        (name, i): switcher.run(f, subnet=name)["logits"]
        for name in names
        for i, f in enumerate(feeds)
    }
    possible = [{wanted[name, i].tobytes() for name in names} for i in range(4)]
    stop = threading.Event()

    def switch() -> None:
        while not stop.is_set():
            for name in names:
                switcher.current = name

    def serve(worker: int) -> int:
        wrong = 0
        for k in range(300):
            i, name = (worker + k) % 4, names[(worker * 7 + k) % len(names)]
            got = switcher.run(feeds[i], subnet=name)["logits"]
            wrong += not np.array_equal(got, wanted[name, i])
            wrong += switcher.run(feeds[i])["logits"].tobytes() not in possible[i]
        return wrong

    changer = threading.Thread(target=switch)
    changer.start()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(serve, range(8)))
    stop.set()
    changer.join()
    assert results == [0] * 8


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, ["'image'", "missing"]),
        ({"image": np.zeros((1, 1, 8, 8))}, ["float64[1,1,8,8]", "float32[1,1,8,8]"]),
        ({"image": np.zeros((2, 1, 8, 8), np.float32)}, ["float32[2,1,8,8]"]),
        ({"image": np.zeros((1, 1, 8, 8), np.float32), "mask": np.zeros(1)}, ["'mask'", "image"]),
    ],
)
def test_wrong_inputs(
    shipped: Path, backend: str, feeds: dict[str, np.ndarray], words: list[str]
) -> None:
    with Switcher(shipped, backend=backend) as switcher, pytest.raises(InputError) as caught:
        switcher.run(feeds)
    assert all(word in str(caught.value) for word in words)


def test_wrong_outputs_names_and_closed(shipped: Path, backend: str) -> None:
    switcher = Switcher(shipped, backend=backend)
    feeds = random_inputs(switcher.inputs, 0)
    for out in ({"logits": np.zeros((10,), np.float32)}, {"probs": np.zeros((1, 10), np.float32)}):
        with pytest.raises(InputError):
            switcher.run(feeds, out=out)
    for call in (
        lambda: switcher.run(feeds, subnet="d9"),
        lambda: setattr(switcher, "current", "d9"),
        lambda: Switcher(shipped, subnet="d9", backend=backend),
    ):
        with pytest.raises(UnknownName, match="d9"):
            call()
    switcher.close()
    switcher.close()
    with pytest.raises(HwnasError, match="closed"):
        switcher.run(feeds)


def test_onnx_files_stand_on_their_own(tiny_bundle: Path, tmp_path: Path) -> None:
    source = Bundle.open(tiny_bundle, "space")
    subnets = [source.manifest.space.find(name) for name in ("d1-ffn32", "d3-ffn64")]
    files = export_onnx(source, [Wanted(s) for s in subnets], tmp_path / "o")
    assert [f.name for f in files] == ["d1-ffn32.onnx", "d3-ffn64.onnx"]
    for file in files:
        onnx.checker.check_model(file, full_check=True)
    run = onnx_runner(tmp_path / "o")
    feeds = random_inputs(source.manifest.inputs, 0)
    assert run(subnets[0], feeds)["logits"].shape == (1, 10)


def test_only_what_ships_is_stored(tiny_bundle: Path, tmp_path: Path) -> None:
    """A narrow subnet alone takes the first rows of the shared tensors, and no more."""
    source = Bundle.open(tiny_bundle, "space")
    space = source.manifest.space
    small = export_bundle(source, [Wanted(space.find("d1-ffn32"))], tmp_path / "small")
    weights = small.manifest.weights.bytes
    assert len(small.manifest.segments) == 1
    assert weights - source.weight_bytes(space.find("d1-ffn32")) < 2500  # the header
    run, other = bundle_runner(tmp_path / "small"), random_inputs(source.manifest.inputs, 5)
    whole = export_bundle(source, [Wanted(s) for s in space.subnets()], tmp_path / "whole")
    assert whole.manifest.weights.bytes == source.manifest.weights.bytes
    np.testing.assert_allclose(
        run(space.find("d1-ffn32"), other)["logits"],
        bundle_runner(tmp_path / "whole")(space.find("d1-ffn32"), other)["logits"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_export_is_deterministic(tiny_bundle: Path, shipped: Path, tmp_path: Path) -> None:
    source = Bundle.open(tiny_bundle, "space")
    export_bundle(source, [Wanted(s) for s in source.manifest.space.subnets()], tmp_path / "again")
    for file in shipped.rglob("*"):
        if file.is_file():
            again = tmp_path / "again" / file.relative_to(shipped)
            assert again.read_bytes() == file.read_bytes(), file


def test_telemetry_is_off_before_onnxruntime_is_imported(shipped: Path) -> None:
    code = (
        "import os, sys, builtins; "
        "real = builtins.__import__; seen = []\n"
        "def spy(name, *rest):\n"
        "    if name.split('.')[0] == 'onnxruntime': "
        "seen.append(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = spy\n"
        "import hwnas.runtime, hwnas.export, hwnas.bench\n"
        "sys.exit(0 if seen and set(seen) == {'1'} else str(seen))"
    )
    clean = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=clean)


def serve_until_closed(switcher: Switcher, start: threading.Barrier) -> str:
    feeds, names = random_inputs(switcher.inputs, 0), list(switcher.subnets)
    start.wait()
    try:
        for i in range(1000):
            switcher.run(feeds, subnet=names[i % len(names)])
    except HwnasError as error:
        return error.cause
    return "ran to its end"


def test_closing_while_others_run(shipped: Path, backend: str) -> None:
    for _ in range(20):
        switcher = Switcher(shipped, verify=False, backend=backend)
        start = threading.Barrier(3)
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(serve_until_closed, switcher, start) for _ in range(2)]
            start.wait()
            switcher.close()
            assert {run.result() for run in runs} <= {"the switcher is closed", "ran to its end"}


def test_two_threads_per_run(shipped: Path, backend: str) -> None:
    code = (
        "import sys, numpy as np; from hwnas.runtime import Switcher; "
        "from hwnas.runtime.inputs import random_inputs; "
        "one, two = (Switcher(sys.argv[1], threads=n) for n in (1, 2)); "
        "feeds = random_inputs(one.inputs, 0); "
        "[np.testing.assert_allclose(one.run(feeds, subnet=n)['logits'], "
        "two.run(feeds, subnet=n)['logits'], rtol=1e-5, atol=1e-6) for n in one.subnets]"
    )
    command = [sys.executable, "-P", "-c", code, str(shipped)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HWNAS_BACKEND": backend},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
