"""Writing files and folders whole or not at all: into a temporary place, then renamed."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import HwnasError, UsageError

__all__ = ["atomic_directory", "atomic_file", "disk_errors", "sha256_file"]

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while writing ``path`` into one clear error."""
    try:
        yield
    except OSError as error:
        raise HwnasError(
            f"cannot write {path}: {error.strerror or error}",
            "free some space or name another place with -o",
        ) from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it once the block has ended well.

    Raises:
        HwnasError: the disk is full or the place cannot be written.
    """
    temporary = _beside(path)
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path, marker: str) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``path`` once the block has ended well.

    An existing ``path`` is replaced only if it is empty or holds the file ``marker``, that is, if
    it was written by this function before.

    Raises:
        UsageError: ``path`` exists and is something else.
        HwnasError: the disk is full or the place cannot be written.
    """
    if path.exists() and not _replaceable(path, marker):
        raise UsageError(
            f"{path} exists and is not something that hwnas wrote",
            "name another place with -o, or remove it first",
        )
    temporary, old = _beside(path), _beside(path)
    with disk_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _replaceable(path: Path, marker: str) -> bool:
    return path.is_dir() and ((path / marker).is_file() or not any(path.iterdir()))
