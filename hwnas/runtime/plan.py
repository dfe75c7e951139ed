"""Which buffer each value of a program lives in: planned once, by liveness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.program import Program, TensorSpec

__all__ = ["Buffer", "plan_buffers"]


@dataclass(frozen=True)
class Buffer:
    """The ``index``-th buffer of this dtype and shape."""

    dtype: str
    shape: tuple[int, ...]
    index: int


def plan_buffers(program: Program, types: Mapping[str, TensorSpec]) -> dict[str, Buffer]:
    """Give every value that is neither an input nor an output of the network a buffer.

    A buffer is free again after the last call that reads its value, never during it, so that no
    call reads and writes one buffer. A chain of equal hops needs two, used in turn.
    """
    outside = {*program.inputs, *program.outputs.values()}
    last_use = {name: i for i, call in enumerate(program.calls) for name in call.inputs}
    buffers: dict[str, Buffer] = {}
    free: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    made: dict[tuple[str, tuple[int, ...]], int] = {}
    for i, call in enumerate(program.calls):
        for name in call.outputs:
            if name in outside:
                continue
            key = (types[name].dtype, types[name].shape)
            if free.get(key):
                index = free[key].pop()
            else:
                index = made.get(key, 0)
                made[key] = index + 1
            buffers[name] = Buffer(*key, index)
        dead = [
            n for n in {*call.inputs, *call.outputs} if n in buffers and last_use.get(n, i) == i
        ]
        for name in sorted(dead):
            buffer = buffers[name]
            free.setdefault((buffer.dtype, buffer.shape), []).append(buffer.index)
    return buffers
