"""Fixtures of the distributions: built once, whichever tests want them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.packaging import (
    ROOT,
    Clean,
    build,
    cmake_build,
    copy_of_the_tree,
    require_native,
    tool,
)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_tree(tmp_path_factory.mktemp("source") / "hwnas")


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the native switcher, where it can be built."""
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    home = tmp_path_factory.mktemp("clean")
    tool("venv", "--without-pip", home / "venv")
    python = home / "venv" / "bin" / "python"
    pins = ROOT / "constraints.txt"
    # This environment's pip installs into the other one, which stays without pip.
    tool("pip", "--python", python, "install", "--quiet", "--constraint", pins, wheel)
    return Clean(python, home)


@pytest.fixture(scope="session")
def prefix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``cmake --install`` writes with the native switcher; moved, as packages are."""
    require_native()
    folder = tmp_path_factory.mktemp("prefix")
    built = cmake_build(source, folder / "build", "HWNAS_SWITCHER=ON", "HWNAS_WERROR=ON")
    tool("cmake", "--install", built, "--prefix", folder / "first")
    shutil.rmtree(built)
    return (folder / "first").rename(folder / "moved")
