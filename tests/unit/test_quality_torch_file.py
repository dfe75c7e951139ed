import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import UsageError
from hwnas.select.quality.torch_file import read_state_dict

LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def _save(path: Path, found: Any, zipped: bool) -> Path:
    torch.save(found, path, _use_new_zipfile_serialization=zipped)
    return path


@LAYOUTS
def test_a_state_dict_is_read(tmp_path: Path, zipped: bool) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1, bias=False)
    )
    for found in (net.state_dict(), dict(net.state_dict()), {"state_dict": net.state_dict()}):
        read = read_state_dict(_save(tmp_path / "net.pth", found, zipped))
        assert list(read) == list(net.state_dict())
        for name, tensor in net.state_dict().items():
            assert read[name].dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(read[name], tensor.numpy())


@LAYOUTS
def test_views_and_other_dtypes_are_read(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0)
    tensors = {
        "turned": base.reshape(4, 6).T,
        "part": base[3:7].half(),
        "shared": base[20:],
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        "number": torch.tensor(3.5, dtype=torch.float64),
        "count": torch.tensor([1, 2]),
    }
    read = read_state_dict(_save(tmp_path / "net.pth", tensors, zipped))
    for name, tensor in tensors.items():
        assert read[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(read[name].astype("f8"), tensor.detach().double().numpy())


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("this-ran",)


class _State:
    def __setstate__(self, state: object) -> None:
        Path("this-ran").mkdir()

    def __getstate__(self) -> object:
        return {"any": 1}


@LAYOUTS
@pytest.mark.parametrize(
    "found",
    [
        {"a": _Code()},
        _Code(),
        {"a": torch.ones(1), "b": _State()},
        torch.nn.Linear(2, 1),
        {"a": 1},
        {"a": torch.ones(1), "b": "text"},
        {1: torch.ones(1)},
        {"a": [torch.ones(1)]},
        {"a": torch.ones(2).to_sparse()},
        {"a": torch.ones(2, dtype=torch.complex64)},
        {},
        [torch.ones(1)],
        None,
    ],
    ids=lambda found: str(found)[:30],
)
def test_anything_else_is_refused_and_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, found: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _save(tmp_path / "net.pth", found, zipped)
    with pytest.raises(UsageError, match=r"net\.pth is not a state dict of plain tensors: ."):
        read_state_dict(path)
    assert not (tmp_path / "this-ran").exists()


def test_a_plain_pickle_is_refused_and_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    for protocol in range(6):
        path.write_bytes(pickle.dumps({"a": _Code()}, protocol))
        with pytest.raises(UsageError):
            read_state_dict(path)
        # In a zip with the right entries, and by the names that a state dict does call.
        for data in (path.read_bytes(), b"cos\nsystem\n(S'mkdir this-ran'\ntR."):
            with zipfile.ZipFile(tmp_path / "in.pth", "w") as archive:
                archive.writestr("archive/data.pkl", data)
            with pytest.raises(UsageError):
                read_state_dict(tmp_path / "in.pth")
    assert not (tmp_path / "this-ran").exists()


def _rewritten(path: Path, change: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for name, data in change.items():
        [full] = [entry for entry in entries if entry.endswith(f"/{name}")]
        entries[full] = data
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_sizes_are_held_to_the_storages(tmp_path: Path) -> None:
    def saved() -> Path:
        return _save(tmp_path / "net.pth", {"a": torch.ones(2, 3)}, True)

    with zipfile.ZipFile(saved()) as archive:
        [name] = [entry for entry in archive.namelist() if entry.endswith("data.pkl")]
        found = archive.read(name)
    # BININT1: the storage has 6 elements, the tensor is (2, 3) with strides (3, 1).
    assert found.count(b"K\x02K\x03") == 1 and found.count(b"K\x03K\x01") == 1
    for old, new in (
        (b"K\x02K\x03", b"K\xffK\x03"),  # more rows than there are
        (b"K\x03K\x01", b"K\xffK\x01"),  # rows that lie outside
        (b"K\x02K\x03", b"K\x00K\x03"),  # nothing
        (b"K\x02K\x03", b"NK\x03"),  # no number
    ):
        path = _rewritten(saved(), {"data.pkl": found.replace(old, new)})
        with pytest.raises(UsageError, match="tensor 'a'"):
            read_state_dict(path)
    with pytest.raises(UsageError, match="tensor 'a' lies outside its storage"):
        read_state_dict(_rewritten(saved(), {"data/0": b"\0" * 20}))
    with pytest.raises(UsageError, match="another order of bytes"):
        read_state_dict(_rewritten(saved(), {"byteorder": b"big"}))
    with pytest.raises(UsageError, match="is compressed"):
        read_state_dict(_rewritten(saved(), {}, zipfile.ZIP_DEFLATED))


@LAYOUTS
def test_damage_is_an_error_and_nothing_else(tmp_path: Path, zipped: bool) -> None:
    stream = io.BytesIO()
    torch.save(
        {"state_dict": torch.nn.Linear(3, 2).state_dict()},
        stream,
        _use_new_zipfile_serialization=zipped,
    )
    whole = stream.getvalue()
    path = tmp_path / "net.pth"
    rng = random.Random(0)
    refused = 0
    for turn in range(400):
        data = bytearray(whole)
        if turn % 4 == 0:
            data = data[: rng.randrange(len(data))]
        else:
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(min(len(data), 700))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_state_dict(path)
        except UsageError:
            refused += 1
    assert refused > 150


def test_what_is_no_file_of_torch(tmp_path: Path) -> None:
    for data in (b"", b"text", b"PK", b"\x80\x02K\x01."):
        (tmp_path / "net.pth").write_bytes(data)
        with pytest.raises(UsageError, match=r"net\.pth is not a state dict"):
            read_state_dict(tmp_path / "net.pth")
    with pytest.raises(UsageError, match="cannot read"):
        read_state_dict(tmp_path / "none.pth")


@LAYOUTS
def test_a_small_file_does_not_become_gigabytes(tmp_path: Path, zipped: bool) -> None:
    shared = torch.zeros(1_000_000)
    path = _save(tmp_path / "net.pth", {f"{i}.weight": shared for i in range(200)}, zipped)
    assert path.stat().st_size < 5_000_000
    with pytest.raises(UsageError, match="its tensors have more than 256 MiB"):
        read_state_dict(path)
