"""What a finalised bundle depends on: the CPU's instruction sets and the runtime's version.

ONNX Runtime chooses kernels, and the layout of convolutions' weights, by the instruction sets
that it finds; a graph finished for one choice computes nonsense, or crashes, under another.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from hwnas.errors import OtherMachine
from hwnas.manifest import Finalised

__all__ = ["here", "isa", "refuse_foreign"]

_SETS = {
    "x86_64": (
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
        *("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"),
    ),
    "aarch64": ("asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
}


@functools.cache
def isa() -> tuple[str, ...]:
    """This CPU's instruction sets that matter, in a fixed order."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    line = next((line for line in lines if line.split(":")[0].strip() in ("flags", "Features")), "")
    found = set(line.partition(":")[2].split())
    return tuple(name for name in _SETS.get(platform.machine(), ()) if name in found)


def here(version: str, options: dict[str, str]) -> Finalised:
    """The record of what is finalised on this machine with ONNX Runtime ``version``."""
    return Finalised(
        runtime="onnxruntime",
        version=version,
        machine=platform.machine(),
        isa=isa(),
        options=options,
    )


def refuse_foreign(finalised: Finalised | None, version: str, what: str) -> None:
    """Raise :class:`OtherMachine` unless ``finalised`` was made for this CPU and ``version``."""
    if finalised is None:
        return
    wanted = here(version, finalised.options)
    if finalised != wanted:
        raise OtherMachine(
            f"{what} was finalised for {finalised}; this is {wanted}",
            "make it for this machine: hwnas export BUNDLE --to bundle --finalise -o OUT, where "
            "BUNDLE is the portable bundle or the one that 'hwnas compile' wrote",
        )
