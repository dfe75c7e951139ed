"""``--to onnx``: one complete ONNX file per subnet, all over one weights file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from hwnas.bundle import Bundle
from hwnas.export.request import Wanted
from hwnas.export.weights import WeightCut
from hwnas.files import atomic_directory
from hwnas.link import whole

__all__ = ["export_onnx"]


def export_onnx(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    path: str | Path,
    accept: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write ``NAME.onnx`` for each of ``wanted`` and one ``weights.safetensors`` into ``path``.

    Each file is a complete model that stock ONNX Runtime loads by its path; all of them point
    into the one weights file beside them. Each has passed ``onnx.checker``.

    Args:
        bundle: of form ``space``.
        wanted: at least one subnet of its space.
        path: a new folder, or one that this function wrote and that is replaced.
        accept: called with the finished folder before it takes its place; what it raises leaves
            ``path`` as it was.

    Returns:
        The ONNX files, in the order of ``wanted``.
    """
    path = Path(path)
    models = {item.subnet.name: whole(bundle, item.subnet, item.norms) for item in wanted}
    with atomic_directory(path, "folder of ONNX files") as folder:
        WeightCut(bundle, models.values()).write(folder)
        for name, model in models.items():
            file = folder / f"{name}.onnx"
            file.write_bytes(model.SerializeToString(deterministic=True))
            onnx.checker.check_model(file, full_check=True)
        if accept is not None:
            accept(folder)
    return [path / f"{name}.onnx" for name in models]
