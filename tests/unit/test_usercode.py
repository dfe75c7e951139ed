from __future__ import annotations

import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hwnas.errors import HwnasError, SupernetError, UnknownName, UsageError
from hwnas.usercode import Reference, attribute, import_source, parse, user_code


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    yield
    assert sys.meta_path == finders
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def imported(reference: str) -> ModuleType:
    parsed = parse(reference)
    assert parsed is not None
    return import_source(parsed, "write it so")


@pytest.mark.parametrize(
    ("text", "reference", "source"),
    [
        ("package.module:attr", Reference("package.module", "attr", False), "package.module"),
        ("net.py:attr", Reference("net.py", "attr", True), "net.py"),
        ("../some/net.py:attr", Reference("../some/net.py", "attr", True), "net.py"),
        ("some/net:attr", Reference("some/net", "attr", True), "net"),
        ("a:b.py:attr", Reference("a:b.py", "attr", True), "a:b.py"),
    ],
)
def test_a_reference_is_taken_apart(text: str, reference: Reference, source: str) -> None:
    assert parse(text) == reference
    assert reference.source == source


@pytest.mark.parametrize("text", ["", ":", "net.py", "net.py:", ":attr"])
def test_what_is_no_reference(text: str) -> None:
    assert parse(text) is None


def stale(path: Path) -> None:
    """Leave byte code of VALUE = 1 that passes as that of VALUE = 2."""
    path.write_text("VALUE = 1\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    py_compile.compile(str(path), doraise=True)
    path.write_text("VALUE = 2\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_the_trap_of_stale_byte_code_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale(tmp_path / "stale_for_python.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert __import__("stale_for_python").VALUE == 1


def test_a_file_is_run_from_its_source(tmp_path: Path) -> None:
    stale(tmp_path / "stale_file.py")
    assert imported(f"{tmp_path / 'stale_file.py'}:VALUE").VALUE == 2


def test_a_module_is_run_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stale_package").mkdir()
    stale(tmp_path / "stale_package" / "module.py")
    monkeypatch.chdir(tmp_path)
    module = imported("stale_package.module:VALUE")
    assert module.VALUE == 2
    assert sys.modules["stale_package.module"] is module
    assert sys.modules["stale_package"].module is module
    assert imported("stale_package.module:VALUE") is module


def test_each_reference_to_a_file_has_a_module_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("import sys\nclass A: ...\nclass B: ...\nHERE = sys.modules[__name__]\n")
    one, two = imported(f"{path}:A"), imported(f"{path}:B")
    assert one is sys.modules[one.A.__module__] is one.HERE
    assert two is sys.modules[two.A.__module__] is two.HERE
    assert one.__file__ == two.__file__ == str(path)


def test_the_folder_of_a_file_comes_first_that_of_a_module_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("of_file", "of_module"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text("")
    monkeypatch.chdir(tmp_path / "of_module")
    imported(f"{tmp_path / 'of_file' / 'of_file.py'}:x")
    imported("of_module:x")
    assert sys.path[0] == str(tmp_path / "of_file")
    assert sys.path[-1] == str(tmp_path / "of_module")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("none.py:x", "there is no file none.py"),
        ("./:x", "there is no file ./"),
        ("./notes.txt:x", "./notes.txt is not a Python file"),
        ("no_such.module:x", "there is no module 'no_such'"),
        ("json.no_such:x", "there is no module 'json.no_such'"),
        ("two words:x", "'two words' is not the name of a module"),
        (".up:x", "'.up' is not the name of a module"),
        ("a:b:x", "'a:b' is not the name of a module"),
    ],
)
def test_what_cannot_be_imported_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, said: str
) -> None:
    (tmp_path / "notes.txt").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        imported(reference)
    assert said == caught.value.cause
    assert "write it so" in caught.value.fix


def test_a_modules_own_value_error_is_not_about_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_value.py").write_text("\nraise ValueError('seven')\n")
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(SupernetError, match=r"^net fails at .*wrong_value\.py:2: .*seven"),
        user_code("net", SupernetError),
    ):
        imported("wrong_value:x")
    assert "wrong_value" not in sys.modules


def test_user_code_leaves_errors_of_hwnas_and_interrupts_alone() -> None:
    for error in (UsageError("cause", "fix"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, user_code("net", SupernetError):
            raise error
        assert caught.value is error
    with pytest.raises(HwnasError, match=r"net fails at .*: SystemExit: 3"), user_code("net"):
        sys.exit(3)


def test_a_missing_attribute_comes_with_the_public_names(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("_hidden = seven = 7\neight = '8'\nnothing = None\n")
    module = imported(f"{path}:seven")
    assert attribute(module, Reference(str(path), "nothing", True), "thing", callable) is None
    with pytest.raises(UnknownName) as caught:
        attribute(
            module, Reference(str(path), "sevn", True), "thing", lambda value: value in (7, "7")
        )
    assert caught.value.cause == "unknown thing in net.py: 'sevn'"
    assert caught.value.fix == "did you mean 'seven'? known: seven"
