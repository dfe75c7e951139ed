"""Every compiled block is run once against torch before the bundle is handed over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.compile.trace import TracedBlock
from hwnas.errors import BundleError, SupernetError
from hwnas.runtime.compare import difference
from hwnas.runtime.session import open_session

__all__ = ["check_blocks"]


def check_blocks(
    bundle: Bundle, blocks: Sequence[TracedBlock], guessed: Collection[str] = ()
) -> list[str]:
    """Compare each block of ``bundle`` with what torch gave for the example inputs.

    Returns:
        Ids of those among ``guessed`` that do not hold.

    Raises:
        SupernetError: ONNX Runtime cannot run another block, or it computes something else; names
            the block, and ONNX Runtime's reason or the difference.
    """
    wrong = []
    for block in blocks:
        try:
            _check(bundle, block)
        except SupernetError:
            if block.id not in guessed:
                raise
            wrong.append(block.id)
    return wrong


def _check(bundle: Bundle, block: TracedBlock) -> None:
    for got, tensor in zip(_run(bundle, block), block.results, strict=True):
        found = difference(got, tensor.detach().cpu().numpy())
        if not found.ok:
            raise SupernetError(
                f"block {block.id} computes something else in ONNX Runtime than in torch: "
                f"largest difference {found.largest:.3g}, largest value {found.scale:.3g}",
                "is the module in eval mode, free of randomness, and without Python state?",
            )


def _run(bundle: Bundle, block: TracedBlock) -> Sequence[NDArray[Any]]:
    feeds = {
        spec.name: value.detach().cpu().numpy()
        for spec, value in zip(block.inputs, block.arguments, strict=True)
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
