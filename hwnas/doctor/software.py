"""Findings about software: architecture, C library, Python, the runtime, the work folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hwnas.doctor.elf import LibraryNeeds, library_needs
from hwnas.doctor.facts import Facts
from hwnas.doctor.finding import Finding
from hwnas.errors import HwnasError
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.descriptor_schema import RuntimeWanted

__all__ = ["agent_findings", "library_findings", "system_findings", "work_findings"]

_ARCHITECTURES = ("aarch64", "x86_64")
_SAME = {"arm64": "aarch64", "amd64": "x86_64"}
_AGENT_GLIBC = (2, 28)
"""What the native agent is linked against."""

_OLDEST_PYTHON = (3, 10)
_TELEMETRY_SINCE = (1, 29)
_NEEDED_TOOLS = ("sha256sum", "setsid")


def system_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Architecture, and whether this is a device at all."""
    if descriptor.emulated:
        yield Finding(
            "warn",
            "the descriptor says that this target is emulated",
            "its latency is no device's: it may be tested, and none is put into a table",
            "measure on the device itself",
        )
    found = _SAME.get(facts.architecture, facts.architecture)
    wanted = _SAME.get(descriptor.device.architecture, descriptor.device.architecture)
    if not found:
        yield Finding(
            "unknown",
            "the system does not say its architecture",
            "a runtime for another one fails when it is loaded",
            "write architecture under [device]",
        )
    elif wanted and found != wanted:
        yield Finding(
            "bad",
            f"this is {found}, the descriptor says {wanted}",
            "it is another device, or a 32-bit system on a 64-bit board",
            "correct architecture under [device], or install a 64-bit system",
        )
    elif found not in _ARCHITECTURES:
        yield Finding(
            "warn",
            f"{found} is not among {', '.join(_ARCHITECTURES)}",
            "there is no native agent for it, and ONNX Runtime publishes no packages for it",
            "use a Python with an onnxruntime of your own build",
        )
    else:
        cpu = ", ".join(facts.cpu[:2])
        yield Finding("ok", f"{facts.system} {facts.kernel} on {found}" + (f", {cpu}" * bool(cpu)))
    if descriptor.device.libc and facts.libc is not None:
        libc = f"{facts.libc[0]} {_dotted(facts.libc[1])}"
        if libc != descriptor.device.libc:
            yield Finding(
                "warn",
                f"its C library is {libc}, the descriptor says {descriptor.device.libc}",
                "it is another device, or its system was changed",
                "correct libc under [device]",
            )


def library_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """The runtime's library against the device's C library and architecture."""
    runtime = descriptor.runtime
    if not runtime.library:
        if runtime.agent == "native" and descriptor.kind != "local":
            yield Finding(
                "bad",
                "the descriptor names no library for the native agent",
                "the agent loads the runtime from a file that is uploaded with it",
                "write library = the path of a libonnxruntime.so, or of a wheel, under [runtime]",
            )
        return
    try:
        needs = library_needs(Path(runtime.library))
    except HwnasError as error:
        yield Finding("bad", error.cause, "the runtime cannot be used there", error.fix)
        return
    found = _SAME.get(facts.architecture, facts.architecture)
    if found and needs.architecture != found:
        yield Finding(
            "bad",
            f"{needs.name} is for {needs.architecture}, the device is {found}",
            "it cannot be loaded there",
            "name the library for that architecture under [runtime]",
        )
        return
    built_here = runtime.agent == "native" and not runtime.program
    if built_here and facts.libc is not None and facts.libc[0] != "glibc":
        yield Finding(
            "bad",
            f"the device has {facts.libc[0]} {_dotted(facts.libc[1])}",
            "the native agent that hwnas builds needs glibc, and cannot start there",
            "build one for this C library and name it as program under [runtime]",
        )
    yield _libc(facts, needs, _AGENT_GLIBC if built_here else ())


def _libc(facts: Facts, needs: LibraryNeeds, agent: tuple[int, ...]) -> Finding:
    required = max(needs.glibc, agent) if needs.glibc else ()
    if facts.libc is None:
        return Finding(
            "unknown",
            f"the C library is unknown; {needs.name} needs {_glibc(required)}",
            "an older one cannot load it",
            "look there with: ldd --version",
        )
    name, version = facts.libc
    has = f"{name} {_dotted(version)}"
    if not needs.glibc:
        what = f"{needs.name} binds to no glibc; the device has {has}"
        if name != "glibc":
            return Finding("ok", what)
        return Finding(
            "unknown",
            what,
            "it may be built for another C library, such as Android's",
            "name a library for glibc, unless you know that it loads there",
        )
    if name != "glibc":
        return Finding(
            "bad",
            f"{needs.name} needs {_glibc(required)}, the device has {has}",
            "a library for glibc cannot be loaded by another C library",
            f"name a library that is built for {name}",
        )
    if version < required:
        return Finding(
            "bad",
            f"{needs.name} needs {_glibc(required)}, the device has {has}",
            "it cannot be loaded there, whatever the tag of its wheel says",
            "use an older onnxruntime, or a newer system on the device",
        )
    return Finding("ok", f"{needs.name} needs {_glibc(required)}, the device has {has}")


def agent_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """Python, NumPy and the runtime for the Python agent; telemetry of the runtime."""
    runtime = descriptor.runtime
    if runtime.agent == "native":
        return
    python = facts.python.get("sys")
    if python is None:
        yield Finding(
            "bad",
            f"{runtime.python} does not start: {facts.python_errors.get('sys', 'no answer')}",
            "the agent is a Python program",
            'correct python under [runtime], or write agent = "native"',
        )
        return
    if _version(python) < _OLDEST_PYTHON:
        yield Finding(
            "bad",
            f"Python {python}",
            f"the agent needs {_dotted(_OLDEST_PYTHON)} or newer",
            'install a newer one and name it as python, or write agent = "native"',
        )
    modules = ["numpy", *(["onnxruntime"] if runtime.name == "onnxruntime" else [])]
    missing = [module for module in modules if module not in facts.python]
    for module in missing:
        exact = f"=={runtime.version}" if module == runtime.name and runtime.version else ""
        yield Finding(
            "bad",
            f"{module}: {facts.python_errors.get(module, 'no answer')}",
            f"the agent cannot run without {module}",
            _install(runtime, f"{module}{exact}"),
        )
    found = facts.python.get(runtime.name, "")
    if found and runtime.version and found != runtime.version:
        yield Finding(
            "bad",
            f"{runtime.name} {found}, the descriptor says {runtime.version}",
            "another version is another runtime, with other latencies",
            _install(runtime, f"{runtime.name}=={runtime.version}"),
        )
    elif not missing and _version(python) >= _OLDEST_PYTHON:
        listed = ", ".join(f"{module} {facts.python[module]}" for module in modules)
        yield Finding("ok", f"Python {python}, {listed}")
    # On this machine hwnas itself has switched it off by now, whatever the user's shell says.
    told = descriptor.kind != "local" and runtime.name == "onnxruntime"
    if found and told and _version(found) >= _TELEMETRY_SINCE:
        yield _telemetry(facts)


def _telemetry(facts: Facts) -> Finding:
    if facts.telemetry_off:
        return Finding("ok", "runs with ONNX Runtime's telemetry off")
    return Finding(
        "warn",
        "telemetry of ONNX Runtime is on",
        "hwnas measures without it; your application runs with it, and starts slower",
        "where the application runs: export ORT_DISABLE_TELEMETRY=1",
    )


def work_findings(facts: Facts, descriptor: Descriptor) -> Iterator[Finding]:
    """The work folder, and the tools that uploads and the agent's start need."""
    if descriptor.kind == "local":
        return
    work = descriptor.transport.work
    if facts.work_writable is False:
        yield Finding(
            "bad",
            f"{facts.work} may not be written by this user",
            f"jobs are stored in {work}",
            "name another folder as work under [transport]",
        )
    if facts.work_noexec and descriptor.runtime.agent == "native":
        yield Finding(
            "bad",
            f"programs may not be run from {facts.work} (mounted noexec)",
            "the native agent is stored and started there",
            "name a folder on another file system as work under [transport]",
        )
    missing = [tool for tool in _NEEDED_TOOLS if tool not in facts.tools]
    if missing:
        yield Finding(
            "bad",
            f"the device lacks {', '.join(missing)}",
            "uploads are checked with sha256sum, and the agent is started with setsid",
            "install coreutils and util-linux, or BusyBox, there",
        )


def _install(runtime: RuntimeWanted, package: str) -> str:
    """What to type. Many systems let nobody install into their own Python: then it is a venv."""
    if "/" in runtime.python:
        return f"there: {runtime.python} -m pip install {package}"
    both = f"numpy {runtime.name}{f'=={runtime.version}' if runtime.version else ''}"
    return (
        f"there: {runtime.python} -m venv ~/hwnas-venv && ~/hwnas-venv/bin/pip install {both}; "
        'then in its descriptor, under [runtime]: python = "~/hwnas-venv/bin/python"'
    )


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _glibc(version: tuple[int, ...]) -> str:
    return f"glibc {_dotted(version)}" if version else "no glibc"
