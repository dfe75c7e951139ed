"""Exporting blocks in parallel processes."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from hwnas.compile.onnx_export import ExportedBlock, export_block
from hwnas.compile.trace import TracedBlock
from hwnas.errors import HwnasError, SupernetError
from hwnas.processes import die_with_parent, signals_ignored
from hwnas.program import TensorSpec
from hwnas.supernets.protocol import Supernet
from hwnas.supernets.reference import load

__all__ = ["export_all"]

_STARTUP_BLOCKS = 6
"""A further process costs about as much time as this many blocks: torch has to be imported."""


@dataclass(frozen=True)
class _Task:
    slot: str
    choice: str
    inputs: tuple[TensorSpec, ...]


_supernet: Supernet | None = None


def _start(reference: str, weights: str) -> None:
    global _supernet
    die_with_parent()
    torch.set_num_threads(1)
    _supernet = load(reference)
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
) -> dict[str, ExportedBlock]:
    """Export every block once.

    Args:
        supernet: for exporting in this process.
        blocks: what to export.
        reference: how other processes load the supernet; without one all is done here.
        jobs: processes at most.
        done: called here with the id of each block as it is finished.

    Raises:
        SupernetError: a block cannot be exported.
    """
    jobs = min(jobs, max(1, len(blocks) // _STARTUP_BLOCKS))
    exported: dict[str, ExportedBlock] = {}
    if reference is None or jobs == 1:
        for block in blocks:
            writes = supernet.space.slot(block.slot).writes
            exported[block.id] = export_block(block.id, block.module, block.inputs, writes)
            done(block.id)
        return exported
    tasks = [_Task(block.slot, block.choice, block.inputs) for block in blocks]
    with _weights_file(supernet) as weights:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, context, _start, (reference, str(weights)))
        try:
            with signals_ignored():
                futures = [pool.submit(_export, task) for task in tasks]
            for future in as_completed(futures):
                result = future.result()
                exported[result.id] = result
                done(result.id)
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
    return exported


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
