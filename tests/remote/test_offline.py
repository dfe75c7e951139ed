"""Jobs that are carried: packed, run where they arrive, and collected; hostile files too."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.agent.events import End, Event, ItemDone, Start
from hwnas.agent.job import Document
from hwnas.errors import HwnasError, ProfileError, UsageError
from hwnas.profile.package import Package
from hwnas.remote import offline, packed
from hwnas.testing.processes import wait_until
from tests.support.remote import LONG, describe, make_small_package

DOCUMENT = b"{}"
ID = hashlib.sha256(DOCUMENT).hexdigest()
TOP = f"hwnas-{ID[:12]}"
BLOB = b"blob"
BLOB_NAME = f"{TOP}/blobs/{hashlib.sha256(BLOB).hexdigest()}"


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A real job, packed."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"w" * 100)
    made = make_small_package(tmp_path)
    name = hashlib.sha256(weights.read_bytes()).hexdigest()
    text = made.document.replace(
        b'"data":{}', f'"data":{{"{weights.name}":{{"sha256":"{name}","bytes":100}}}}'.encode()
    )
    job_id = hashlib.sha256(text).hexdigest()
    package = Package(text, job_id, {**made.blobs, name: weights}, {weights.name: name})
    path = tmp_path / "job.tar"
    offline.pack(package, path, describe(tmp_path / "work"))
    offline.pack(package, tmp_path / "again.tar", describe(tmp_path / "work"))
    assert path.read_bytes() == (tmp_path / "again.tar").read_bytes()
    return path


def done(events: list[Event]) -> list[int]:
    return sorted(event.item for event in events if isinstance(event, ItemDone))


def test_a_packed_job_holds_plain_files_only(tar: Path) -> None:
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
    assert all(member.isreg() and member.mode == 0o644 and not member.mtime for member in members)
    names = {member.name.partition("/")[2].partition("/")[0] for member in members}
    assert names == {"job.json", "run.sh", "blobs"}


def test_a_packed_job_runs_and_is_collected_from_all_its_places(tar: Path, tmp_path: Path) -> None:
    journal = offline.run(tar)
    assert journal.parent.parent == tmp_path
    before = journal.read_bytes()
    assert offline.run(tar) == journal
    for place in (tar, journal, journal.parent):
        document, events = offline.collect(place)
        found = list(events)
        assert isinstance(found[0], Start)
        assert found[0].job == hashlib.sha256(document).hexdigest()
        assert done(found) == [0, 1]
        assert found[-1] == End()
    assert journal.read_bytes().startswith(before)
    elsewhere = offline.run(tar, tmp_path / "stick")
    assert elsewhere.parent.parent == tmp_path / "stick"


def test_the_script_measures_where_no_hwnas_is(tar: Path, tmp_path: Path) -> None:
    stick = tmp_path / "a stick"
    stick.mkdir()
    subprocess.run(["tar", "-xf", str(tar), "-C", str(stick)], check=True)
    [folder] = stick.iterdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["sh", str(folder / "run.sh")]
    for _ in range(2):
        subprocess.run(command, check=True, env=environment, cwd="/", capture_output=True)
    _, events = offline.collect(folder)
    assert done(list(events)) == [0, 1]
    assert (folder / "data" / "weights.safetensors").read_bytes() == b"w" * 100


def test_a_run_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    tar = tmp_path / "job.tar"
    package = make_small_package(tmp_path, 2, LONG)
    offline.pack(package, tar, describe(tmp_path / "work"))
    journal = tmp_path / packed.folder_name(package.id) / "journal.jsonl"
    code = f"import pathlib, hwnas.remote.offline as o; o.run(pathlib.Path({str(tar)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_until(lambda: journal.exists() and b'"event":"done"' in journal.read_bytes())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    offline.run(tar)
    assert done(list(offline.collect(tar)[1])) == [0, 1]


def test_what_the_agent_cannot_go_on_for_is_raised(tar: Path, tmp_path: Path) -> None:
    folder = packed.unpack(tar, tmp_path)
    model = sorted((folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)[1]
    model.write_bytes(b"")
    with pytest.raises(ProfileError, match="is not what was sent"):
        offline.run(tar)


def test_a_folder_that_was_unpacked_in_part_is_named(tar: Path, tmp_path: Path) -> None:
    folder = packed.unpack(tar, tmp_path)
    item = Document.decode((folder / "job.json").read_bytes()).items[0]
    (folder / "blobs" / item.model.sha256).unlink()
    with pytest.raises(ProfileError, match="cannot be read") as caught:
        offline.run(tar)
    assert caught.value.fix.startswith(f"remove {folder}")
    shutil.rmtree(folder)
    assert done(list(offline.collect(offline.run(tar))[1])) == [0, 1]


def test_collecting_says_what_is_missing(tar: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        offline.collect(tmp_path / "nothing")
    with pytest.raises(ProfileError, match="nothing was measured yet"):
        offline.collect(tar)
    with pytest.raises(ProfileError, match=r"job\.json cannot be read"):
        offline.collect(tmp_path)
    lonely = tmp_path / "lonely" / "journal.jsonl"
    lonely.parent.mkdir()
    lonely.write_text("")
    with pytest.raises(ProfileError, match=r"job\.json cannot be read"):
        offline.collect(lonely)


def test_a_journal_of_another_job_is_refused(tar: Path, tmp_path: Path) -> None:
    journal = offline.run(tar)
    document = journal.parent / "job.json"
    document.write_bytes(document.read_bytes() + b" ")
    with pytest.raises(ProfileError, match="is of another job"):
        list(offline.collect(journal)[1])


def test_a_torn_journal_is_collected_up_to_there_and_junk_is_named(tar: Path) -> None:
    journal = offline.run(tar)
    data = journal.read_bytes()
    journal.write_bytes(data[:-5])
    found = list(offline.collect(journal)[1])
    assert done(found) == [0, 1]
    assert found[-1] != End()
    journal.write_bytes(data + b"junk\n")
    with pytest.raises(ProfileError, match="of the journal is not an event"):
        list(offline.collect(journal)[1])


def test_the_native_agent_needs_an_architecture(tmp_path: Path) -> None:
    descriptor = describe(tmp_path, runtime={"agent": "native", "library": "/x.so"})
    with pytest.raises(UsageError, match="does not say for which architecture"):
        offline.pack(make_small_package(tmp_path), tmp_path / "job.tar", descriptor)
    assert not (tmp_path / "job.tar").exists()


def test_weights_that_change_while_they_are_packed_are_named(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"1")
    with pytest.raises(ProfileError, match="weights has changed"):
        packed.write(tmp_path / "job.tar", DOCUMENT, "", {"0" * 64: weights})
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def member(name: str, data: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def build(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


JOB = member(f"{TOP}/job.json", DOCUMENT)


@pytest.mark.parametrize(
    "odd",
    [
        member("../escaped", b"x"),
        member("/tmp/escaped", b"x"),
        member(f"{TOP}/../escaped", b"x"),
        member(f"{TOP}/blobs/../../escaped", b"x"),
        member(f"{TOP}/other", b"x"),
        member(f"{TOP}/blobs", type=tarfile.DIRTYPE),
        member(f"{TOP}/run.sh", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(f"{TOP}/run.sh", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member(f"{TOP}/run.sh", type=tarfile.FIFOTYPE),
        member(f"{TOP}/run.sh", type=tarfile.CHRTYPE),
        member(BLOB_NAME, b"another"),
        member("hwnas-000000000000/run.sh", b"x"),
        JOB,
        member(f"{TOP}/run.sh", bytes(17 << 20)),
    ],
    ids=lambda odd: f"{odd[0].name[-12:]}-{odd[0].type!r}-{odd[0].size}",
)
def test_whatever_else_is_in_a_tar_is_refused(
    tmp_path: Path, odd: tuple[tarfile.TarInfo, bytes]
) -> None:
    path = build(tmp_path / "job.tar", JOB, member(BLOB_NAME, BLOB), odd)
    with pytest.raises(ProfileError, match="is no packed job, or is damaged"):
        packed.unpack(path, tmp_path / "into")
    into = tmp_path / "into"
    assert not into.exists() or list(into.iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_a_document_that_is_not_what_its_folder_says_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "job.tar", member(f"{TOP}/job.json", b"other"))
    with pytest.raises(ProfileError, match="not what its folder's name says"):
        packed.read_document(path)
    with pytest.raises(ProfileError, match=r"holds no job\.json"):
        packed.read_document(build(tmp_path / "empty.tar"))


def test_what_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = build(tmp_path / "job.tar", JOB)
    (tmp_path / TOP).mkdir()
    (tmp_path / TOP / "precious").write_text("x")
    with pytest.raises(ProfileError, match="exists and is not this job"):
        packed.unpack(path, tmp_path)
    assert (tmp_path / TOP / "precious").exists()


def test_compressed_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.tar"
    for data in (b"", b"x", bytes(10240), os.urandom(2000)):
        path.write_bytes(data)
        with pytest.raises(ProfileError, match="is no packed job"):
            packed.read_document(path)
    shutil.make_archive(str(tmp_path / "job"), "gztar", tmp_path, "job.tar")
    with pytest.raises(ProfileError, match="is no packed job"):
        packed.read_document(tmp_path / "job.tar.gz")


def _good() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        members = [JOB, member(f"{TOP}/run.sh", b"echo"), member(BLOB_NAME, BLOB)]
        return build(Path(name, "job.tar"), *members).read_bytes()


GOOD = _good()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4 * 512), st.binary(min_size=1, max_size=12)), max_size=4),
    st.one_of(st.none(), st.integers(0, len(GOOD))),
)
def test_any_mutation_is_a_job_or_one_error(
    changes: list[tuple[int, bytes]], end: int | None
) -> None:
    data = bytearray(GOOD)
    for offset, piece in changes:
        data[offset : offset + len(piece)] = piece
    for header in range(0, 4 * 512, 512):  # so that not every change ends at the checksum
        block = data[header : header + 512]
        block[148:156] = b" " * 8
        data[header + 148 : header + 156] = f"{sum(block):06o}\0 ".encode()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "job.tar")
        path.write_bytes(bytes(data[:end]))
        try:
            folder = packed.unpack(path, Path(name, "into"))
        except HwnasError as error:
            assert isinstance(error, ProfileError)
            assert error.cause.isprintable()
            return
        assert folder.parent == Path(name, "into")
        assert {path.name for path in folder.iterdir()} <= {"job.json", "run.sh", "blobs"}
        assert (folder / "job.json").read_bytes() == DOCUMENT
