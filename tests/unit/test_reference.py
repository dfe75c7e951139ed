from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hwnas.errors import HwnasError, SupernetError, UnknownName, UsageError
from hwnas.supernets.reference import load, portable_reference
from hwnas.supernets.sorted_vit import SortedViT

NETWORK = """
from hwnas.supernets.sorted_vit import SortedViT, ViTConfig

def small():
    return SortedViT(ViTConfig(8, 4, 1, 10, 8, 2, (8, 16), (1, 2)))

class Bare:
    space = None
    def block(self, slot, choice): ...

ready = small()
number = 3
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


def fails(reference: str, kind: type[HwnasError], weights: Path | None = None) -> str:
    with pytest.raises(kind) as caught:
        load(reference, weights)
    assert caught.value.fix
    return str(caught.value)


def test_family() -> None:
    found = load("vit:ti16")
    assert isinstance(found, SortedViT)
    assert found.config.width == 192


def test_family_without_that_variant() -> None:
    assert "s16" in fails("vit:s17", UnknownName)


def test_file_with_a_function_and_with_an_object(file: Path) -> None:
    for name in ("small", "ready"):
        assert load(f"{file}:{name}").space.count() == 4


def test_file_imports_its_neighbours_now_and_later(tmp_path: Path) -> None:
    (tmp_path / "neighbour_now.py").write_text("width = 16\n")
    (tmp_path / "neighbour_later.py").write_text("width = 24\n")
    (tmp_path / "net.py").write_text(
        "from neighbour_now import width\n"
        "from hwnas.supernets.sorted_vit import SortedViT, ViTConfig\n"
        "class Net(SortedViT):\n"
        "    def __init__(self):\n"
        "        super().__init__(ViTConfig(8, 4, 1, 10, width, 2, (8,), (1,)))\n"
        "    def block(self, slot, choice):\n"
        "        import neighbour_later\n"
        "        return super().block(slot, choice)\n"
    )
    found = load(f"{tmp_path / 'net.py'}:Net")
    assert found.state_dict()["stem.position"].shape[-1] == 16
    assert found.block("head", "base") is not None


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder, width in (("one", 8), ("two", 16)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NETWORK.replace("10, 8,", f"10, {width},"))
    one, two = (load(f"{tmp_path / folder / 'net.py'}:small") for folder in ("one", "two"))
    assert one.state_dict()["stem.position"].shape[-1] == 8
    assert two.state_dict()["stem.position"].shape[-1] == 16


def test_module_in_the_current_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "some_package"
    package.mkdir()
    file.rename(package / "net.py")
    monkeypatch.chdir(file.parent)
    assert load("some_package.net:small").space.count() == 4


@pytest.mark.parametrize("reference", ["vit", "net.py", ":small", "net:", "", ":"])
def test_no_reference(reference: str) -> None:
    assert "vit:s16" in fails(reference, UsageError)


def test_missing_file(tmp_path: Path) -> None:
    assert "none.py" in fails(f"{tmp_path / 'none.py'}:small", UsageError)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert "there is no file" in fails(f"{tmp_path}/:small", UsageError)


def test_missing_module_lists_families() -> None:
    said = fails("no_such_module:small", UsageError)
    assert "no_such_module" in said
    assert "families: ofa, vit" in said


@pytest.mark.parametrize("reference", ["..a:b", "a..b:c", ".:x"])
def test_not_a_module_name(reference: str) -> None:
    fails(reference, UsageError)


def test_a_module_that_lacks_an_import_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking.py").write_text("x = 1\nimport no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    said = fails("lacking:small", SupernetError)
    assert "lacking.py:2" in said
    assert "no_such_dependency" in said


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("x = 1\nx / 0\n", 2, "ZeroDivisionError"),
        ("x = 1\n\ndef small(:\n", 3, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
        ("import json\n\ndef small():\n    return json.loads('{')\n", 4, "JSONDecodeError"),
        ("class small:\n    @property\n    def space(self):\n        raise KeyError('k')\n"
         "    block = example_inputs = state_dict = load_state_dict = print\n", 4, "KeyError"),
    ],
    ids=["import", "syntax", "exit", "call", "property"],
)  # fmt: skip
def test_the_users_error_is_shown_with_its_line(
    tmp_path: Path, code: str, line: int, said: str
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    shown = fails(f"{path}:small", SupernetError)
    assert f"broken.py:{line}:" in shown
    assert said in shown
    assert "Traceback" not in shown


def test_a_failed_import_leaves_no_module(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    before = set(sys.modules)
    fails(f"{path}:small", SupernetError)
    path.write_text(NETWORK)
    assert load(f"{path}:small").space.count() == 4
    assert {name for name in set(sys.modules) - before if "_hwnas_user_broken" in name}


def test_errors_of_hwnas_itself_pass_through(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(NETWORK.replace("10, 8, 2", "10, 8, 3"))
    assert "3 heads" in fails(f"{path}:small", SupernetError)


def test_missing_name_lists_what_is_there(file: Path) -> None:
    said = fails(f"{file}:smal", UnknownName)
    assert "did you mean 'small'" in said
    assert "SortedViT" not in said


def test_not_a_supernet_names_what_is_missing(file: Path) -> None:
    said = fails(f"{file}:Bare", SupernetError)
    assert "Bare" in said
    assert "it has no example_inputs, state_dict, load_state_dict\n" in said
    assert "is not a supernet" in fails(f"{file}:number", SupernetError)
    assert "arguments" in fails("json:dumps", SupernetError)


def test_a_plain_module_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\nsmall = nn.Linear(2, 2)\n")
    assert "Linear, which is not a supernet: it has no space, block" in fails(
        f"{tmp_path / 'net.py'}:small", SupernetError
    )


def test_a_space_of_another_type(file: Path) -> None:
    file.write_text(NETWORK + "\ndef other():\n    n = small()\n    n.space = {}\n    return n\n")
    assert "a space that is a dict" in fails(f"{file}:other", SupernetError)


def test_weights_of_both_formats(file: Path, tmp_path: Path) -> None:
    state = {
        name: torch.full_like(t, 0.5) for name, t in load(f"{file}:small").state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        loaded = load(f"{file}:small", tmp_path / name).state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_weights_that_do_not_fit_are_all_named(file: Path, tmp_path: Path) -> None:
    state = dict(load(f"{file}:small").state_dict())
    del state["head.norm.bias"]
    state["left.over"] = torch.zeros(1)
    state["stem.patch.bias"] = torch.zeros(9)
    save_file(state, tmp_path / "w.safetensors")
    said = fails(f"{file}:small", SupernetError, tmp_path / "w.safetensors")
    assert "lacks head.norm.bias" in said
    assert "unknown left.over" in said
    assert "stem.patch.bias is (9,) instead of (8,)" in said


def test_a_network_that_accepts_less_is_still_an_error(file: Path, tmp_path: Path) -> None:
    file.write_text(
        NETWORK + "\nclass Lenient(SortedViT):\n"
        "    def __init__(self):\n"
        "        super().__init__(ViTConfig(8, 4, 1, 10, 8, 2, (8,), (1,)))\n"
        "    def load_state_dict(self, state):\n"
        "        return super().load_state_dict(state, strict=False)\n"
    )
    state = dict(load(f"{file}:Lenient").state_dict())
    del state["head.norm.bias"]
    save_file(state, tmp_path / "w.safetensors")
    assert "head.norm.bias" in fails(f"{file}:Lenient", SupernetError, tmp_path / "w.safetensors")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
def test_weights_that_hold_code_are_refused_and_not_run(
    file: Path, tmp_path: Path, name: str
) -> None:
    trap = tmp_path / "trap"
    state = {**load(f"{file}:small").state_dict(), "x": Touch(trap)}
    torch.save(state, tmp_path / name)
    assert "holds code" in fails(f"{file}:small", SupernetError, tmp_path / name)
    (tmp_path / f"plain_{name}").write_bytes(pickle.dumps(Touch(trap)))
    assert "holds code" in fails(f"{file}:small", SupernetError, tmp_path / f"plain_{name}")
    assert not trap.exists()
    torch.load(tmp_path / name, weights_only=False)
    assert trap.exists(), "the trap itself must work"


def test_weights_that_are_damaged_missing_or_something_else(file: Path, tmp_path: Path) -> None:
    reference = f"{file}:small"
    whole = tmp_path / "whole.safetensors"
    save_file(dict(load(reference).state_dict()), whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-100])
    assert "cannot be read" in fails(reference, SupernetError, cut)
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    assert "cannot be read" in fails(reference, SupernetError, tmp_path / "cut.pt")
    torch.save({"epoch": 3, "model": {}}, tmp_path / "checkpoint.pt")
    assert "epoch, model" in fails(reference, SupernetError, tmp_path / "checkpoint.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    assert "a list" in fails(reference, SupernetError, tmp_path / "list.pt")
    assert "there is no weights" in fails(reference, UsageError, tmp_path / "none.safetensors")
    assert ".safetensors" in fails(reference, UsageError, tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("reference", "portable"),
    [
        ("vit:s16", "vit:s16"),
        ("package.module:attr", "package.module:attr"),
        ("/home/somebody/net.py:small", "net.py:small"),
        ("../net.py:small", "net.py:small"),
        ("no reference", None),
    ],
)
def test_portable_reference_has_no_folder(reference: str, portable: str | None) -> None:
    assert portable_reference(reference) == portable
