"""Builds the native switcher and its tests, with and without sanitizers, and runs them.

The builds stay in ``build/native-*``, so that a second run compiles only what has changed.
``HWNAS_STRESS_SECONDS`` says how long the stress test of threads runs (3 s by default).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / ".venv" / "native-deps" / "usr"
REQUIRED = os.environ.get("HWNAS_REQUIRE_NATIVE") == "1"
FLAGS = {
    "plain": ["-DCMAKE_BUILD_TYPE=Release"],
    # Short to compile, and fast enough to run.
    "asan": ["-DHWNAS_SANITIZE=address", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-O1"],
    "tsan": ["-DHWNAS_SANITIZE=thread", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-O1"],
}


def _missing(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"HWNAS_REQUIRE_NATIVE=1, but {reason}")
    pytest.skip(reason)


def _runtime() -> Path:
    """The library of the installed onnxruntime, found without importing it."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.submodule_search_locations
    found = sorted(Path(spec.submodule_search_locations[0]).glob("capi/libonnxruntime.so.*"))
    if not found:
        _missing("the installed onnxruntime has no libonnxruntime.so of its own")
    return found[0]


@pytest.fixture(scope="session")
def native_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, inputs and expected outputs by the Python switcher."""
    from tests.native.data import write_data

    folder = tmp_path_factory.mktemp("native")
    write_data(folder)
    return folder


def _build(name: str) -> Path:
    cmake = shutil.which("cmake")
    if cmake is None:
        _missing("cmake is not on the PATH")
    assert cmake is not None
    build = ROOT / "build" / f"native-{name}"
    prefix = os.environ.get("CMAKE_PREFIX_PATH", "")
    options = [
        f"-DCMAKE_PREFIX_PATH={HEADERS};{prefix.replace(':', ';')}",
        "-DHWNAS_SWITCHER=ON",
        "-DHWNAS_BUILD_TESTS=ON",
        "-DHWNAS_WERROR=ON",
        *FLAGS[name],
    ]
    if shutil.which("ninja") and not (build / "Makefile").exists():
        options.append("-GNinja")
    run = subprocess.run(
        [cmake, "-S", ROOT, "-B", build, *options], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        no_headers = "there is no" in run.stderr or "Could not find" in run.stderr
        if no_headers or "Could NOT find" in run.stderr:
            _missing(f"the headers that it is built with are not there:\n{run.stderr[-1500:]}")
        pytest.fail(f"cmake failed:\n{run.stderr[-4000:]}")
    run = subprocess.run(
        [cmake, "--build", build, "--parallel", str(os.cpu_count() or 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        pytest.fail(
            f"the native switcher does not build:\n{run.stdout[-6000:]}{run.stderr[-2000:]}"
        )
    return build


def test_the_library_exports_its_c_interface_and_nothing_else() -> None:
    """Templates of the C++ library among its symbols would be merged with other libraries'."""
    nm = shutil.which("nm")
    if nm is None:
        _missing("nm, which lists a library's symbols, is not on the PATH")
    assert nm is not None
    header = (ROOT / "hwnas/runtime/cpp/include/hwnas/switcher.h").read_text()
    declared = set(re.findall(r"^HWNAS_API [^(;]*?(hwnas_\w+)\(", header, re.MULTILINE))
    library = _build("plain") / "hwnas/runtime/cpp/libhwnas_switcher.so"
    listed = subprocess.run(
        [nm, "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    found = {tuple(line.split()[1:]) for line in listed.splitlines()}
    assert {name.partition("@")[0] for kind, name in found if kind != "A"} == declared
    assert {name for kind, name in found if kind == "A"} == {"HWNAS_1"}


@pytest.mark.parametrize("name", FLAGS)
def test_native_core(name: str, native_data: Path) -> None:
    """Every test of the native core passes, also under the sanitizers."""
    runtime, build = _runtime(), _build(name)
    run = subprocess.run(
        ["ctest", "--output-on-failure", "--no-tests=error"],
        cwd=build / "tests" / "native",
        env=os.environ | {"HWNAS_TEST_DATA": str(native_data), "HWNAS_ONNXRUNTIME": str(runtime)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert "Skipped" not in run.stdout
