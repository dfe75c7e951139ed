"""Programs in C and C++ find hwnas, are built with it, and compute what Python computes."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.main import main
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.native import LIBRARY, runtime_library
from tests.support.packaging import ROOT, Clean, cmake_build, require_native, tool, try_tool

CONSUMER = ROOT / "tests" / "consumer"
SERVER = ROOT / "examples" / "cpp-server"
CLIENT = runpy.run_path(str(SERVER / "load.py"), run_name="load")


@pytest.fixture(scope="session", autouse=True)  # before what takes long to build
def native() -> None:
    require_native()


def environment() -> dict[str, str]:
    return {**os.environ, LIBRARY: str(runtime_library())}


@pytest.fixture(params=["wheel", "prefix"])
def package(request: pytest.FixtureRequest) -> Path:
    """The folder of hwnasConfig.cmake, in an installed wheel or below a prefix."""
    if request.param == "wheel":
        clean: Clean = request.getfixturevalue("clean")
        return Path(clean.run("hwnas", "config", "--cmakedir").strip())
    prefix: Path = request.getfixturevalue("prefix")
    return prefix / "lib" / "cmake" / "hwnas"


@pytest.fixture
def expected(shipped: Path, tmp_path: Path) -> bytes:
    """Outputs of every subnet on the inputs in ``inputs.bin``, from the Python switcher."""
    with Switcher(shipped, backend="python") as switcher:
        feeds = random_inputs(switcher.inputs, 1)
        (tmp_path / "inputs.bin").write_bytes(
            b"".join(feeds[spec.name].tobytes() for spec in switcher.inputs)
        )
        made = [switcher.run(feeds, subnet=name) for name in switcher.subnets]
        return b"".join(out[spec.name].tobytes() for out in made for spec in switcher.outputs)


def run_consumer(program: Path, bundle: Path, folder: Path) -> bytes:
    """Run ``program`` on ``inputs.bin`` in ``folder``; returns what it wrote."""
    outputs = folder / "outputs.bin"
    command = [program, bundle, folder / "inputs.bin", outputs]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return outputs.read_bytes()


def test_a_cmake_project_finds_hwnas_and_runs_every_subnet(
    package: Path, shipped: Path, expected: bytes, tmp_path: Path
) -> None:
    built = cmake_build(CONSUMER, tmp_path / "build", f"hwnas_DIR={package}")
    for program in ("run_c", "run_cpp"):
        assert run_consumer(built / program, shipped, tmp_path) == expected


def test_flags_of_config_build_a_program(
    clean: Clean, shipped: Path, expected: bytes, tmp_path: Path
) -> None:
    include = clean.run("hwnas", "config", "--includedir").strip()
    flags = shlex.split(clean.run("hwnas", "config", "--libs"))
    program = tmp_path / "program"
    command = ["cc", f"-I{include}", CONSUMER / "run.c", "-o", program, *flags]
    subprocess.run(command, check=True, timeout=60)
    assert run_consumer(program, shipped, tmp_path) == expected


def test_a_consumer_is_told_what_a_bundle_lacks(package: Path, tmp_path: Path) -> None:
    built = cmake_build(CONSUMER, tmp_path / "build", f"hwnas_DIR={package}")
    for program in ("run_c", "run_cpp"):
        command = [built / program, tmp_path / "none", tmp_path / "in", tmp_path / "out"]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert "none does not exist" in done.stderr


def test_without_the_library_cmake_gives_headers_and_a_reason(source: Path, tmp_path: Path) -> None:
    built = cmake_build(source, tmp_path / "plain", "HWNAS_SWITCHER=OFF")
    tool("cmake", "--install", built, "--prefix", tmp_path / "prefix")
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.23)\nproject(asks LANGUAGES CXX)\n"
        "find_package(hwnas REQUIRED COMPONENTS headers)\n"
        "if(NOT TARGET hwnas::headers OR TARGET hwnas::switcher)\n"
        '  message(FATAL_ERROR "wrong targets")\nendif()\n'
    )
    found = f"-Dhwnas_DIR={tmp_path / 'prefix' / 'lib' / 'cmake' / 'hwnas'}"
    tool("cmake", "-S", project, "-B", tmp_path / "asks", found)
    done = try_tool("cmake", "-S", CONSUMER, "-B", tmp_path / "consumer", found)
    assert done.returncode != 0
    assert "built without its native switcher" in " ".join(done.stderr.split())


def test_headers_that_are_missing_are_named(source: Path, tmp_path: Path) -> None:
    hidden = "-DCMAKE_DISABLE_FIND_PACKAGE_ONNXRuntime=ON"
    done = try_tool("cmake", "-S", source, "-B", tmp_path, hidden, "-DHWNAS_SWITCHER=ON")
    assert done.returncode != 0
    assert "there is no ONNX Runtime's C headers;" in " ".join(done.stderr.split())
    done = try_tool("cmake", "-S", source, "-B", tmp_path, hidden, "-DHWNAS_SWITCHER=AUTO")
    assert done.returncode == 0
    assert "Native switcher: not built, as there is no ONNX Runtime's C headers" in done.stdout


def test_config_names_what_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--format", "json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["native"] is True
    assert (Path(shown["cmakedir"]) / "hwnasConfig.cmake").is_file()
    assert (Path(shown["includedir"]) / "hwnas" / "switcher.hpp").is_file()
    assert Path(shown["onnxruntime"]) == runtime_library()
    assert main(["config", "--includedir", "--cmakedir"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == [shown["cmakedir"], shown["includedir"]]
    assert main(["config"]) == 0
    assert "native switcher: ready" in capfd.readouterr().out


def test_config_without_the_library_says_how_to_get_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.cli.config._library", lambda root: None)
    assert main(["config", "--libs"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert "HWNAS_SWITCHER=ON" in said.err
    assert main(["config", "--cmakedir"]) == 0


def test_config_imports_no_runtime() -> None:
    code = (
        "import sys; from hwnas.cli.main import main; code = main(['config'])\n"
        "assert not {'onnxruntime', 'torch', 'onnx'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's program, built against the prefix."""
    defined = f"CMAKE_PREFIX_PATH={prefix}"
    return cmake_build(SERVER, tmp_path_factory.mktemp("server"), defined) / "hwnas-server"


@contextmanager
def serving(server: Path, bundle: Path, deadline_ms: float) -> Iterator[tuple[Any, int]]:
    """The server's process and port; stopped as a user would."""
    command = [server, bundle, "0", "2", str(deadline_ms)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(30) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def test_the_server_answers_bit_for_bit_while_it_is_switched(server: Path, shipped: Path) -> None:
    wanted = CLIENT["Expected"](shipped)
    problems: list[object] = []
    seen: set[str] = set()
    stop = threading.Event()

    with serving(server, shipped, 1e9) as (process, port):

        def ask() -> None:
            client = CLIENT["Client"](port, wanted.output_bytes)
            for _ in range(300):
                name, outputs = client.run(wanted.inputs)
                seen.add(name)
                if outputs != wanted.outputs[name]:
                    problems.append(name)
            client.close()

        def switch() -> None:
            client = CLIENT["Client"](port, wanted.output_bytes)
            while not stop.is_set():
                for name in wanted.outputs:
                    client.command(f"pin {name}")
            client.close()

        switching = threading.Thread(target=switch)
        asking = [threading.Thread(target=ask) for _ in range(6)]
        for thread in (switching, *asking):
            thread.start()
        for thread in asking:
            thread.join()
        stop.set()
        switching.join()
        control = CLIENT["Client"](port, wanted.output_bytes)
        stats = control.stats()
        control.close()

    assert problems == []
    assert seen == set(wanted.outputs)
    assert sum(entry["served"] for entry in stats["subnets"].values()) == 6 * 300
    assert stats["switches"] > 0
    assert process.returncode == 0


def test_the_server_refuses_and_goes_on(server: Path, shipped: Path) -> None:
    wanted = CLIENT["Expected"](shipped)
    with serving(server, shipped, 1e9) as (_, port):
        client = CLIENT["Client"](port, wanted.output_bytes)
        with pytest.raises(ConnectionError, match="unknown subnet 'none'"):
            client.command("pin none")
        with pytest.raises(ConnectionError, match="send: run"):
            client.command("GET / HTTP/1.1")
        client.close()
        cut = CLIENT["Client"](port, wanted.output_bytes)
        cut._stream.write(b"run\n" + wanted.inputs[:-1])
        cut._stream.flush()
        cut.close()
        client = CLIENT["Client"](port, wanted.output_bytes)
        assert client.run(wanted.inputs)[1] in wanted.outputs.values()
        client.close()


def test_the_servers_queue_chooses_the_subnet(server: Path, shipped: Path) -> None:
    """A deadline that no subnet meets takes the fastest; one that all meet the slowest."""
    wanted = CLIENT["Expected"](shipped)
    for deadline, choose in ((1e-9, min), (1e9, max)):
        with serving(server, shipped, deadline) as (_, port):
            client = CLIENT["Client"](port, wanted.output_bytes)
            ms = {name: entry["ms"] for name, entry in client.stats()["subnets"].items()}
            name, _ = client.run(wanted.inputs)
            assert ms[name] == choose(ms.values())
            client.command(f"pin {next(iter(ms))}")
            assert client.run(wanted.inputs)[0] == next(iter(ms))
            client.command("auto")
            assert client.run(wanted.inputs)[0] == name
            client.close()


def test_the_load_script_finds_every_answer_right(server: Path, shipped: Path) -> None:
    with serving(server, shipped, 1.0) as (_, port):
        command = [sys.executable, "-P", SERVER / "load.py", shipped, str(port)]
        options = ["--clients", "4", "--seconds", "0.3"]
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("every answer is right\n")
