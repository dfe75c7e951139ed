"""What a shared library asks of a device, read from the library itself.

A wheel's tag says what its builder promised; the versions of symbols that the library binds to
say what its loader will look for.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from hwnas.errors import UsageError
from hwnas.remote.agents import runtime_library

__all__ = ["LibraryNeeds", "library_needs"]

_MACHINES = {"EM_AARCH64": "aarch64", "EM_X86_64": "x86_64", "EM_ARM": "armv7l", "EM_386": "i686"}


@dataclass(frozen=True)
class LibraryNeeds:
    """What a library needs.

    Attributes:
        name: of the file.
        architecture: as ``uname -m`` says it.
        glibc: the newest version of glibc whose symbols it binds to; empty if it binds to none,
            as a library for Android or musl.
    """

    name: str
    architecture: str
    glibc: tuple[int, ...]


def library_needs(path: Path) -> LibraryNeeds:
    """Read a ``.so`` file, or the ONNX Runtime library in a wheel.

    Raises:
        UsageError: the file is missing, or is neither.
    """
    data = runtime_library(path)
    try:
        return _needs(path.name, io.BytesIO(data))
    except Exception as error:  # in damaged files the parser trips over anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{path} is no shared library: {reason}",
            "name a libonnxruntime.so, or a wheel of onnxruntime",
        ) from error


def _needs(name: str, stream: BinaryIO) -> LibraryNeeds:
    elf = ELFFile(stream)
    machine = str(elf.header.e_machine)
    glibc: tuple[int, ...] = ()
    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection):
            continue
        for _, versions in section.iter_versions():
            for version in versions:
                found = re.fullmatch(r"GLIBC_([0-9]+(?:\.[0-9]+)+)", str(version.name))
                if found:
                    glibc = max(glibc, tuple(map(int, found[1].split("."))))
    return LibraryNeeds(name, _MACHINES.get(machine, machine), glibc)
