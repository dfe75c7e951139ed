"""Files to a device by their content: sent once, resumed where a link was cut, checked there.

A file counts only when its SHA-256 was read back there and it has reached the disk: after a power
cut a file that was merely renamed may be empty. Small files travel together.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hwnas.errors import DeviceFull, ProfileError, RemoteError
from hwnas.remote.device import Device, failure

__all__ = ["CHUNK", "Progress", "upload"]

Progress = Callable[[int, int], None]
"""Told how many bytes have arrived, and how many there are to send."""

CHUNK = 4 << 20
"""Bytes of one round trip: what is lost at most when the link is cut."""

_SMALL = 256 << 10
_MOST_TOGETHER = 400
_SLOWEST = 50_000
"""Bytes per second under which a link counts as lost."""

_SLOWEST_DIGEST = 2_000_000
_MOST_CORRECTIONS = 8
_DAMAGED = 67
_NO_COMMAND = 127

_ASK = """cd "$1/blobs" || exit 1
whole() { digest "$@" || [ $? -ne 65 ] || exit 65; }
rm -rf ./*.parts ./*.parts.sums
df -Pk . 2>/dev/null | { read -r l; read -r a b c d e; echo "free ${d:-?}"; }
set --
while read -r h; do
  if [ -f "$h" ]; then
    set -- "$@" "$h"
    [ $# -lt 400 ] || { whole "$@"; set --; }
  elif [ -f "$h.part" ]; then echo "part $h $(wc -c < "$h.part")"
  fi
done
[ $# -eq 0 ] || whole "$@"
"""
_APPEND = """cd "$1/blobs" || exit 1
p=$2.part
[ "$3" -gt 0 ] || : > "$p" || exit 1
s=$(wc -c < "$p") || exit 1
[ "$((s))" -eq "$3" ] || { echo "$s"; exit 0; }
cat >> "$p" || exit 1
wc -c < "$p"
"""
_FINISH = """cd "$1/blobs" || exit 1
p=$2.part
h=$(digest "$p") || exit
[ "${h%% *}" = "$2" ] || { rm -f "$p"; exit 67; }
flush "$p" && mv -f "$p" "$2" && flush .
"""
_UNPACK = """cd "$1/blobs" || exit 1
command -v tar >/dev/null 2>&1 || exit 127
d=$2.parts
rm -rf "$d"; mkdir "$d" && cd "$d" || exit 1
tar -xf - || { cd ..; rm -rf "$d"; exit 1; }
n=0; for f in *; do n=$((n+1)); done
[ "$n" -eq "$3" ] || { cd ..; rm -rf "$d"; exit 67; }
digest * > ../"$d.sums" || exit
while read -r h f; do [ "$h" = "$f" ] || exit 67; done < ../"$d.sums" || {
  cd ..; rm -rf "$d" "$d.sums"; exit 67; }
flush * && mv -f * .. && cd .. && rm -rf "$d" "$d.sums" && flush .
"""


def upload(
    device: Device, blobs: Mapping[str, bytes | Path], progress: Progress | None = None
) -> None:
    """Bring every file of ``blobs`` (by SHA-256) to the device that is not there and whole.

    Can be called again after a lost link: what has arrived is not sent again.

    Raises:
        DeviceFull: there is no room; says how much is needed.
        RemoteError: the device cannot store or check files.
        ProfileError: a file on this machine cannot be read, or has changed.
        UnreachableDevice: the link was lost.
    """
    files = {name: _File(name, content) for name, content in blobs.items()}
    state = _ask(device, files)
    missing = [file for name, file in files.items() if name not in state.whole]
    total = sum(file.size for file in missing)
    held = sum(state.parts.get(file.name, 0) for file in missing)
    needed = total - held
    if missing and state.free is not None and needed > state.free:
        raise DeviceFull(
            f"{device.name} has {_size(state.free)} of space left in its work folder "
            f"{device.place().root}, and {_size(needed)} are to be sent",
            "free space there, or name a `work` folder on another disk in the target's file",
        )
    counted = _Count(total, progress)
    small = [file for file in missing if file.size <= _SMALL and file.name not in state.parts]
    alone = [file for file in missing if file not in small]
    for group in _groups(small):
        if _send_group(device, group):
            counted.add(sum(file.size for file in group))
        else:
            alone += group
    for file in alone:
        _send(device, file, state.parts.get(file.name, 0), counted)


@dataclass(frozen=True)
class _File:
    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        if isinstance(self.content, bytes):
            return len(self.content)
        return _readable(self.content, lambda path: path.stat().st_size)

    def part(self, offset: int, length: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[offset : offset + length]

        def read(path: Path) -> bytes:
            with path.open("rb") as stream:
                stream.seek(offset)
                return stream.read(length)

        return _readable(self.content, read)


_T = TypeVar("_T")


def _readable(path: Path, read: Callable[[Path], _T]) -> _T:
    try:
        return read(path)
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read any more: {error.strerror}", "leave it in place, then --resume"
        ) from error


class _Count:
    def __init__(self, total: int, tell: Progress | None) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def add(self, count: int) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(min(self._done, self._total), self._total)


@dataclass
class _State:
    """What the device has: whole files, sizes of partial ones, bytes free (``None``: unknown)."""

    whole: set[str]
    parts: dict[str, int]
    free: int | None = None


def _ask(device: Device, files: Mapping[str, _File]) -> _State:
    # Whole ones are read there: allow for a slow disk.
    seconds = 60 + sum(file.size for file in files.values()) / _SLOWEST_DIGEST
    said = device.run(
        "its stored files cannot be checked",
        _ASK,
        device.place().root,
        stdin="".join(f"{name}\n" for name in files).encode(),
        timeout_s=seconds,
    )
    state = _State(set(), {})
    for line in said.decode(errors="replace").splitlines():
        match line.split():
            case ["free", kib] if kib.isdecimal() and len(kib) < 18:
                state.free = int(kib) << 10
            case ["part", name, size] if name in files and size.isdecimal() and len(size) < 18:
                state.parts[name] = int(size) if int(size) <= files[name].size else 0
            case [digest, name] if digest == name and name in files:
                state.whole.add(name)
    return state


def _groups(files: list[_File]) -> Iterator[list[_File]]:
    """Files in groups that are sent at once."""
    group: list[_File] = []
    size = 0
    for file in files:
        if group and (size + file.size > CHUNK or len(group) == _MOST_TOGETHER):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def _send_group(device: Device, group: list[_File], again: bool = True) -> bool:
    """Send files as one archive; false if the device has no ``tar``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in group:
            info = tarfile.TarInfo(file.name)
            info.size, info.mode = file.size, 0o600
            archive.addfile(info, io.BytesIO(_checked(file)))
    data = buffer.getvalue()
    result = device.try_run(
        _UNPACK,
        device.place().root,
        group[0].name,
        str(len(group)),
        stdin=data,
        timeout_s=60 + len(data) / _SLOWEST,
    )
    if result.code == _NO_COMMAND:
        return False
    if result.code == _DAMAGED and again:
        return _send_group(device, group, again=False)
    if result.code == _DAMAGED:
        raise _damaged(device)
    if result.code:
        size = _size(sum(file.size for file in group))
        raise failure(device.name, f"{len(group)} files ({size}) cannot be stored", result)
    return True


def _checked(file: _File) -> bytes:
    data = file.part(0, file.size)
    if hashlib.sha256(data).hexdigest() != file.name:
        raise _changed(file)
    return data


def _send(device: Device, file: _File, offset: int, counted: _Count) -> None:
    """Send one file from ``offset`` on, and once more from its beginning if it arrives damaged."""
    root = device.place().root
    for begin in (offset, 0):
        _append(device, file, begin, counted)
        seconds = 60 + file.size / _SLOWEST_DIGEST
        result = device.try_run(_FINISH, root, file.name, timeout_s=seconds)
        if not result.code:
            return
        if result.code != _DAMAGED:
            raise failure(device.name, f"a file of {_size(file.size)} cannot be stored", result)
        if not _unchanged(file):
            raise _changed(file)
        counted.add(-file.size)
    raise _damaged(device)


def _append(device: Device, file: _File, offset: int, counted: _Count) -> None:
    """Send what is missing of one file, chunk by chunk."""
    counted.add(offset)
    corrections = 0
    while True:
        chunk = file.part(offset, CHUNK)
        said = device.run(
            f"{_size(file.size - offset)} cannot be stored",
            _APPEND,
            device.place().root,
            file.name,
            str(offset),
            stdin=chunk,
            timeout_s=60 + len(chunk) / _SLOWEST,
        ).strip()
        now = int(said) if said.isdigit() and len(said) < 18 else -1
        if now != offset + len(chunk):
            # What was sent before a cut had still been on its way; go on from what is there.
            corrections += 1
            if now < 0 or corrections > _MOST_CORRECTIONS:
                raise RemoteError(
                    f"{device.name} stores other sizes than were sent to it",
                    "check its storage, and that nothing else sends the same files to it",
                )
            now = now if now <= file.size else 0
        counted.add(now - offset)
        offset = now
        if offset >= file.size:
            return
        if not chunk:
            raise _changed(file)


def _unchanged(file: _File) -> bool:
    digest = hashlib.sha256()
    for offset in range(0, file.size, CHUNK):
        digest.update(file.part(offset, CHUNK))
    return digest.hexdigest() == file.name


def _changed(file: _File) -> ProfileError:
    return ProfileError(
        f"{file.content if isinstance(file.content, Path) else 'a file'} has changed while it "
        "was being sent",
        "leave it as it is, then --resume",
    )


def _damaged(device: Device) -> RemoteError:
    return RemoteError(
        f"a file arrived damaged on {device.name}, twice",
        "check its memory and its storage: what is written there is not what is read",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
