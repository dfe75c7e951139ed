"""Building, installing and configuring this tree as a stranger would, in environments of its own.

Where the native switcher was built into the installation under test, it is built here too; the
fixture ``native`` skips, saying why, or fails where ``HWNAS_REQUIRE_NATIVE`` is 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from hwnas.runtime import _native

__all__ = [
    "NATIVE",
    "NATIVE_FILES",
    "ROOT",
    "Clean",
    "build",
    "cmake_build",
    "copy_of_the_tree",
    "members",
    "require_native",
    "tool",
    "try_tool",
]

ROOT = Path(__file__).parents[2]
NATIVE: bool = _native.has_switcher
"""Whether the native switcher can be built here."""
NATIVE_FILES = {
    "lib/libhwnas_switcher.so.1",
    "lib/cmake/hwnas/hwnasTargets-release.cmake",
    "agent/native/onnxruntime_c_api.h",
}
"""What an installation holds only if the native switcher was built."""

_HEADERS = Path(sys.prefix) / "native-deps" / "usr"
_NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "*.db", "*.so"
)


class Clean(NamedTuple):
    """An environment that holds the wheel and its dependencies, and nothing else."""

    python: Path
    home: Path

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run ``command`` from the environment's ``bin`` and return its standard output."""
        done = subprocess.run(
            [self.python.parent / command[0], *command[1:]],
            cwd=cwd or self.home,
            env={
                "PATH": f"{self.python.parent}:/usr/bin:/bin",
                "HOME": str(self.home),
                "ORT_DISABLE_TELEMETRY": "1",
                "PYTHONWARNINGS": "error",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def require_native() -> None:
    """Skip the test, or fail it where the native switcher must be there."""
    if NATIVE:
        return
    reason = "the native switcher was not built: its headers were not found by `make dev`"
    if os.environ.get("HWNAS_REQUIRE_NATIVE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def try_tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a module of this interpreter, such as ``build`` or ``cmake``."""
    prefixes = [str(_HEADERS), os.environ.get("CMAKE_PREFIX_PATH", "")]
    return subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        env={**os.environ, "CMAKE_PREFIX_PATH": os.pathsep.join(filter(None, prefixes))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tool(*arguments: str | Path) -> None:
    """As :func:`try_tool`; fails the test with all output unless it succeeds."""
    done = try_tool(*arguments)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"


def copy_of_the_tree(to: Path) -> Path:
    """The sources without what was built or cached in them."""
    return Path(shutil.copytree(ROOT, to, ignore=_NOT_SOURCE))


def build(what: str, source: Path, out: Path, *, switcher: bool = NATIVE) -> Path:
    """Build the ``wheel`` or ``sdist`` of ``source`` into the folder ``out``."""
    native = f"cmake.define.HWNAS_SWITCHER={'ON' if switcher else 'OFF'}"
    tool("build", f"--{what}", "--no-isolation", "-C", native, "--outdir", out, source)
    (built,) = out.iterdir()
    return built


def cmake_build(source: Path, into: Path, *defines: str) -> Path:
    """Configure and build the CMake project ``source``; returns the folder ``into``."""
    tool("cmake", "-S", source, "-B", into, "-G", "Ninja", *(f"-D{define}" for define in defines))
    tool("cmake", "--build", into, "--parallel", "2")
    return into


def members(wheel: Path) -> set[str]:
    """Names in a wheel, without its ``dist-info``."""
    with zipfile.ZipFile(wheel) as archive:
        return {n for n in archive.namelist() if ".dist-info/" not in n and not n.endswith("/")}
