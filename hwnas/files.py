"""Writing files and folders whole or not at all: into a temporary place, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import HwnasError, UsageError, shorten

__all__ = ["atomic_directory", "atomic_file", "disk_errors", "refuse_overlap", "sha256_file"]

_CHUNK = 1 << 20
_LIST = ".hwnas.json"


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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise HwnasError(
            f"cannot write {path}: {error.strerror or error}",
            f"{'free some space' if full else 'check its permissions'}, or name another place "
            "with -o",
        ) from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it once the block has ended well.

    Raises:
        UsageError: ``path`` exists and is no ordinary file.
        HwnasError: the disk is full or the place cannot be written.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} exists and is not a file", "name another place with -o")
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
def atomic_directory(path: Path, form: str) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``path`` once the block has ended well.

    The folder gets a list of its files, ``.hwnas.json``. An existing ``path`` is replaced only if
    it is empty, or if it was written by this function with the same ``form`` and nothing has been
    added to it since. Whatever goes wrong, ``path`` is the old folder or the new one.

    Raises:
        UsageError: ``path`` exists and is something else.
        HwnasError: the disk is full or the place cannot be written.
    """
    path = path.resolve()
    if path.exists():
        _check_replaceable(path, form)
    temporary, old = _beside(path), _beside(path)
    with disk_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            _write_list(temporary, form)
            _replace_directory(temporary, path, old)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace_directory(new: Path, path: Path, old: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if not f.is_dir())


def _write_list(folder: Path, form: str) -> None:
    found = {"schema_version": 1, "form": form, "files": _files(folder)}
    (folder / _LIST).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _check_replaceable(path: Path, form: str) -> None:
    fix = "name another place with -o, or remove it first"
    if not path.is_dir():
        raise UsageError(f"{path} exists and is not a folder", fix)
    present = [name for name in _files(path) if name != _LIST]
    try:
        listed = json.loads((path / _LIST).read_text(encoding="utf-8"))
        written, known = listed["form"], set(listed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        if not present:
            return
        raise UsageError(f"{path} exists and is not something that hwnas wrote", fix) from None
    if written != form:
        raise UsageError(f"{path} exists and holds a {written}, not a {form}", fix)
    added = [name for name in present if name not in known]
    if added:
        raise UsageError(f"{path} exists and holds other files too: {shorten(added, 3)}", fix)


def refuse_overlap(output: Path, inputs: Iterable[Path | None]) -> None:
    """Raise :class:`UsageError` if writing ``output`` would replace or change one of ``inputs``."""
    target = output.resolve()
    for given in inputs:
        if given is None:
            continue
        source = given.resolve()
        if target == source or target.is_relative_to(source) or source.is_relative_to(target):
            raise UsageError(
                f"the output {output} would overwrite the input {given}, or lie inside it",
                "name another place with -o",
            )
