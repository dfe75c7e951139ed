"""The documents hold: commands are documented, pages run, links lead somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hwnas
from hwnas.cli.main import COMMANDS
from hwnas.cli.reference import reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == reference(), "run: make docs"
    for name in COMMANDS:
        assert f"## hwnas {name}\n" in page


@pytest.mark.parametrize(
    ("page", "file", "subnets", "kinds"),
    [("own-network.md", "mynet.py", "6", "4"), ("own-dimensions.md", "elastic.py", "18", "13")],
)
def test_the_pages_on_own_networks_run(
    page: str, file: str, subnets: str, kinds: str, tmp_path: Path
) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert file != "mynet.py" or len(text.splitlines()) < 60
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [commands] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (tmp_path / file).write_text(code)
    shown = ""
    for line in commands.strip().splitlines():
        words = line.split()
        assert words[0] == "hwnas"
        command = [sys.executable, "-P", "-m", "hwnas.cli.main", *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown = done.stdout
    fields = dict(re.findall(r"^(\w[\w ]*?)  +(\S+)", shown, re.MULTILINE))
    assert (fields["subnets"], fields["kinds"]) == (subnets, kinds)


def test_the_page_on_python_runs(tmp_path: Path) -> None:
    for page, file in (("own-network.md", "mynet.py"), ("python.md", "path.py")):
        text = (ROOT / "docs" / page).read_text()
        [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        (tmp_path / file).write_text(code)
    names = [f"d{d}-w{w}" for d in (2, 3, 4) for w in (64, 128)]
    rows = [f"{name},{i}" for i, name in enumerate(names)]
    (tmp_path / "quality.csv").write_text("\n".join(["subnet,quality", *rows]) + "\n")
    command = [sys.executable, "-P", "path.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["d4-w128", "d4-w64"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_that_pages_show_exist(page: Path) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", reference()))
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^(?:\$ )?hwnas .*$", text, re.MULTILINE):
        for option in re.findall(r"(?<= )--[a-z][a-z-]+", line):
            assert option in known, line


def test_public_names_are_listed() -> None:
    for info in pkgutil.walk_packages(hwnas.__path__, "hwnas."):
        module = importlib.import_module(info.name)
        own = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == info.name
        ]
        listed = getattr(module, "__all__", [])
        if not info.name.endswith("._native"):
            assert set(own) <= set(listed), info.name
        for name in listed:
            assert hasattr(module, name), f"{info.name}.{name}"
