"""The native agent for a device: the one that hwnas was installed with, or built here.

Its sources are part of the package. They are built by ``ziglang``, a C compiler for every
architecture that pip installs, against an old glibc, so that the result runs on old boards too; for
this machine's own architecture the system's C compiler does as well. What is built is kept in the
user's cache, by the hash of its sources.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from hwnas._version import __version__
from hwnas.errors import HwnasError, MissingExtra, UnknownName, UsageError

__all__ = ["ARCHITECTURES", "INCLUDE", "binary"]

ARCHITECTURES = {"aarch64": "aarch64-linux-gnu.2.28", "x86_64": "x86_64-linux-gnu.2.28"}
"""Architectures as ``uname -m`` says them, and what to build for: the oldest glibc is the one that
ONNX Runtime's own wheels need."""

INCLUDE = "HWNAS_ONNXRUNTIME_INCLUDE"
"""Environment variable: folder of ``onnxruntime_c_api.h``."""

_AGENT = Path(__file__).resolve().parent.parent / "agent"
_HEADER = "onnxruntime_c_api.h"
_SYSTEM_FOLDERS = (
    _AGENT / "native",
    Path(sys.prefix, "native-deps", "usr", "include"),
    Path("/usr/local/include"),
    Path("/usr/include"),
)
_SUFFIXES = ("", "onnxruntime", "onnxruntime/core/session")
_FLAGS = ("-std=c11", "-O2", "-s", "-Wall", "-Wextra", "-Werror")
_LONGEST_BUILD_S = 600


def binary(architecture: str) -> Path:
    """The agent's program for ``architecture``, as ``uname -m`` says it there.

    Building it for another architecture for the first time takes up to a minute.

    Raises:
        UnknownName: it cannot be built for this architecture.
        MissingExtra: there is no compiler for it here.
        UsageError: ONNX Runtime's header is not found.
        HwnasError: the compiler fails, or the cache cannot be written.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownName("architecture of the native agent", architecture, list(ARCHITECTURES))
    packaged = _AGENT / "bin" / f"hwnas-agent-{architecture}"
    if packaged.is_file():
        return packaged
    sources = sorted((_AGENT / "native").glob("*.[ch]"))
    command, kind = _compiler(architecture)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"
    name = f"hwnas-agent-{architecture}-{kind}-{_hash(sources)}"
    path = cache / "agents" / name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=path.parent) as folder:
            built = Path(folder, name)
            _build(command, sources, built, cache, architecture)
            built.replace(path)
    except OSError as error:
        raise HwnasError(
            f"the native agent cannot be kept in {path.parent}: {error.strerror}",
            "set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return path


def _hash(sources: list[Path]) -> str:
    found = hashlib.sha256(__version__.encode())
    for source in sources:
        found.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _compiler(architecture: str) -> tuple[list[str], str]:
    if importlib.util.find_spec("ziglang") is not None:
        triple = ARCHITECTURES[architecture]
        return [sys.executable, "-P", "-m", "ziglang", "cc", "-target", triple], "zig"
    own = shutil.which("cc") if architecture == platform.machine() else None
    if own is None:
        raise MissingExtra("ziglang", "native-agent")
    return [own], "cc"


def _build(
    command: list[str], sources: list[Path], output: Path, cache: Path, architecture: str
) -> None:
    arguments = [
        *command,
        *_FLAGS,
        f'-DHWNAS_VERSION="{__version__}"',
        "-isystem",
        str(_include()),
        *(str(source) for source in sources if source.suffix == ".c"),
        "-ldl",
        "-lm",
        "-o",
        str(output),
    ]
    zig = {f"ZIG_{kind}_CACHE_DIR": str(cache / "zig") for kind in ("GLOBAL", "LOCAL")}
    try:
        done = subprocess.run(
            arguments,
            env=zig | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HwnasError(
            f"the native agent was not built for {architecture} within {_LONGEST_BUILD_S} s",
            "build it where the machine is less busy",
        ) from error
    if done.returncode != 0 or not output.is_file():
        said = done.stderr.decode(errors="replace").splitlines()
        why = next((line for line in said if "error:" in line), said[-1] if said else "no reason")
        raise HwnasError(
            f"the native agent cannot be built for {architecture}: {why.strip()[:300]}",
            f"see that {INCLUDE} and the compiler are right, or use the agent in Python",
        )
    output.chmod(0o755)


def _include() -> Path:
    named = os.environ.get(INCLUDE)
    folders = [Path(named)] if named else _SYSTEM_FOLDERS
    for folder in _candidates(folders):
        if (folder / _HEADER).is_file():
            return folder
    where = f"{INCLUDE} is {named!r}, where there is no {_HEADER}" if named else ""
    raise UsageError(
        where or f"the native agent is built with ONNX Runtime's {_HEADER}, which is not here",
        f"set {INCLUDE} to the folder that holds it; Debian's package libonnxruntime-dev and "
        "ONNX Runtime's release archives have it",
    )


def _candidates(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for suffix in _SUFFIXES:
            yield folder / suffix
