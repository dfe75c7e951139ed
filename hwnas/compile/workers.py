"""Exporting blocks in parallel processes."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from hwnas.compile.onnx_export import ExportedBlock, export_block
from hwnas.compile.resize import resize
from hwnas.compile.structure import structure
from hwnas.compile.trace import TracedBlock
from hwnas.errors import HwnasError, SupernetError
from hwnas.processes import die_with_parent, signals_ignored
from hwnas.program import TensorSpec
from hwnas.space import Space
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.reference import load
from hwnas.supernets.resolution import adopt_resolutions

__all__ = ["export_all"]

_STARTUP_BLOCKS = 6
"""A further process costs about as much time as this many blocks: torch has to be imported."""


@dataclass(frozen=True)
class _Task:
    slot: str
    choice: str
    inputs: tuple[TensorSpec, ...]


_supernet: Supernet | None = None


def _start(reference: str, weights: str, space: Space) -> None:
    global _supernet
    die_with_parent()
    torch.set_num_threads(1)
    _supernet = load(reference)
    adopt_resolutions(_supernet, space)
    _supernet.load_state_dict(safetensors.torch.load_file(weights))


def _export(task: _Task) -> ExportedBlock:
    assert _supernet is not None
    writes = _supernet.space.slot(task.slot).writes
    module = _supernet.block(task.slot, task.choice)
    return export_block(f"{task.slot}/{task.choice}", module, task.inputs, writes)


def export_all(
    supernet: Supernet,
    blocks: Sequence[TracedBlock],
    reference: str | None,
    jobs: int,
    done: Callable[[str], None],
    *,
    each: bool = False,
) -> dict[str, ExportedBlock]:
    """Export every block; one of those that differ in sizes alone, from which others are made.

    Args:
        supernet: for exporting in this process.
        blocks: what to export.
        reference: how other processes load the supernet; without one all is done here.
        jobs: processes at most.
        done: called here with the id of each block as it is finished.
        each: export each block on its own.

    Raises:
        SupernetError: a block cannot be exported.
    """
    space = supernet.space
    jobs = min(jobs, max(1, len(blocks) // _STARTUP_BLOCKS))
    exported: dict[str, ExportedBlock] = {}
    with _exporter(supernet, reference, jobs) as export:
        running: dict[Future[ExportedBlock], list[TracedBlock]] = {}
        first: dict[str, list[TracedBlock]] = {}
        for block in blocks:
            writes = space.slot(block.slot).writes
            key = None if each else structure(block.module, block.inputs, writes)
            if key is not None and key in first:
                first[key].append(block)
                continue
            group = [block]
            running[export(block)] = group
            if key is not None:
                first[key] = group
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                group = running.pop(future)
                template = future.result()
                exported[group[0].id] = template
                done(group[0].id)
                for block in group[1:]:
                    made = resize(template, block)
                    if made is None:
                        running[export(block)] = [block]
                    else:
                        exported[block.id] = made
                        done(block.id)
    return {block.id: exported[block.id] for block in blocks}


Export = Callable[[TracedBlock], "Future[ExportedBlock]"]


@contextmanager
def _exporter(supernet: Supernet, reference: str | None, jobs: int) -> Iterator[Export]:
    """What exports a block, in this process or in others."""
    if reference is None or jobs == 1:

        def here(block: TracedBlock) -> Future[ExportedBlock]:
            future: Future[ExportedBlock] = Future()
            writes = supernet.space.slot(block.slot).writes
            future.set_result(export_block(block.id, block.module, block.inputs, writes))
            return future

        yield here
        return
    with _weights_file(supernet) as weights:
        context = multiprocessing.get_context("spawn")
        arguments = (reference, str(weights), supernet.space)
        pool = ProcessPoolExecutor(jobs, context, _start, arguments)

        def apart(block: TracedBlock) -> Future[ExportedBlock]:
            with signals_ignored():  # a worker starts with its first task
                return pool.submit(_export, _Task(block.slot, block.choice, block.inputs))

        try:
            yield apart
        except BrokenProcessPool as error:
            raise SupernetError(
                "a process that exported blocks was killed or could not load the supernet",
                "run again with --jobs 1 to see why; too little memory is the usual cause",
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _weights_file(supernet: Supernet) -> Iterator[Path]:
    """The supernet's tensors on disk, so that processes agree on randomly initialised ones."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        path = Path(folder) / "weights.safetensors"
        state = {
            name: tensor.contiguous().clone() for name, tensor in supernet.state_dict().items()
        }
        try:
            safetensors.torch.save_file(state, path)
        except safetensors.SafetensorError as error:
            raise HwnasError(
                f"the supernet's tensors cannot be handed to other processes: {error}",
                f"free some space in {tempfile.gettempdir()}, or use --jobs 1",
            ) from error
        yield path
