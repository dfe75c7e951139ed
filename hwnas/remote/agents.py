"""What is sent to a device so that it can measure, and the command line that runs it there."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.agent import archive
from hwnas.errors import HwnasError, RemoteError, UsageError
from hwnas.profile.descriptor import Descriptor
from hwnas.remote import native_agent

__all__ = ["Agent", "choose_agent", "explain", "runtime_library"]

_LIBRARY = re.compile(r"(.*/)?libonnxruntime\.so(\.[0-9]+)*")
_LARGEST = 2 << 30
_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""ELF's ``e_machine``, and what ``uname -m`` says."""


@dataclass(frozen=True)
class Agent:
    """An agent for one device.

    Attributes:
        kind: ``python`` or ``native``.
        blobs: its files by SHA-256.
        program: file that runs it, or Python's command there; ``blobs/SHA256`` is in the work
            folder.
        words: before the verb.
        runtime: of the native agent: the runtime's file; empty otherwise.
    """

    kind: str
    blobs: Mapping[str, bytes | Path]
    program: str
    words: tuple[str, ...] = ()
    runtime: str = ""

    def command(self, root: str, verb: str, *words: str) -> list[str]:
        """The command line, for a work folder at ``root``."""

        def there(word: str) -> str:
            return f"{root}/{word}" if word.startswith("blobs/") else word

        runtime = ["--runtime", there(self.runtime)] if self.runtime else []
        return [there(self.program), *map(there, self.words), verb, *words, *runtime]

    def run(self, root: str, job_id: str) -> list[str]:
        """The command line that measures a job into its journal."""
        return self.command(root, "run", f"{root}/jobs/{job_id}", "--blobs", f"{root}/blobs")


def choose_agent(descriptor: Descriptor, machine: str) -> Agent:
    """The agent that ``descriptor`` asks for, for the architecture ``machine``.

    Raises:
        UsageError: the native agent lacks its runtime library, or it is for another architecture.
        HwnasError: it can neither be found nor built.
    """
    wanted = descriptor.runtime
    if wanted.agent == "python":
        data = archive.build()
        name = hashlib.sha256(data).hexdigest()
        return Agent("python", {name: data}, wanted.python, (f"blobs/{name}",))
    if not wanted.library:
        raise UsageError(
            f'the target {descriptor.name!r} has agent = "native" but names no runtime library',
            "give [runtime] library = the path of libonnxruntime.so, or of the onnxruntime wheel "
            f"for {machine}",
        )
    library = runtime_library(Path(wanted.library))
    found = "no system"
    if library.startswith(b"\x7fELF"):
        found = _MACHINES.get(int.from_bytes(library[18:20], "little"), "another architecture")
    if found != machine:
        raise UsageError(
            f"{wanted.library} is for {found}, and {descriptor.name} is {machine}",
            f"pip download onnxruntime --platform manylinux_2_28_{machine} --no-deps "
            "--only-binary :all: brings the right one",
        )
    own = wanted.program
    program = _own(Path(own)) if own else native_agent.binary(machine).read_bytes()
    names = [hashlib.sha256(data).hexdigest() for data in (program, library)]
    blobs: dict[str, bytes | Path] = {names[0]: program, names[1]: library}
    return Agent("native", blobs, f"blobs/{names[0]}", (), f"blobs/{names[1]}")


def _own(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            "correct runtime.program in the target's file",
        ) from error


def runtime_library(path: Path) -> bytes:
    """``libonnxruntime.so`` from that file itself, or from a wheel that holds it.

    Raises:
        UsageError: there is none, or it is too large.
    """
    fix = "give the path of libonnxruntime.so, or of the onnxruntime wheel for the device"
    try:
        if path.suffix != ".whl":
            if path.stat().st_size > _LARGEST:
                raise UsageError(f"{path} is larger than {_LARGEST >> 30} GiB", fix)
            return path.read_bytes()
        with zipfile.ZipFile(path) as wheel:
            found = [info for info in wheel.infolist() if _LIBRARY.fullmatch(info.filename)]
            if len(found) != 1 or found[0].file_size > _LARGEST:
                raise UsageError(f"{path} holds {len(found)} files libonnxruntime.so", fix)
            return wheel.read(found[0])
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix) from error


def explain(descriptor: Descriptor, code: int, said: str) -> HwnasError:
    """Why an agent could not work on a device, from its exit code and last word."""
    name, python = descriptor.name, descriptor.runtime.python
    native = descriptor.runtime.agent == "native"
    other = 'or set [runtime] agent = "native" in the target\'s file, which needs no Python there'
    if missing := re.search(r"No module named '?([A-Za-z0-9_]+)", said):
        package = missing[1]
        install = f"{python} -m pip install {package}"
        if "/" not in python:  # a system's own Python, which may refuse to install anything
            install = (
                "python3 -m venv ~/hwnas-venv && ~/hwnas-venv/bin/pip install numpy onnxruntime, "
                'and write python = "~/hwnas-venv/bin/python" under [runtime]'
            )
        return RemoteError(
            f"the Python of {name} ({python}) has no {package}", f"type there: {install}; {other}"
        )
    if code == 127 and not native:
        return RemoteError(
            f"{name} has no {python}",
            "install Python 3.10 or newer with numpy and onnxruntime there, or name the right "
            f"one as [runtime] python; {other}",
        )
    if code in (126, 127) and native:
        return RemoteError(
            f"{name} cannot run the native agent: {said}",
            "its work folder may be on a disk that is mounted noexec, or its C library be too "
            "old: name another `work` folder, or see hwnas doctor",
        )
    if re.search(r"invalid syntax|SyntaxError|requires Python|unsupported operand", said):
        return RemoteError(
            f"the Python of {name} ({python}) is too old: {said}",
            f"install Python 3.10 or newer there and name it as [runtime] python; {other}",
        )
    how = "an instruction that its CPU does not have" if code == 132 else f"exit code {code}"
    return RemoteError(
        f"the agent on {name} ended ({how}){': ' if said else ''}{said}",
        f"hwnas doctor {name} says what is missing there",
    )
