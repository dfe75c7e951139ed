"""``hwnas config``: what a program needs to be built with this installation."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import click

from hwnas._version import __version__
from hwnas.cli.output import format_option, print_fields, print_json, verdict
from hwnas.errors import HwnasError
from hwnas.runtime.native import LIBRARY, native_missing, runtime_library

__all__ = ["command"]


@click.command("config")
@click.option("--cmakedir", is_flag=True, help="Folder for CMake: -Dhwnas_DIR=...")
@click.option("--includedir", is_flag=True, help="Folder of hwnas/switcher.h and .hpp.")
@click.option("--libs", is_flag=True, help="What the linker takes; --includedir goes with it.")
@click.option("--onnxruntime", is_flag=True, help=f"ONNX Runtime's library, for {LIBRARY}.")
@format_option
def command(cmakedir: bool, includedir: bool, libs: bool, onnxruntime: bool, output: str) -> None:
    """Show what a C or C++ program needs to be built with this installation's switcher.

    With options, only what they ask for, one line each.
    """
    root = _installed()
    asked = {
        "cmakedir": cmakedir,
        "includedir": includedir,
        "libs": libs,
        "onnxruntime": onnxruntime,
    }
    wanted = [name for name, given in asked.items() if given] or list(asked)
    library, runtime = _library(root), runtime_library()
    if libs and library is None:
        raise HwnasError(
            "this hwnas was built without the native switcher's library",
            "install a wheel that has it, or build hwnas again where ONNX Runtime's C headers and "
            "nlohmann_json are found: pip install -C cmake.define.HWNAS_SWITCHER=ON .",
        )
    if onnxruntime and runtime is None:
        raise HwnasError(
            "the ONNX Runtime library was not found",
            f"pip install onnxruntime, or set {LIBRARY} to the path of libonnxruntime.so",
        )
    known = {
        "cmakedir": str(root / "lib" / "cmake" / "hwnas"),
        "includedir": str(root / "include"),
        "libs": None if library is None else _flags(library),
        "onnxruntime": None if runtime is None else str(runtime),
    }
    found = {name: known[name] for name in wanted}
    everything = not any(asked.values())
    if output == "json":
        print_json(
            {"version": __version__, "native": library is not None, **found}
            if everything
            else found
        )
    elif not everything:
        for value in found.values():
            click.echo(value)
    else:
        print_fields({"version": __version__, **{k: v or "not there" for k, v in found.items()}})
        reason = native_missing()
        if reason is None:
            verdict("native switcher: ready", "cmake -Dhwnas_DIR=$(hwnas config --cmakedir) ...")
        else:
            verdict(f"native switcher: no, {reason}")


def _installed() -> Path:
    """The package's folder in site-packages: an editable install keeps what it builds there."""
    try:
        root = Path(str(distribution("hwnas").locate_file("hwnas")))
    except PackageNotFoundError:
        root = Path()
    if not (root / "include" / "hwnas" / "version.h").is_file():
        raise HwnasError("this hwnas runs from its sources and is not installed", "pip install .")
    return root.resolve()


def _library(root: Path) -> Path | None:
    """The switcher's library; a wheel holds it once, without links to it."""
    return max((root / "lib").glob("libhwnas_switcher.so*"), default=None)


def _flags(library: Path) -> str:
    # The whole path: a wheel has no name without a version for -l to find.
    return f"{shlex.quote(str(library))} {shlex.quote(f'-Wl,-rpath,{library.parent}')}"
