"""Every compiled block is run once against torch before the bundle is handed over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.compile.trace import TracedBlock
from hwnas.errors import BundleError, SupernetError
from hwnas.runtime.compare import difference
from hwnas.runtime.session import open_session

__all__ = ["check_blocks"]

_ROUNDING = 1e-5
"""Largest difference of a graph that was made from another's, relative to the largest value.

Rounding is some ten times less. What is more may be a constant of the other block's size, which
shows little on these values and much on others.
"""


def check_blocks(
    bundle: Bundle, blocks: Sequence[TracedBlock], guessed: Collection[str] = ()
) -> list[str]:
    """Compare each block of ``bundle`` with what torch gives.

    That is for the example inputs. Blocks among ``guessed`` are compared on random values, since
    examples may be all alike, and up to rounding alone.

    Returns:
        Ids of those among ``guessed`` that do not hold.

    Raises:
        SupernetError: ONNX Runtime cannot run another block, or it computes something else; names
            the block, and ONNX Runtime's reason or the difference.
    """
    wrong = []
    for block in blocks:
        if block.id not in guessed:
            _check(bundle, block)
        elif not _holds(bundle, block):
            wrong.append(block.id)
    return wrong


def _check(bundle: Bundle, block: TracedBlock) -> None:
    for got, tensor in zip(_run(bundle, block, block.arguments), block.results, strict=True):
        found = difference(got, tensor.detach().cpu().numpy())
        if not found.ok:
            raise SupernetError(
                f"block {block.id} computes something else in ONNX Runtime than in torch: "
                f"largest difference {found.largest:.3g}, largest value {found.scale:.3g}",
                "is the module in eval mode, free of randomness, and without Python state?",
            )


def _holds(bundle: Bundle, block: TracedBlock) -> bool:
    generator = torch.Generator().manual_seed(0)
    arguments = [
        torch.randn(value.shape, generator=generator).to(value.dtype)
        if value.is_floating_point()
        else value
        for value in block.arguments
    ]
    with torch.inference_mode():
        result = block.module(*(tensor.clone() for tensor in arguments))
    results = result if isinstance(result, tuple) else (result,)
    try:
        given = _run(bundle, block, arguments)
    except SupernetError:
        return False
    found = [difference(a, b.cpu().numpy()) for a, b in zip(given, results, strict=True)]
    return all(one.largest <= _ROUNDING * one.scale for one in found)


def _run(
    bundle: Bundle, block: TracedBlock, arguments: Sequence[torch.Tensor]
) -> Sequence[NDArray[Any]]:
    feeds = {
        spec.name: value.detach().cpu().numpy()
        for spec, value in zip(block.inputs, arguments, strict=True)
    }
    try:
        session = open_session(bundle, block.id, shared=False)
        results: Sequence[NDArray[Any]] = session.run(None, feeds)
    except Exception as error:  # ONNX Runtime's exceptions have no common public base
        reason = (error.__cause__ or error) if isinstance(error, BundleError) else error
        raise SupernetError(
            f"block {block.id} cannot run in ONNX Runtime: {reason}",
            "rewrite the operation that ONNX Runtime refuses, or use another dtype for it",
        ) from error
    return results
