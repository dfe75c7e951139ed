from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.bundle import Bundle, bytes_used
from hwnas.errors import (
    BundleError,
    HwnasError,
    NewerSchema,
    OtherMachine,
    SignatureError,
    UnknownName,
    UnsafePath,
    UsageError,
)
from hwnas.files import atomic_directory, atomic_file
from hwnas.manifest import SCHEMA_VERSION
from hwnas.runtime import Switcher
from hwnas.weights import map_weights


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped, tmp_path / "copy"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def refused(bundle: Path, kind: type[HwnasError] = BundleError) -> str:
    with pytest.raises(kind) as caught:
        Switcher(bundle)
    assert caught.value.fix
    return str(caught.value)


def test_opens(copy: Path) -> None:
    opened = Bundle.open(copy, "subnets")
    assert len(opened.manifest.subnets) == 6
    assert opened.manifest == Bundle.open(copy).manifest


def test_missing(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing")
    assert "no manifest.json" in refused(tmp_path)


def test_cut_off_manifest(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text[: len(text) // 2])
    assert "cut off" in refused(copy)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"schema_version": 1}', "[" * 100_000])
def test_manifest_of_another_kind(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    refused(copy)


def test_cut_off_weights(copy: Path) -> None:
    data = (copy / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(data[:-1])
    assert f"has {len(data) - 1} bytes" in refused(copy)


@pytest.mark.parametrize("file", ["weights.safetensors", "segments/head.base.onnx"])
def test_any_changed_byte(copy: Path, file: str) -> None:
    data = bytearray((copy / file).read_bytes())
    data[-1] ^= 1
    (copy / file).write_bytes(data)
    assert "SHA-256" in refused(copy)


def test_missing_segment(copy: Path) -> None:
    (copy / "segments" / "head.base.onnx").unlink()
    assert "missing" in refused(copy)


def test_newer_schema(copy: Path) -> None:
    edit(copy, lambda data: data.update(schema_version=SCHEMA_VERSION + 1, new_field=1))
    assert f"schema_version {SCHEMA_VERSION + 1}" in refused(copy, NewerSchema)


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/passwd", "segments/../../outside.onnx"])
def test_paths_that_leave(copy: Path, path: str) -> None:
    (copy.parent / "outside.onnx").write_bytes(b"")

    def change(data: dict[str, Any]) -> None:
        data["segments"]["head.base"].update(file=path, bytes=0)

    edit(copy, change)
    assert "outside the bundle" in refused(copy, UnsafePath)


def test_links_that_leave(copy: Path) -> None:
    weights = copy / "weights.safetensors"
    weights.rename(copy.parent / "elsewhere")
    weights.symlink_to(copy.parent / "elsewhere")
    assert "outside the bundle" in refused(copy, UnsafePath)


def test_a_graph_that_reads_other_files_is_refused(copy: Path) -> None:
    """The manifest's hashes fit: whoever made this bundle made it to read /etc/passwd."""
    import hashlib

    import onnx

    path = copy / "segments" / "head.base.onnx"
    for location in ("/etc/passwd", "../secret", "sub/../../secret"):
        (copy.parent / "secret").write_bytes(b"\0" * 100_000)
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
                elif entry.key == "offset":
                    entry.value = "0"
        data = model.SerializeToString()
        path.write_bytes(data)

        def change(manifest: dict[str, Any], data: bytes = data) -> None:
            digest = hashlib.sha256(data).hexdigest()
            manifest["segments"]["head.base"].update(sha256=digest, bytes=len(data))

        edit(copy, change)
        refused(copy)


def test_programs_that_do_not_fit(copy: Path) -> None:
    edit(copy, lambda data: data["subnets"]["d1-ffn32"]["program"]["calls"].pop(1))
    with pytest.raises(SignatureError):
        edit(copy, lambda data: data["subnets"]["d1-ffn32"]["program"]["calls"].pop(0))
        Bundle.open(copy)


def test_wrong_form(tiny_bundle: Path, shipped: Path) -> None:
    assert "hwnas export" in refused(tiny_bundle)
    with pytest.raises(BundleError, match="form 'subnets'"):
        Bundle.open(shipped, "space")


def test_bytes_count_once(tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    blocks = opened.manifest.blocks
    narrow, wide = blocks["layers.0/ffn32"], blocks["layers.0/ffn64"]
    assert bytes_used([narrow]) < bytes_used([wide]) == bytes_used([narrow, wide])
    space = opened.manifest.space
    sizes = [opened.weight_bytes(space.find(f"d{d}-ffn64")) for d in (1, 2, 3)]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= opened.manifest.weights.bytes


def test_both_forms_answer_for_a_subnet(tiny_bundle: Path, shipped: Path) -> None:
    """Whoever asks for a kind, bytes or a program need not know what the bundle holds."""
    space, subnets = Bundle.open(tiny_bundle), Bundle.open(shipped)
    for name in subnets.manifest.subnets:
        chosen, found = space.subnet(name), subnets.subnet(name)
        assert chosen.choices == found.choices
        assert space.subnet_kind(chosen) == subnets.subnet_kind(found)
        assert space.weight_bytes(chosen) == subnets.weight_bytes(found)
        assert space.program(chosen).inputs == subnets.program(found).inputs
        assert {call.unit for call in subnets.program(found).calls} <= {*subnets.graphs}
    with pytest.raises(UnknownName, match="d9"):
        subnets.subnet("d9")
    with pytest.raises(UnknownName):
        subnets.program(space.subnet("max").model_copy(update={"name": "d9"}))


def test_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), atomic_directory(target, "thing") as folder:
        (folder / "part").write_text("x")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def write(target: Path, form: str, text: str) -> None:
    with atomic_directory(target, form) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "manifest.json").write_text(text)


def test_only_own_folders_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    write(target, "thing", "old")  # an empty folder is nobody's
    write(target, "thing", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (target / "sub" / "manifest.json").read_text() == "new"
    with pytest.raises(UsageError, match="holds a thing, not a gadget"):
        write(target, "gadget", "x")
    (target / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        write(target, "thing", "x")
    foreign = tmp_path / "extension"
    foreign.mkdir()
    (foreign / "manifest.json").write_text("{}")
    (foreign / "weights.safetensors").write_text("x")
    with pytest.raises(UsageError, match="not something that hwnas wrote"):
        write(foreign, "thing", "x")
    with pytest.raises(UsageError, match="not a folder"):
        write(target / "thesis.txt", "thing", "x")
    assert (target / "sub" / "manifest.json").read_text() == "new"
    assert len(list(foreign.iterdir())) == 2


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    write(target, "thing", "old")
    rename = Path.rename

    def fail(self: Path, other: Path) -> Path:
        if self.name.endswith(".tmp") and (self / "sub" / "manifest.json").read_text() == "new":
            raise OSError(28, "No space left on device")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(HwnasError, match="No space left"):
        write(target, "thing", "new")
    assert (target / "sub" / "manifest.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "thing", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "sub" / "manifest.json").read_text() == "new"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["outputs"][0].update(shape=[1, 11]),
        lambda d: d["segments"]["head.base"]["outputs"][0].update(shape=[1, 11]),
        lambda d: d["segments"]["head.base"]["inputs"][0].update(name="nope"),
        lambda d: d["segments"]["head.base"]["outputs"][0].update(dtype="int64"),
        lambda d: d["inputs"][0].update(shape=[10**9, 10**6]),
        lambda d: d["inputs"][0].update(dtype="object"),
        lambda d: d["inputs"][0].update(shape=[-1, 1, 8, 8]),
        lambda d: d.update(subnets={}),
        lambda d: d["segments"]["head.base"].update(file="a\0b"),
        lambda d: d["weights"].update(file="."),
        lambda d: d["weights"].update(bytes=-1),
        lambda d: d.update(schema_version="1"),
        lambda d: d.update(more=1),
    ],
)
def test_manifests_that_lie(copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(copy, change)
    with pytest.raises((BundleError, SignatureError)):
        Switcher(copy)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"shape": [3]}, "bytes"),
        ({"dtype": ["F32"]}, "dtype"),
        ({"dtype": "F4"}, "dtype"),
        ({"data_offsets": [0.0, 8.0]}, "cannot be"),
        ({"shape": "22"}, "cannot be"),
        ({"shape": [-1, -2]}, "cannot be"),
        ({"data_offsets": [8, 16]}, "outside"),
        ({"data_offsets": [0]}, "not a safetensors"),
    ],
)
def test_weights_headers_that_lie(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    path = tmp_path / "w.safetensors"
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header, fine in (({"a": good}, True), ({"a": good | entry}, False)):
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 8)
        if fine:
            assert map_weights(path)["a"].shape == (2,)
            continue
        with pytest.raises(BundleError, match=words):
            map_weights(path)
    deep = b"[" * 100_000
    path.write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(BundleError):
        map_weights(path)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_bundles_of_every_version_stay_readable(version: int) -> None:
    folder = Path(__file__).parents[1] / "data" / f"bundle_v{version}"
    assert Bundle.open(folder / "space", "space").manifest.space.count() == 4
    with np.load(folder / "expected.npz") as expected, Switcher(folder / "subnets") as switcher:
        assert len(switcher.subnets) == 4
        feeds = {spec.name: expected[spec.name] for spec in switcher.inputs}
        for name in switcher.subnets:
            got = switcher.run(feeds, subnet=name)["logits"]
            np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-6)


def test_bundles_whose_subnets_take_other_shapes_stay_readable() -> None:
    folder = Path(__file__).parents[1] / "data" / "bundle_v3"
    source = Bundle.open(folder / "shapes-space", "space")
    assert source.manifest.space.count() == 12
    with (
        np.load(folder / "expected-shapes.npz") as expected,
        Switcher(folder / "shapes") as switcher,
    ):
        assert list(switcher.subnets) == ["r8-d1-mlp.h16", "r16-d2-mlp.h32"]
        for name in switcher.subnets:
            assert switcher.inputs_of(name) == source.inputs(source.subnet(name))
            got = switcher.run({"image": expected[f"{name}/image"]}, subnet=name)["logits"]
            np.testing.assert_allclose(got, expected[f"{name}/logits"], rtol=1e-5, atol=1e-6)


def test_subnets_that_lie_about_their_shapes_are_refused(tmp_path: Path) -> None:
    shapes = Path(__file__).parents[1] / "data" / "bundle_v3" / "shapes"
    shutil.copytree(shapes, tmp_path / "b")
    manifest = json.loads((shapes / "manifest.json").read_text())
    entry = manifest["subnets"]["r8-d1-mlp.h16"]
    good = entry["inputs"][0]
    lies: list[dict[str, Any]] = [
        {"inputs": None},
        {"outputs": None},
        {"inputs": [good | {"shape": [1, 3, 9, 9]}]},
        {"inputs": [good | {"name": "picture"}]},
        {"outputs": entry["outputs"][:1]},
        {"inputs": [good | {"shape": [1, 3, -8, 8]}]},
    ]
    for lie in lies:
        manifest["subnets"]["r8-d1-mlp.h16"] = entry | lie
        (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises((BundleError, SignatureError)):
            Switcher(tmp_path / "b")


def test_a_finalised_bundle_of_another_machine_is_refused_by_name() -> None:
    folder = Path(__file__).parents[1] / "data" / "bundle_v2" / "finalised"
    made_for = Bundle.open(folder, "subnets").manifest.finalised
    assert made_for is not None
    with pytest.raises(OtherMachine) as caught:
        Switcher(folder)
    assert str(made_for) in caught.value.cause
    assert "hwnas export" in caught.value.fix and "--finalise" in caught.value.fix
