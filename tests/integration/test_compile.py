from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from hwnas.bundle import Bundle, bytes_used
from hwnas.compile import compile_supernet
from hwnas.compile.check import check_blocks
from hwnas.compile.onnx_export import export_block
from hwnas.compile.trace import trace
from hwnas.errors import SignatureError, SupernetError, UsageError
from hwnas.export import Wanted, export_bundle, verify
from hwnas.export.verify import bundle_runner
from hwnas.program import TensorSpec
from hwnas.space import EqualChoice, Slot, Space
from hwnas.supernets.reference import load
from hwnas.supernets.runner import torch_runner


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


def test_blocks_that_compute_nothing_compile_and_run(tmp_path: Path) -> None:
    supernet = load(f"{Path(__file__).parents[1]}/data/nets.py:skip_connect")
    source = compile_supernet(supernet, tmp_path / "s")
    subnets = list(source.manifest.space.subnets())
    export_bundle(source, [Wanted(s) for s in subnets], tmp_path / "out")
    records = verify(
        subnets,
        source.inputs,
        ("bundle", bundle_runner(tmp_path / "out")),
        {"torch": torch_runner(supernet, source)},
    )
    assert len(records) == 2


class Constant(nn.Module):
    """Gives one constant under two names, beside its input; large ones are stored as weights."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        constant = torch.arange(self.size, dtype=torch.float32)
        return constant, x, constant, x


@pytest.mark.parametrize("size", [4, 400])
def test_outputs_are_distinct_and_computed_after_folding(size: int) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(2,))
    exported = export_block("a/b", Constant(size), (spec,), ("c", "x", "d", "y"))
    model = onnx.load_model_from_string(exported.model)
    names = ["c_out", "x_out", "d_out", "y_out"]
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == names
    assert set(names) <= {name for node in model.graph.node for name in node.output}
    if size > 256:  # more bytes than stay inline
        assert all(torch.equal(c, torch.arange(400.0)) for c in exported.constants.values())
        assert exported.constants.keys() == exported.sources.keys() != set()
        return
    x = np.array([3, 4], dtype=np.float32)
    results = ort.InferenceSession(exported.model).run(None, {"x": x})
    for got, wanted in zip(results, [np.arange(4), x, np.arange(4), x], strict=True):
        np.testing.assert_array_equal(got, wanted)


class Dotted(nn.Module):
    """Slot and choice joined by a dot would be one name for two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.space = Space(
            slots=(Slot(name="m", choices=("1.x",)), Slot(name="m.1", choices=("x",)))
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return self.first if slot == "m" else nn.Sequential(self.second, nn.ReLU())


def test_each_block_has_a_file_of_its_own(tmp_path: Path) -> None:
    bundle = compile_supernet(Dotted(), tmp_path / "d")
    found = {unit: block.file for unit, block in bundle.manifest.blocks.items()}
    assert found == {"m/1.x": "blocks/m--1.x.onnx", "m.1/x": "blocks/m.1--x.onnx"}


class Half(nn.Module):
    """Two slots; bfloat16 is where ``mode`` says."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.weight = nn.Parameter(torch.randn(4, 4).to(torch.bfloat16))
        self.space = Space(slots=(Slot(name="a"), Slot(name="b")))

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1, 4, dtype=torch.bfloat16 if self.mode == "input" else None)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return HalfBlock(self.weight, self.mode if slot == "b" or self.mode == "input" else "")


class HalfBlock(nn.Module):
    def __init__(self, weight: nn.Parameter, mode: str) -> None:
        super().__init__()
        self.weight = weight
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "inside":
            return torch.nn.functional.conv1d(x.double()[None], x.double()[None, :, :1])[0].float()
        result = x.float() @ self.weight.float()
        return result.to(torch.bfloat16) if self.mode == "output" else result


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("input", ["slot 'a'", "reads 'x'", "bfloat16[1,4]"]),
        ("output", ["slot 'b'", "writes 'x'", "bfloat16[1,4]"]),
    ],
)
def test_bfloat16_values_are_refused(mode: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SupernetError) as caught:
        compile_supernet(Half(mode), tmp_path / "h")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_weights_are_kept(tmp_path: Path) -> None:
    bundle = compile_supernet(Half("weights"), tmp_path / "h")
    assert [w.length for w in bundle.manifest.blocks["a/base"].weights] == [4 * 4 * 2]


def test_what_onnx_runtime_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="block b/base cannot run in ONNX Runtime") as caught:
        compile_supernet(Half("inside"), tmp_path / "h")
    assert "Conv" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    _, blocks = trace(Half("weights"))
    wrong = dataclasses.replace(blocks[0], arguments=(torch.ones(3, 3),))
    bundle = compile_supernet(Half("weights"), tmp_path / "h")
    with pytest.raises(SupernetError, match="block a/base cannot run in ONNX Runtime"):
        check_blocks(bundle, [wrong])


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
