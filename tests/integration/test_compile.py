from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from hwnas.bundle import Bundle, bytes_used
from hwnas.compile import compile_supernet
from hwnas.compile.onnx_export import export_block
from hwnas.errors import SignatureError, SupernetError, UsageError
from hwnas.program import TensorSpec
from hwnas.space import EqualChoice, Slot, Space
from hwnas.supernets.reference import load


def files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_kinds_and_sharing(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle, "space")
    blocks = opened.manifest.blocks
    assert len(blocks) == 8
    assert len(opened.kinds()) == 4  # stem, two widths, head; equal layers are one kind
    assert blocks["layers.0/ffn32"].kind == blocks["layers.2/ffn32"].kind
    supernet = load(f"{Path(__file__).parents[1]}/data/nets.py:tiny")
    full = sum(t.nbytes for t in supernet.state_dict().values())
    assert bytes_used(blocks.values()) <= full
    assert opened.manifest.weights.bytes <= 1.02 * full + 8192  # the header of a tiny file


def test_parallel_export_gives_the_same_bytes(
    tiny_bundle: Path, tiny_reference: str, tmp_path: Path
) -> None:
    seen = []
    compile_supernet(
        load(tiny_reference),
        tmp_path / "two",
        reference=tiny_reference,
        jobs=2,
        progress=lambda done, total, label: seen.append((done, total)),
    )
    assert files(tmp_path / "two") == files(tiny_bundle)
    assert seen == [(i, 8) for i in range(1, 9)]


def test_nothing_tells_of_the_building_machine(tiny_bundle: Path) -> None:
    secrets = [
        str(Path.home()),
        str(Path(__file__).parents[2]),
        sys.prefix,
        "site-packages",
        ".py:",
    ]
    for name, data in files(tiny_bundle).items():
        if name == "weights.safetensors":
            continue
        for secret in secrets:
            found = secret.encode() in data
            # The reference is recorded as the bare file name and attribute.
            assert not found or (secret == ".py:" and name == "manifest.json"), (name, secret)
    for path in tiny_bundle.glob("blocks/*.onnx"):
        model = onnx.load(path, load_external_data=False)
        assert not model.metadata_props
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_a_network_of_ones_own_with_skips_slices_and_no_family(tmp_path: Path) -> None:
    reference = f"{Path(__file__).parents[1]}/data/nets.py:unet"
    bundle = compile_supernet(load(reference), tmp_path / "u", reference=reference)
    blocks = bundle.manifest.blocks
    narrow, wide = blocks["mid.0/w8"], blocks["mid.0/w16"]
    # weight[:8] in forward became a shorter range of the same tensor, not a Slice.
    assert [(w.tensor, w.offset, w.length) for w in narrow.weights] == [("mid.0", 0, 8 * 8 * 4)]
    assert [(w.tensor, w.offset, w.length) for w in wide.weights] == [("mid.0", 0, 16 * 8 * 4)]
    model = onnx.load(tmp_path / "u" / narrow.file, load_external_data=False)
    assert "Slice" not in {node.op_type for node in model.graph.node}
    assert bundle.manifest.space.count() == 1 + 2 + 2


class Strided(nn.Module):
    """Column slices are not contiguous; both blocks use the same ones, and a computed constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 64))
        self.space = Space(
            slots=(Slot(name="a"), Slot(name="b", choices=("half", "whole"))),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.zeros(1, 32)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return StridedBlock(self.weight, 64 if choice == "whole" else 32)


class StridedBlock(nn.Module):
    def __init__(self, weight: nn.Parameter, width: int) -> None:
        super().__init__()
        self.weight = weight
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        big = torch.arange(32 * 32, dtype=torch.float32).reshape(32, 32) * 1e-4
        part = self.weight[:, : self.width]
        return x + (x @ part) @ part.T + x @ big


def test_other_slices_are_stored_once_by_content(tmp_path: Path) -> None:
    bundle = compile_supernet(Strided(), tmp_path / "s")
    blocks = bundle.manifest.blocks
    names = {unit: {w.tensor for w in block.weights} for unit, block in blocks.items()}
    assert names["a/base"] == names["b/half"]
    assert all(name.startswith("content.") for name in names["a/base"])
    assert "weight" in names["b/whole"]


class Broken(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.linear = nn.Linear(4, 4)
        self.space = Space(
            slots=(Slot(name="a", choices=("c1", "c2")), Slot(name="b")),
            rules=(EqualChoice(slots=("a",)),),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {} if self.mode == "inputs" else {"x": torch.zeros(1, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        if self.mode == "choices" and choice == "c2":
            return nn.Linear(4, 5)
        if self.mode == "next" and slot == "b":
            return nn.Linear(7, 4)
        if self.mode == "random":
            return Noise()
        return nn.Linear(4, 4)


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("inputs", SupernetError, ["example_inputs()", "'x'"]),
        ("choices", SignatureError, ["'a'", "c1", "c2", "float32[1,4]", "float32[1,5]"]),
        ("next", SignatureError, ["'b'", "float32[1,4]", "cannot run"]),
        ("random", SupernetError, ["a/c1", "something else"]),
    ],
)
def test_wrong_supernets(
    mode: str, kind: type[SupernetError], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        compile_supernet(Broken(mode), tmp_path / "b")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if bool((x > 0).all()) else x


def test_what_torch_cannot_export_is_named() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(2,))
    with pytest.raises(SupernetError, match=r"layers\.3/base cannot be exported"):
        export_block("layers.3/base", Unexportable(), (spec,), ("x",))


def test_an_existing_folder_is_not_overwritten(tmp_path: Path, tiny_reference: str) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError):
        compile_supernet(load(tiny_reference), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_runtime_imports_neither_torch_nor_click() -> None:
    code = (
        "import sys, hwnas.runtime; "
        "bad = {'torch', 'click', 'rich', 'hwnas.cli', 'hwnas.link'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
