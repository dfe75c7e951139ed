"""The file format of a packed job: a plain tar with one folder, held to exactly these names.

    hwnas-ID/job.json        the document; ID is the first twelve digits of its SHA-256
    hwnas-ID/run.sh          measures it where no hwnas is installed
    hwnas-ID/blobs/SHA256    models, weights, the agent, by content

It is untrusted where it is read: whatever else is in it, a link, a path that leads elsewhere, a
file that is not what its name says, is an error, and nothing in it is run.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hwnas.errors import ProfileError
from hwnas.files import atomic_file, disk_errors

__all__ = ["folder_name", "is_packed", "read_document", "unpack", "write"]

_NAME = re.compile(r"hwnas-([0-9a-f]{12})/(job\.json|run\.sh|blobs/[0-9a-f]{64})")
_LARGEST = {"job.json": 1 << 30, "run.sh": 1 << 24}
_LARGEST_BLOB = 1 << 40
_MOST_FILES = 200_000
_CHUNK = 1 << 20
# What the standard library raises for damaged archives, besides its own error.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, KeyError)


def folder_name(job_id: str) -> str:
    """Name of the job's folder."""
    return f"hwnas-{job_id[:12]}"


def is_packed(path: Path) -> bool:
    """Whether ``path`` is a tar, by its first block."""
    with path.open("rb") as stream:
        return stream.read(512)[257:262] == b"ustar"


def write(path: Path, document: bytes, script: str, blobs: Mapping[str, bytes | Path]) -> None:
    """Write a packed job; equal contents give equal bytes.

    Raises:
        HwnasError: it cannot be written.
        ProfileError: one of ``blobs`` cannot be read or is not what its name says.
    """
    top = folder_name(hashlib.sha256(document).hexdigest())
    with (
        atomic_file(path) as temporary,
        tarfile.open(temporary, "w:", format=tarfile.GNU_FORMAT) as archive,
    ):
        _add(archive, f"{top}/job.json", document)
        _add(archive, f"{top}/run.sh", script.encode())
        for name in sorted(blobs):
            _add(archive, f"{top}/blobs/{name}", blobs[name], name)


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path, sha256: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    try:
        stream = content.open("rb")
    except OSError as error:
        raise ProfileError(f"{content} cannot be read: {error.strerror}") from error
    with stream:
        info.size = content.stat().st_size
        hashing = _Hashing(stream)
        archive.addfile(info, hashing)
        if hashing.digest.hexdigest() != sha256:
            raise ProfileError(f"{content} has changed while it was packed", "pack it again")


class _Hashing(io.RawIOBase):
    """Reads a file and hashes what it reads."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


@dataclass(frozen=True)
class _Member:
    name: str
    job: str
    size: int
    stream: IO[bytes]


def _members(path: Path) -> Generator[_Member]:
    """The files of a packed job, each to be read before the next; checked but for their content."""
    seen: set[str] = set()
    with _damage(path), tarfile.open(path, "r:") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined] # else it keeps them all
            found = _NAME.fullmatch(info.name)
            if found is None or info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise _refused(path, f"it holds {ascii(info.name)[:100]}")
            job, name = found.groups()
            stream = None if info.issparse() else archive.extractfile(info)
            if stream is None or name in seen or info.size < 0:
                raise _refused(path, f"{name} is in it twice, or in an odd way")
            if info.size > _LARGEST.get(name, _LARGEST_BLOB) or len(seen) == _MOST_FILES:
                raise _refused(path, f"{name} is too large, or one too many")
            seen.add(name)
            yield _Member(name, job, info.size, stream)


def read_document(path: Path) -> bytes:
    """The document of a packed job.

    Raises:
        ProfileError: it is damaged, or no packed job.
    """
    with closing(_members(path)) as members:
        for member in members:
            if member.name == "job.json":
                with _damage(path):
                    document = member.stream.read(member.size)
                _check_document(path, document, member.job)
                return document
    raise _refused(path, "it holds no job.json")


def unpack(path: Path, into: Path) -> Path:
    """Unpack a job below ``into``; its folder is there whole or not at all.

    Returns:
        The folder, also if it was there already.

    Raises:
        ProfileError: it is damaged, or no packed job.
        HwnasError: the disk is full.
    """
    document = read_document(path)
    folder = into / folder_name(hashlib.sha256(document).hexdigest())
    if folder.exists():
        if not (folder / "job.json").is_file() or (folder / "job.json").read_bytes() != document:
            raise ProfileError(
                f"{folder} exists and is not this job", "move it away, or work in another folder"
            )
        return folder
    with disk_errors(into):
        into.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=into))
        try:
            (temporary / "blobs").mkdir()
            with closing(_members(path)) as members:
                for member in members:
                    _store(path, member, temporary, folder.name)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _store(path: Path, member: _Member, folder: Path, name: str) -> None:
    if f"hwnas-{member.job}" != name:
        raise _refused(path, "it holds two jobs")
    digest, left = hashlib.sha256(), member.size
    with (folder / member.name).open("xb") as stream:
        while left:
            with _damage(path):
                data = member.stream.read(min(left, _CHUNK))
            if not data:
                raise _refused(path, f"{member.name} is cut off")
            digest.update(data)
            stream.write(data)
            left -= len(data)
    expected = member.name.rpartition("/")[2]
    if member.name.startswith("blobs/") and digest.hexdigest() != expected:
        raise _refused(path, f"{member.name} is not what its name says")


def _check_document(path: Path, document: bytes, job: str) -> None:
    if hashlib.sha256(document).hexdigest()[:12] != job:
        raise _refused(path, "its job.json is not what its folder's name says")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except ProfileError:
        raise
    except _DAMAGE as error:
        raise _refused(path, str(error)[:200]) from error


def _refused(path: Path, why: str) -> ProfileError:
    shown = "".join(c if c.isprintable() else " " for c in why)
    return ProfileError(f"{path} is no packed job, or is damaged: {shown}", "pack the job again")
