"""``agent.pyz``: one file, always the same, that needs only Python, NumPy and a runtime."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from hwnas._version import __version__
from hwnas.agent.archive import build
from hwnas.agent.events import AgentError, Described, End, Event, Loaded, Start
from hwnas.agent.wire import parse_event
from hwnas.profile import Settings, make_package
from hwnas.profile.package import reference_outputs
from hwnas.testing.conformance import example_job
from tests.support.measuring import QUICK, read_records, unpack

ROOT = Path(__file__).parents[2]

ALLOWED = {"numpy", "onnxruntime", "hwnas", "hwnas_profilers"}
"""What may be imported besides the standard library."""

NEEDED = ("numpy", "onnxruntime", "flatbuffers", "packaging", "google", "sympy", "mpmath")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "agent.pyz"
    path.write_bytes(build())
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with NumPy and ONNX Runtime, and without hwnas."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    installed = Path(sysconfig.get_path("purelib"))
    for name in NEEDED:
        for path in [*installed.glob(name), *installed.glob(f"{name}.libs")]:
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def sources(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def events(lines: bytes) -> list[Event]:
    return [parse_event(line) for line in lines.splitlines()]


def test_equal_sources_give_equal_bytes(archive: Path) -> None:
    assert build() == archive.read_bytes()
    script = "import sys; from hwnas.agent.archive import build; sys.stdout.buffer.write(build())"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True)
    assert done.stdout == archive.read_bytes()
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as opened:
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert opened.testzip() is None


def test_holds_what_measuring_needs_and_no_more(archive: Path) -> None:
    names = set(sources(archive))
    light = {name for name in names if "/agent/" not in name}
    assert light == {
        "__main__.py",
        *(
            f"hwnas/{name}.py"
            for name in ("__init__", "_version", "errors", "files", "plugins", "processes")
        ),
        "hwnas_profilers/__init__.py",
        "hwnas_profilers/onnxruntime.py",
        f"hwnas-{__version__}.dist-info/METADATA",
        f"hwnas-{__version__}.dist-info/entry_points.txt",
    }
    agent = {str(p.relative_to(ROOT)) for p in (ROOT / "hwnas" / "agent").rglob("*.py")}
    assert names - light == agent
    assert archive.stat().st_size < 100_000


def test_imports_only_what_a_device_has(archive: Path) -> None:
    found = sources(archive)
    for name, text in found.items():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module is not None
                modules = [node.module]
                if node.module.partition(".")[0] == "hwnas":
                    modules += [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                top = module.partition(".")[0]
                assert top in ALLOWED or top in sys.stdlib_module_names, (name, module)
                if top == "hwnas":
                    file = module.replace(".", "/")
                    parent = file.rpartition("/")[0]
                    there = {f"{file}.py", f"{file}/__init__.py", f"{parent}.py"}
                    there.add(f"{parent}/__init__.py")
                    assert there & set(found), (name, module)


def test_is_written_in_the_python_of_2021(archive: Path) -> None:
    for name, text in sources(archive).items():
        if name.endswith(".py"):
            ast.parse(text, name, feature_version=(3, 10))


def test_uses_only_what_the_library_of_that_python_has(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy knows what each Python brings; it is not installed")
    options = ["--python-version", "3.10", "--config-file=", "--explicit-package-bases"]
    options += ["--follow-imports", "silent", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "hwnas/agent", "hwnas/processes.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class TestRuns:
    """With ``python3 -I``: neither the environment nor the current folder is looked at."""

    def test_hwnas_is_not_installed_there(self, python: Path) -> None:
        code = "import numpy, onnxruntime, hwnas"
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
        assert "No module named 'hwnas'" in done.stderr

    def test_describes(self, python: Path, archive: Path) -> None:
        request = json.dumps({"profiler": "onnxruntime", "settings": Settings().to_dict()})
        done = subprocess.run(
            [python, "-I", archive, "describe"], input=request.encode(), capture_output=True
        )
        assert done.returncode == 0, done.stderr
        [event] = events(done.stdout)
        assert isinstance(event, Described)
        assert event.fingerprint["runtime"] == "onnxruntime"
        assert event.fingerprint["hwnas"] == __version__

    @pytest.mark.parametrize(
        ("request_", "word"),
        [
            (b"", "no request"),
            (b"{}", "no request"),
            (b'{"profiler": "onnxruntime", "settings": {"speed": 1}}', "no such setting"),
            (b'{"profiler": "abacus", "settings": {}}', "abacus"),
        ],
    )
    def test_says_what_is_wrong(
        self, python: Path, archive: Path, request_: bytes, word: str
    ) -> None:
        done = subprocess.run(
            [python, "-I", archive, "describe"], input=request_, capture_output=True
        )
        assert done.returncode == 1
        [event] = events(done.stdout)
        assert isinstance(event, AgentError) and word in event.error

    @pytest.mark.parametrize("journal", [False, True])
    def test_measures(self, python: Path, archive: Path, tmp_path: Path, journal: bool) -> None:
        (tmp_path / "bundle").mkdir()
        jobs = [example_job(tmp_path / "bundle")]
        package = make_package(jobs, "onnxruntime", QUICK, reference_outputs)
        job, blobs = unpack(package, tmp_path)
        words: list[str | Path] = [python, "-I", archive, "run", job, "--blobs", blobs]
        done = subprocess.run(
            [*words, *([] if journal else ["--stdout"])],
            capture_output=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr
        found = events((job / "journal.jsonl").read_bytes() if journal else done.stdout)
        assert isinstance(found[0], Start) and isinstance(found[-1], End)
        assert [event.outputs_ok for event in found if isinstance(event, Loaded)] == [True]
        assert list(read_records(package, found)) == ["example/base"]
        assert (job / "journal.jsonl").exists() == journal
