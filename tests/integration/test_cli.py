"""The whole path on the command line, and what wrong input gets: cause and fix, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.cli.main import main


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*words: object) -> Ran:
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Ran(code, captured.out, captured.err)

    return call


QUICK = ("--ci", "20", "--affinity", "none")


@pytest.fixture(scope="module")
def lut(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lut") / "lut.db"
    assert main(["profile", str(tiny_bundle), "-o", str(path), *QUICK]) == 0
    return path


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quality") / "quality.csv"
    names = [f"d{d}-ffn{f}" for d in (1, 2, 3) for f in (32, 64)]
    lines = [f"{name},{0.5 + i / 20}" for i, name in enumerate(names)]
    path.write_text("subnet,quality\n" + "\n".join(lines) + "\n")
    return path


def refused(ran: Ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.err
    assert ran.err.startswith("error: ") or code == 2
    for word in words:
        assert word in ran.err, ran.err


def test_the_whole_path(
    run: Any, tiny_bundle: Path, tiny_reference: str, lut: Path, quality: Path, tmp_path: Path
) -> None:
    plan, out, files = tmp_path / "plan.json", tmp_path / "out", tmp_path / "onnx"
    inspected = run("inspect", tiny_bundle, "--format", "json").json
    assert (inspected["subnets"], inspected["blocks"], inspected["kinds"]) == (6, 8, 4)
    assert inspected["bytes_shared"] > 0

    tiers = ("--tier", "full:", "--tier", "less:p50=90%,bytes=90%")
    selected = run(
        *("select", tiny_bundle, "--lut", lut, "--quality", quality, *tiers, "-o", plan),
        *("--format", "json"),
    )
    assert selected.code == 0, selected.err
    first, second = selected.json["subnets"]
    assert first["name"] == "d3-ffn64"
    assert second["measured"]["p50_ms"] <= 0.9 * first["measured"]["p50_ms"]
    assert json.loads(plan.read_text())["schema_version"] == 3

    torch = ("--verify", "--supernet", tiny_reference)
    exported = run("export", tiny_bundle, "--plan", plan, "-o", out, *torch, "--format", "json")
    assert exported.code == 0, exported.err
    references = {record["reference"] for record in exported.json["verified"]}
    assert references == {"onnx", "torch"}
    assert max(record["max_abs_diff"] for record in exported.json["verified"]) < 1e-4
    shown = run(
        "export", tiny_bundle, "--plan", plan, "--to", "onnx", "-o", files, "--verify", "onnx"
    )
    assert shown.code == 0, shown.err
    assert "largest difference to bundle" in shown.out

    assert "d3-ffn64" in run("inspect", out).out
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 1, 8, 8), np.float32))
    words = ("run", out, "--subnet", first["name"], "--input", tmp_path / "x.npz")
    ran = run(*words, "-o", tmp_path / "y.npz", "--format", "json")
    assert ran.json["outputs"]["logits"]["shape"] == [1, 10]
    with np.load(tmp_path / "y.npz") as saved:
        assert saved["logits"].shape == (1, 10)

    benched = run("bench", out, "--onnx", files, "--seconds", "0", "--format", "json").json
    assert set(benched["subnets"]) == {first["name"], second["name"]}
    for found in benched["subnets"].values():
        assert {"latency_ms", "static_latency_ms", "latency_ratio", "max_abs_diff"} <= set(found)
        assert found["max_abs_diff"] < 1e-5
        assert found["switch_us"] > 0
    assert benched["memory_ratio_to_largest"] > 0.5
    assert benched["bytes_ratio_to_largest"] > 1
    assert "worst latency ratio" in run("bench", out, "--seconds", "0").out


def test_compile_by_command(
    run: Any, tiny_reference: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    ran = run("compile", tiny_reference, "-o", tmp_path / "net.hwnas", "--jobs", "1")
    assert ran.code == 0, ran.err
    assert "subnets" in ran.out
    assert ran.out.splitlines()[-1].endswith("--target cpu -o lut.db")
    for file in tiny_bundle.rglob("*"):
        if file.is_file():
            again = tmp_path / "net.hwnas" / file.relative_to(tiny_bundle)
            assert again.read_bytes() == file.read_bytes()


def test_profile_again(run: Any, tiny_bundle: Path, lut: Path, tmp_path: Path) -> None:
    refused(run("profile", tiny_bundle, "-o", lut, *QUICK), 2, "exists", "--resume")
    again = run("profile", tiny_bundle, "-o", lut, "--resume", *QUICK, "--format", "json").json
    assert (again["measured"], again["skipped"]) == (0, 10)
    assert {kind["blocks"] for kind in again["kinds"]} == {1, 3}
    other = run("profile", tiny_bundle, "-o", lut, "--resume", *QUICK, "--threads", "2")
    refused(other, 1, "another device", "threads")


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["select", "NET", "--lut", "LUT", "--max-latency", "p50=8MB"], 2, ["MB", "ms"]),
        (["select", "NET", "--lut", "LUT", "--max-latency", "p50=8"], 2, ["unit"]),
        (["select", "NET", "--lut", "LUT", "--max-latency", "p50=-8ms"], 2, ["-8ms"]),
        (["select", "NET", "--lut", "LUT", "--max-memory", "10ms"], 2, ["ms"]),
        (["select", "NET", "--lut", "LUT", "--max-latency", "p99=8ms"], 2, ["p99", "p50"]),
        (["select", "NET", "--lut", "LUT", "--max-latency", "p50=8ms"], 2, ["--quality"]),
        (["select", "NET", "--lut", "nothing.db", "--max-bytes", "1MB"], 1, ["nothing.db"]),
        (["select", "NET", "--lut", "QUALITY", "--max-bytes", "1MB"], 1, ["lookup table"]),
        (["profile", "NET", "--target", "phone"], 2, ["phone", "cpu"]),
        (["profile", "NET", "--profiler", "tflite"], 2, ["tflite", "onnxruntime"]),
        (["profile", "NET", "--subnet", "d9"], 2, ["d9", "d1-ffn32"]),
        (["profile", "NET", "--affinity", "x"], 2, ["--affinity"]),
        (["profile", "NET", "--provider", "Nope"], 2, ["Nope", "CPUExecutionProvider"]),
        (["export", "NET", "-o", "o"], 2, ["--plan", "--subnet"]),
        (["export", "NET", "--subnet", "d9", "-o", "o"], 2, ["d9"]),
        (["export", "NET", "--subnet", "max", "-o", "o", "--verify"], 2, ["--supernet"]),
        (["export", "SHIPPED", "--subnet", "max", "-o", "o"], 2, ["--finalise", "hwnas compile"]),
        (["run", "NET"], 1, ["hwnas export"]),
        (["run", "SHIPPED", "--subnet", "d9"], 2, ["d9", "d1-ffn32"]),
        (["run", "SHIPPED", "--input", "QUALITY"], 2, [".npz"]),
        (["run", "SHIPPED", "--input", "nothing.npz"], 2, ["does not exist"]),
        (["bench", "nothing"], 1, ["does not exist"]),
        (["bench", "SHIPPED", "--onnx", "nothing"], 1, ["--to onnx"]),
        (["compile", "no_such_module:net", "-o", "o"], 2, ["no_such_module"]),
        (["compile", "net", "-o", "o"], 2, ["FAMILY:VARIANT"]),
        (["compile", "vit:huge", "-o", "o"], 2, ["s16"]),
        (["compile", "NETS:misfit", "-o", "o"], 1, ["'up'", "float32[2,8]"]),
        (
            ["compile", "NETS:tiny", "-o", "o", "--weights", "nothing"],
            2,
            ["nothing", ".safetensors"],
        ),
        (["frobnicate"], 2, ["frobnicate"]),
    ],
)
def test_wrong_input(
    run: Any,
    tiny_bundle: Path,
    shipped: Path,
    lut: Path,
    quality: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    code: int,
    parts: Sequence[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    nets = str(Path(__file__).parents[1] / "data" / "nets.py")
    places = {"NET": tiny_bundle, "LUT": lut, "SHIPPED": shipped, "QUALITY": quality}
    replaced = [str(places.get(word, word)).replace("NETS", nets) for word in words]
    if words[0] == "select":
        replaced += ["-o", "plan.json"]
    refused(run(*replaced), code, *parts)
    assert list(tmp_path.iterdir()) == []


def test_nothing_fits(
    run: Any, tiny_bundle: Path, lut: Path, quality: Path, tmp_path: Path
) -> None:
    words = ("select", tiny_bundle, "--lut", lut, "--quality", quality, "-o", tmp_path / "p.json")
    ran = run(*words, "--max-latency", "p50=0.001us", "--max-bytes", "100%")
    refused(ran, 3, "p50 binds", "nearest is d1-ffn")  # the widths of so small a net are close
    found = run(*words, "--max-latency", "p50=0.001us", "--format", "json")
    assert found.code == 3
    assert found.json["infeasible"]
    assert not (tmp_path / "p.json").exists()


def test_missing_kinds_are_all_named(run: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    """A table with none of this network's kinds: unknown is never free."""
    from hwnas.cli.measuring import open_device
    from hwnas.profile import Settings
    from hwnas.table import Lut

    with open_device("cpu", "onnxruntime") as device:
        fingerprint = device.target.fingerprint(device.profiler.name, Settings())
    Lut.create(tmp_path / "empty.db", fingerprint, Settings()).close()
    words = ("select", tiny_bundle, "--lut", tmp_path / "empty.db", "--max-bytes", "1MB")
    ran = run(*words, "-o", tmp_path / "plan.json")
    refused(ran, 1, "stem/base", "layers.0/ffn32", "layers.0/ffn64", "head/base", "hwnas profile")


def test_a_plan_of_another_bundle(
    run: Any, tiny_bundle: Path, lut: Path, quality: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    words = ("select", tiny_bundle, "--lut", lut, "--quality", quality, "--no-measure", "-o", plan)
    assert run(*words, "--max-latency", "p95=100%").code == 0
    changed = Path(shutil.copytree(tiny_bundle, tmp_path / "changed"))
    text = (changed / "manifest.json").read_text()
    (changed / "manifest.json").write_text(text.replace('"opset":20', '"opset":21'))
    refused(run("export", changed, "--plan", plan, "-o", tmp_path / "o"), 1, "bundle")
    assert not (tmp_path / "o").exists()


def test_help_and_version(run: Any) -> None:
    assert run("--version").out.startswith("hwnas, version 0.")
    assert "compile" in run().out + run("--help").out


def test_outputs_never_replace_inputs(
    run: Any, tiny_bundle: Path, lut: Path, quality: Path, tmp_path: Path
) -> None:
    net = Path(shutil.copytree(tiny_bundle, tmp_path / "net.hwnas"))
    table = Path(shutil.copy(lut, tmp_path / "lut.db"))
    rated = Path(shutil.copy(quality, tmp_path / "quality.csv"))
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    select = ("select", net, "--lut", table, "--quality", rated, "--max-bytes", "90%")
    for words in (
        ("export", net, "--subnet", "max", "-o", net),
        ("export", net, "--subnet", "max", "-o", tmp_path),
        ("export", net, "--subnet", "max", "--to", "onnx", "-o", net / "onnx"),
        (*select, "-o", table),
        (*select, "-o", rated),
        (*select, "-o", net / "plan.json"),
        ("profile", net, "-o", net / "lut.db"),
    ):
        refused(run(*words), 2, "input", "-o")
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_what_fails_verification_replaces_nothing(
    run: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    nets = Path(__file__).parents[1] / "data" / "nets.py"
    out = tmp_path / "out"
    words = ("export", tiny_bundle, "-o", out, "--verify", "--supernet")
    assert run(*words, f"{nets}:tiny", "--subnet", "d1-ffn32").code == 0
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    refused(run(*words, f"{nets}:lying", "--subnet", "d2-ffn64"), 4, "differs from torch")
    assert {f: f.read_bytes() for f in out.rglob("*") if f.is_file()} == before
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_a_failed_kind_exits_with_1(tiny_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "hwnas.cli.main", "profile", str(tiny_bundle)]
    options = ["--affinity", "none", "--time-limit", "0.01", "-o", str(tmp_path / "lut.db")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "10 failed" in done.stdout
    again = [*command, "--resume", "--retry-failed", *QUICK, "-o", str(tmp_path / "lut.db")]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "10 measured" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_error(tiny_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
        "from hwnas.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["export", str(tiny_bundle), "--subnet", "max", "-o", str(tmp_path / "out")]
    command = [sys.executable, "-P", "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "fix: free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_cannot_name_code_to_run(run: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    for reference in ("os:abort", "os:getcwd", "antigravity:fly", 1, None):
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / f"net-{reference}"))
        data = json.loads((bundle / "manifest.json").read_text())
        data["provenance"]["supernet"] = reference
        (bundle / "manifest.json").write_text(json.dumps(data))
        ran = run("export", bundle, "--subnet", "min", "-o", tmp_path / "o", "--verify")
        refused(ran, 2, "--supernet")
    assert "antigravity" not in sys.modules


def test_a_closed_pipe_is_no_error(tiny_bundle: Path) -> None:
    command = f"{sys.executable} -P -m hwnas.cli.main inspect {tiny_bundle}"
    line = f"set -o pipefail; {command} | head -1; {command} >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("subnets")


@pytest.mark.parametrize("supernet", ["NETS:tiny", "vit:ti16"], ids=["one process", "two"])
def test_sigterm_leaves_nothing_behind(supernet: str, tmp_path: Path) -> None:
    nets = str(Path(__file__).parents[1] / "data" / "nets.py")
    out = tmp_path / "net.hwnas"
    words = ["compile", supernet.replace("NETS", nets), "-o", str(out), "--jobs", "2"]
    command = [sys.executable, "-P", "-m", "hwnas.cli.main", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".net.hwnas.*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "error: interrupted")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):  # no worker is left in the session
        while time.monotonic() < deadline + 60:
            os.killpg(process.pid, 0)
            time.sleep(0.1)


@pytest.mark.parametrize("location", ["/etc/passwd", "../x", "", "manifest.json"])
def test_graphs_that_take_weights_from_elsewhere_are_not_exported(
    run: Any, tiny_bundle: Path, tmp_path: Path, location: str
) -> None:
    import hashlib

    import onnx

    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "net"))
    path = bundle / "blocks" / "head--base.onnx"
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    data = json.loads((bundle / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data["blocks"]["head/base"].update(sha256=digest, bytes=path.stat().st_size)
    (bundle / "manifest.json").write_text(json.dumps(data))
    for form in ("bundle", "onnx"):
        words = ("export", bundle, "--subnet", "min", "--to", form, "-o", tmp_path / "o")
        refused(run(*words), 1, "head/base", repr(location))


def test_tables_with_views_or_triggers_are_refused(
    run: Any, tiny_bundle: Path, lut: Path, tmp_path: Path
) -> None:
    for i, statement in enumerate(
        (
            "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM measurement; END",
        )
    ):
        table = Path(shutil.copy(lut, tmp_path / f"{i}.db"))
        db = sqlite3.connect(table)
        db.execute(statement)
        db.commit()
        db.close()
        words = ("select", tiny_bundle, "--lut", table, "--max-bytes", "1MB", "-o", tmp_path / "p")
        refused(run(*words), 1, "damaged")
