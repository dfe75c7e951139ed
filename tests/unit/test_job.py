"""The job's document: what is packed is read again, and anything else is refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.agent.expected import expect
from hwnas.agent.job import Document, Item, StoredFile, verify
from hwnas.agent.protocol import Tensor
from hwnas.agent.settings import Settings
from hwnas.errors import ProfileError

MODEL = b"a model"
WEIGHTS = b"weights"


def stored(data: bytes) -> StoredFile:
    return StoredFile(hashlib.sha256(data).hexdigest(), len(data))


DOCUMENT = Document(
    emulated=False,
    hwnas="0.2.0",
    profiler="null",
    settings=Settings(affinity=(1,)),
    data={"weights.bin": stored(WEIGHTS)},
    items=(
        Item(
            "key",
            "block",
            "stem/base",
            stored(MODEL),
            (Tensor("x", "float32", (1, 3)),),
            tuple(expect({"y": np.arange(3, dtype=np.float32)})),
        ),
        Item("other", "subnet", "a: b", stored(MODEL), (), ()),
    ),
)


def altered(*path: str | int, to: Any) -> bytes:
    """``DOCUMENT`` with another value at ``path``; left out where ``to`` is ``...``."""
    values = json.loads(DOCUMENT.encode())
    place = values
    for key in path[:-1]:
        place = place[key]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(values).encode()


def test_what_is_packed_is_read_again_to_the_byte() -> None:
    encoded = DOCUMENT.encode()
    assert Document.decode(encoded) == DOCUMENT
    assert Document.decode(encoded).encode() == encoded


def test_a_label_may_be_all_choices_of_a_large_subnet() -> None:
    label = "é" * 32_768
    assert Document.decode(altered("items", 0, "label", to=label)).items[0].label == label


def test_an_item_becomes_what_a_profiler_takes(tmp_path: Path) -> None:
    (tmp_path / stored(MODEL).sha256).write_bytes(MODEL)
    job = DOCUMENT.items[0].job(tmp_path, tmp_path / "data")
    assert (job.key, job.scope, job.label, job.model) == ("key", "block", "stem/base", MODEL)
    assert job.folder == tmp_path / "data" and job.inputs == DOCUMENT.items[0].inputs


EXPECTED = ("items", 0, "expected", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        altered("schema_version", to=0),
        altered("schema_version", to="1"),
        altered("more", to=1),
        altered("hwnas", to=...),
        altered("profiler", to="a\nb"),
        altered("profiler", to="x" * 513),
        altered("settings", to=[]),
        altered("settings", "threads", to=0),
        altered("settings", "speed", to=1),
        altered("settings", "time_limit_s", to=10**400),
        altered("settings", "time_limit_s", to=86_401),
        altered("items", 0, "label", to="é" * 32_769),
        altered("data", to=[]),
        altered("data", "../weights.bin", to={"sha256": "0" * 64, "bytes": 1}),
        altered("data", ".hidden", to={"sha256": "0" * 64, "bytes": 1}),
        altered("data", "a/b", to={"sha256": "0" * 64, "bytes": 1}),
        altered("data", "", to={"sha256": "0" * 64, "bytes": 1}),
        altered("data", "weights.bin", "sha256", to="../../etc/passwd"),
        altered("data", "weights.bin", "sha256", to="0" * 63),
        altered("data", "weights.bin", "sha256", to="A" * 64),
        altered("data", "weights.bin", "bytes", to=-1),
        altered("items", to={}),
        altered("items", 0, to=1),
        altered("items", 0, "key", to=1),
        altered("items", 0, "scope", to="network"),
        altered("items", 0, "label", to=...),
        altered("items", 0, "model", "bytes", to=1 << 32),
        altered("items", 0, "inputs", 0, "dtype", to="object"),
        altered("items", 0, "inputs", 0, "dtype", to="O"),
        altered("items", 0, "inputs", 0, "dtype", to=["float32"]),
        altered("items", 0, "inputs", 0, "shape", to=[-1]),
        altered("items", 0, "inputs", 0, "shape", to=[1.0]),
        altered("items", 0, "inputs", 0, "shape", to=[1 << 20, 1 << 20]),
        altered("items", 0, "inputs", 0, "shape", to=[1] * 65),
        altered(*EXPECTED, "step", to=0),
        altered(*EXPECTED, "values", to="AAAA"),
        altered(*EXPECTED, "values", to="?"),
        altered(*EXPECTED, "values", to=None),
        altered(*EXPECTED, "mean", to="0"),
        altered(*EXPECTED, "rms", to=True),
        altered(*EXPECTED, "tolerance", to=float("inf")),
        altered(*EXPECTED, "mean", to=float("nan")),
        altered(*EXPECTED, "mean", to=10**400),
    ],
)
def test_what_is_not_a_job_is_refused(data: bytes) -> None:
    with pytest.raises(ProfileError, match=r"job\.json is not a job: ") as caught:
        Document.decode(data)
    assert caught.value.fix and "\n" not in caught.value.cause and len(caught.value.cause) < 500


def test_a_job_of_a_newer_hwnas_says_so() -> None:
    with pytest.raises(ProfileError, match="schema_version 2, this agent reads up to 1"):
        Document.decode(altered("schema_version", to=2))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@given(st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_a_profile_error_comes_of_any_bytes(data: bytes) -> None:
    with pytest.raises(ProfileError):
        Document.decode(data)


@given(st.data())
def test_an_altered_job_is_a_job_or_a_profile_error(data: st.DataObject) -> None:
    values = json.loads(DOCUMENT.encode())
    place: Any = values
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        below = place[key]
        if not (isinstance(below, (dict, list)) and below and data.draw(st.booleans())):
            break
        place = below
    place[key] = data.draw(json_values)
    with suppress(ProfileError):
        Document.decode(json.dumps(values).encode())


class TestFiles:
    @pytest.fixture
    def device(self, tmp_path: Path) -> tuple[Path, Path]:
        (tmp_path / "data").mkdir()
        (tmp_path / stored(MODEL).sha256).write_bytes(MODEL)
        (tmp_path / "data" / "weights.bin").write_bytes(WEIGHTS)
        return tmp_path, tmp_path / "data"

    def test_whole_ones_pass(self, device: tuple[Path, Path]) -> None:
        verify(DOCUMENT, *device)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "is not what was sent"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not what was sent"),
            (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is not what was sent"),
            (lambda path: path.unlink(), "cannot be read: No such file"),
            (lambda path: (path.unlink(), path.mkdir()), "cannot be read|is not what was sent"),
        ],
        ids=["altered", "cut off", "longer", "missing", "folder"],
    )
    @pytest.mark.parametrize("name", ["weights.bin", stored(MODEL).sha256])
    def test_each_other_one_is_named(
        self, device: tuple[Path, Path], spoil: Callable[[Path], Any], said: str, name: str
    ) -> None:
        blobs, data = device
        spoil((data if name == "weights.bin" else blobs) / name)
        with pytest.raises(ProfileError, match=said) as caught:
            verify(DOCUMENT, blobs, data)
        assert name in caught.value.cause and "send the job again" in caught.value.fix
