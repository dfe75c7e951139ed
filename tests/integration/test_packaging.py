"""The distributions: what they hold, and that a clean environment can do the main job with them."""

import configparser
import json
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import hwnas
from tests.support.packaging import (
    NATIVE,
    NATIVE_FILES,
    ROOT,
    Clean,
    build,
    members,
    require_native,
    tool,
)

PACKAGES = {
    "hwnas": "hwnas",
    "hwnas_profilers": "profilers/hwnas_profilers",
    "hwnas_targets": "targets/hwnas_targets",
}
ENTRY_POINTS = {
    "console_scripts": {"hwnas": "hwnas.cli.main:main"},
    "hwnas.profilers": {"onnxruntime": "hwnas_profilers.onnxruntime:OnnxRuntimeProfiler"},
    "hwnas.targets": {
        "adb": "hwnas_targets.adb:AdbTarget",
        "local": "hwnas_targets.local:LocalTarget",
        "ssh": "hwnas_targets.ssh:SshTarget",
    },
    "hwnas.descriptors": {"hwnas": "hwnas_targets.data"},
    "hwnas.supernets": {
        "ofa": "hwnas.supernets.ofa:from_variant",
        "vit": "hwnas.supernets.sorted_vit:from_variant",
    },
}
HEADERS = {
    f"include/hwnas/{name}" for name in ("dlpack.hpp", "switcher.h", "switcher.hpp", "version.h")
}
CMAKE_FILES = {
    f"lib/cmake/hwnas/{name}.cmake"
    for name in ("hwnasConfig", "hwnasConfigVersion", "hwnasTargets")
}
DEVELOPMENT = HEADERS | CMAKE_FILES | (NATIVE_FILES if NATIVE else set())


def dist_info(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(dist_info(wheel, "METADATA"))


@pytest.fixture(scope="module")
def sdist_wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel without the native switcher, from an sdist of the same tree.

    Only the version's source differs: it says 9.8.7.
    """
    tree = shutil.copytree(source, tmp_path_factory.mktemp("other") / "hwnas")
    version = tree / "hwnas" / "_version.py"
    version.write_text(version.read_text().replace(f'"{hwnas.__version__}"', '"9.8.7"'))
    sdist = build("sdist", tree, tmp_path_factory.mktemp("sdist"))
    assert sdist.name == "hwnas-9.8.7.tar.gz"
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # The first patch releases of Python 3.11 have no filters.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(unpacked, **safely)
    tree = unpacked / "hwnas-9.8.7"
    return build("wheel", tree, tmp_path_factory.mktemp("again"), switcher=False)


def test_wheel_holds_the_packages_and_nothing_else(source: Path, wheel: Path) -> None:
    expected = {
        f"{package}/{path.relative_to(source / folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in (source / folder).rglob("*")
        if path.is_file() and "cpp" not in path.parts
    }
    found = members(wheel)
    (extension,) = (name for name in found if name.endswith(".so"))
    assert extension.startswith("hwnas/runtime/_native.")
    assert found - {extension} - expected == {f"hwnas/{name}" for name in DEVELOPMENT}
    assert expected <= found
    assert "hwnas/doctor/probe.sh" in expected and "hwnas/agent/native/agent.h" in expected
    assert "hwnas_targets/data/cpu.toml" in expected
    assert {"hwnas/runtime/_native.pyi"} | {f"{p}/py.typed" for p in PACKAGES} <= expected


def test_wheel_holds_entry_points_and_licences(wheel: Path) -> None:
    points = configparser.ConfigParser(delimiters=("=",))
    points.read_string(dist_info(wheel, "entry_points.txt"))
    assert {group: dict(points[group]) for group in points.sections()} == ENTRY_POINTS
    texts = ["LICENSE"] + [
        f"third_party/{name}.LICENSE"
        for name in ("nanobind", "nlohmann_json", "onnxruntime", "robin-map")
    ]
    for text in texts:
        assert dist_info(wheel, f"licenses/{text}") == (ROOT / text).read_text()


def test_plain_install_asks_for_no_torch(wheel: Path) -> None:
    required = metadata(wheel).get_all("Requires-Dist", [])
    plain = [r for r in required if "extra ==" not in r]
    assert any(r.startswith("onnxruntime") for r in plain)
    assert not [r for r in plain if r.startswith(("torch", "onnxscript"))]
    assert [
        r for r in required if r.startswith("torch") and "extra == 'torch'" in r.replace('"', "'")
    ]


def test_sdist_holds_all_that_is_built(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = {
        path.relative_to(source).as_posix()
        for folder in ("hwnas", "profilers", "targets", "third_party")
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    assert needed | {"CMakeLists.txt", "pyproject.toml", "LICENSE"} <= held


def test_wheel_from_sdist_is_the_wheel_from_the_tree(wheel: Path, sdist_wheel: Path) -> None:
    native = {f"hwnas/{name}" for name in NATIVE_FILES}
    assert members(sdist_wheel) == members(wheel) - native


def test_wheel_without_the_native_switcher_says_so_and_runs(
    clean: Clean, sdist_wheel: Path, shipped: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(sdist_wheel) as archive:
        archive.extractall(tmp_path)
    code = """
        import json, sys
        import numpy as np
        sys.path.insert(0, sys.argv[1])
        from hwnas.cli.main import main
        from hwnas.errors import UsageError
        from hwnas.runtime import Switcher
        assert main(["config", "--format", "json"]) == 0
        try:
            Switcher(sys.argv[2], backend="native")
        except UsageError as error:
            assert "without the native switcher" in error.cause
        else:
            raise AssertionError
        with Switcher(sys.argv[2]) as switcher:
            assert switcher.backend == "python"
            switcher.run({i.name: np.ones(i.shape, i.dtype) for i in switcher.inputs})
    """
    shown = json.loads(clean.run("python", "-c", textwrap.dedent(code), tmp_path, shipped))
    assert shown["version"] == "9.8.7"
    assert shown["native"] is False
    assert shown["libs"] is None


def test_version_has_a_single_source(sdist_wheel: Path, tmp_path: Path) -> None:
    assert sdist_wheel.name.startswith("hwnas-9.8.7-")
    assert metadata(sdist_wheel)["Version"] == "9.8.7"
    with zipfile.ZipFile(sdist_wheel) as archive:
        archive.extractall(tmp_path)
    header = (tmp_path / "hwnas" / "include" / "hwnas" / "version.h").read_text()
    for line in ['VERSION "9.8.7"', "VERSION_MAJOR 9", "VERSION_MINOR 8", "VERSION_PATCH 7"]:
        assert f"#define HWNAS_{line}\n" in header
    (extension,) = (tmp_path / "hwnas" / "runtime").glob("_native.*.so")
    code = textwrap.dedent(f"""
        import importlib.util as u
        spec = u.spec_from_file_location("_native", {str(extension)!r})
        module = u.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(module.version())
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "9.8.7\n"


def test_headers_install_without_python(source: Path, wheel: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    off = "-DHWNAS_SWITCHER=OFF"
    tool("cmake", "-S", source, "-B", tmp_path / "build", "-G", "Ninja", off)
    tool("cmake", "--install", tmp_path / "build", "--prefix", prefix)
    installed = {p.relative_to(prefix).as_posix() for p in prefix.rglob("*") if p.is_file()}
    assert installed == HEADERS | CMAKE_FILES
    with zipfile.ZipFile(wheel) as archive:
        for name in HEADERS:
            assert (prefix / name).read_bytes() == archive.read(f"hwnas/{name}")


def test_clean_environment_imports_the_extension(clean: Clean) -> None:
    code = """
        import importlib.metadata, importlib.util, json, sys
        import hwnas.runtime
        lean = not {"torch", "click", "rich"} & set(sys.modules)
        from hwnas.runtime import _native
        print(json.dumps({
            "metadata": importlib.metadata.version("hwnas"),
            "native": _native.version(),
            "package": hwnas.__version__,
            "torch": importlib.util.find_spec("torch") is not None,
            "lean": lean,
            "installed": hwnas.__file__.startswith(sys.prefix),
        }))
    """
    assert json.loads(clean.run("python", "-c", textwrap.dedent(code))) == {
        "metadata": hwnas.__version__,
        "native": hwnas.__version__,
        "package": hwnas.__version__,
        "torch": False,
        "lean": True,
        "installed": True,
    }


def test_clean_environment_has_the_command(clean: Clean) -> None:
    shown = clean.run("hwnas", "--help")
    for command in ["compile", "inspect", "profile", "select", "export", "run", "bench", "config"]:
        assert command in shown


def run_main_job(clean: Clean, bundle: Path, out: Path) -> None:
    """Profile, select, export and run ``bundle`` through the commands of ``clean``."""
    quality, lut, plan = out / "quality.json", out / "lut.db", out / "plan.json"
    shipped, inputs = out / "shipped", out / "x.npz"
    rate = """
        import json, sys
        from hwnas.bundle import Bundle
        subnets = Bundle.open(sys.argv[1]).manifest.space.subnets()
        print(json.dumps({subnet.name: rank for rank, subnet in enumerate(subnets)}))
    """
    quality.write_text(clean.run("python", "-c", textwrap.dedent(rate), bundle))
    clean.run("hwnas", "profile", bundle, "--target", "cpu", "-o", lut)
    # A budget that the smallest subnets meet on any machine: nothing here depends on timing.
    clean.run(
        *("hwnas", "select", bundle, "--lut", lut, "--tier", "less:p50=90%"),
        *("--quality", quality, "-o", plan),
    )
    clean.run("hwnas", "export", bundle, "--plan", plan, "--to", "bundle", "-o", shipped)
    fill = """
        import json, sys
        import numpy as np
        from hwnas.bundle import Bundle
        manifest = Bundle.open(sys.argv[1]).manifest
        np.savez(sys.argv[2], **{i.name: np.ones(i.shape, i.dtype) for i in manifest.inputs})
        print(json.dumps(list(manifest.subnets)))
    """
    names = json.loads(clean.run("python", "-c", textwrap.dedent(fill), shipped, inputs))
    assert names
    for name in names:
        options = ("--subnet", name, "--input", inputs, "--format", "json")
        result = json.loads(clean.run("hwnas", "run", shipped, *options))
        assert result["subnet"] == name
        assert result["outputs"]


def test_clean_environment_does_the_main_job(
    clean: Clean, tiny_bundle: Path, tmp_path: Path
) -> None:
    run_main_job(clean, tiny_bundle, tmp_path)


def test_committed_stub_is_what_nanobind_writes(tmp_path: Path) -> None:
    require_native()  # the stub is of the whole extension
    stub = tmp_path / "_native.pyi"
    tool("nanobind.stubgen", "-q", "-m", "hwnas.runtime._native", "-o", stub)
    assert (ROOT / "hwnas" / "runtime" / "_native.pyi").read_text() == stub.read_text()
