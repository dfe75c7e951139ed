"""Installs the stranger's distribution of ``tests/plugin/example`` and puts it on the path.

Import the fixture ``example_plugins`` into a test module and use it: profilers ``null``,
``faulty``, ``unfinished``, ``unimportable`` and the target ``nice`` are then found, here and in
workers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

__all__ = ["example_plugins", "install_example"]

_SOURCE = Path(__file__).parents[1] / "plugin" / "example"


def install_example(folder: Path) -> Path:
    """Install the distribution with pip into ``folder``, without network; returns ``folder``."""
    source = folder.parent / f"{folder.name}-source"
    shutil.copytree(_SOURCE, source, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@cache
def _installed(base: Path) -> Path:
    return install_example(base / "hwnas-example")


@pytest.fixture
def example_plugins(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder where the distribution is installed; on the path while the test runs."""
    folder = _installed(tmp_path_factory.getbasetemp())
    monkeypatch.syspath_prepend(folder)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), inherited])))
    return folder
