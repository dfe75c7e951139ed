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
    SignatureError,
    UnsafePath,
    UsageError,
)
from hwnas.files import atomic_directory, atomic_file
from hwnas.runtime import Switcher


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
    edit(copy, lambda data: data.update(schema_version=2, new_field=1))
    assert "schema_version 2" in refused(copy, NewerSchema)


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


def test_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), atomic_directory(target, "manifest.json") as folder:
        (folder / "part").write_text("x")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_only_own_folders_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "thesis.txt").write_text("x")
    foreign = pytest.raises(UsageError, match="not something that hwnas wrote")
    with foreign, atomic_directory(target, "manifest.json"):
        pass
    assert (target / "thesis.txt").exists()
    (target / "thesis.txt").rename(target / "manifest.json")
    with atomic_directory(target, "manifest.json") as folder:
        (folder / "manifest.json").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (target / "manifest.json").read_text() == "new"


def test_bundles_of_version_1_stay_readable() -> None:
    folder = Path(__file__).parents[1] / "data" / "bundle_v1"
    assert Bundle.open(folder / "space", "space").manifest.space.count() == 4
    with np.load(folder / "expected.npz") as expected, Switcher(folder / "subnets") as switcher:
        assert len(switcher.subnets) == 4
        feeds = {spec.name: expected[spec.name] for spec in switcher.inputs}
        for name in switcher.subnets:
            got = switcher.run(feeds, subnet=name)["logits"]
            np.testing.assert_allclose(got, expected[name], rtol=1e-5, atol=1e-6)
