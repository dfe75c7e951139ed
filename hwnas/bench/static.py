"""What every contender is compared with: each subnet's own static export, alone.

It is run in two ways, so that each contender meets a session of the same library: as a stock
session of the onnxruntime package, and by the native core, as a bundle of one segment that holds
the whole graph. Both optimise it at load, as stock sessions do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import ModelProto, TensorProto, helper

import hwnas
from hwnas.bundle import WEIGHTS, Bundle, BundleWriter
from hwnas.errors import BundleError, HwnasError
from hwnas.files import sha256_file
from hwnas.graphs import (
    external_location,
    external_range,
    external_tensors,
    parse_model,
    signature,
)
from hwnas.manifest import Manifest, SubnetEntry, WeightsFile
from hwnas.program import Call, Program
from hwnas.weights import write_weights

__all__ = ["Static", "Statics", "prepare"]

_UNIT = "whole"


@dataclass(frozen=True)
class Static:
    """One subnet's static export.

    Attributes:
        model: file of the graph; its weights are external, in ``folder``.
        folder: where the weights file lies.
        bundle: the same graph as a bundle of one segment.
        bytes: of the graph and of the weights that it uses.
    """

    model: Path
    folder: Path
    bundle: Path
    bytes: int


@dataclass(frozen=True)
class Statics:
    """The static exports of all subnets, by name, and a network of one node.

    The latter is opened and closed before memory is measured, so that what the library itself
    takes is not booked on a network.
    """

    subnets: dict[str, Static]
    nothing: Static


@contextmanager
def prepare(bundle: Bundle, onnx: Path | None) -> Iterator[Statics]:
    """Write the static exports of all subnets of ``bundle`` into a folder that is removed again.

    Args:
        bundle: of form ``subnets``.
        onnx: folder that ``--to onnx`` wrote; without it each subnet is joined from the segments
            of ``bundle``.

    Raises:
        BundleError: ``onnx`` lacks a subnet, or holds one that takes or gives something else.
    """
    # Beside the bundle the weights can be linked instead of copied.
    beside = bundle.path.resolve().parent
    place = beside if os.access(beside, os.W_OK) else None
    with TemporaryDirectory(prefix=".bench-", dir=place) as name:
        scratch = Path(name)
        source = onnx if onnx is not None else bundle.path
        models = {subnet: _model(bundle, subnet, onnx) for subnet in bundle.manifest.subnets}
        weights = _weights_file(source, models)
        digest = sha256_file(weights)
        subnets = {
            subnet: _write(scratch / f"static-{i}", bundle, subnet, model, weights, digest)
            for i, (subnet, model) in enumerate(models.items())
        }
        empty = scratch / WEIGHTS
        write_weights(empty, {"unused": np.zeros(16, np.float32)})
        first = next(iter(models))
        nothing = _write(
            scratch / "nothing", bundle, first, _nothing(), empty, sha256_file(empty), any_io=True
        )
        yield Statics(subnets, nothing)


def _model(bundle: Bundle, name: str, onnx: Path | None) -> ModelProto:
    if onnx is None:
        from hwnas.link import whole  # imports onnxruntime

        return whole(bundle, name)
    file = onnx / f"{name}.onnx"
    if not file.is_file():
        raise BundleError(
            f"{file} does not exist", "export the same subnets with 'hwnas export --to onnx'"
        )
    return parse_model(file.read_bytes(), str(file))


def _weights_file(folder: Path, models: dict[str, ModelProto]) -> Path:
    """The one weights file that all models point into."""
    found = {external_location(t) for m in models.values() for t in external_tensors(m.graph)}
    if found - {WEIGHTS} or not (folder / WEIGHTS).is_file():
        raise BundleError(
            f"{folder} has not all weights in one {WEIGHTS}",
            "export the same subnets with 'hwnas export --to onnx'",
        )
    return folder / WEIGHTS


def _write(
    folder: Path,
    bundle: Bundle,
    name: str,
    model: ModelProto,
    weights: Path,
    digest: str,
    *,
    any_io: bool = False,
) -> Static:
    """Write ``model`` as a bundle of one segment; the segment's file is the static export."""
    inputs, outputs = signature(model.graph)
    entry = bundle.entry(name)
    wanted = entry.inputs or bundle.manifest.inputs, entry.outputs or bundle.manifest.outputs
    fits = all(
        sorted(own, key=_by_name) == sorted(specs, key=_by_name)
        for own, specs in zip((inputs, outputs), wanted, strict=True)
    )
    if not fits and not any_io:
        raise BundleError(
            f"the static export of {name} does not take and give what {bundle.path} does",
            "export both from the same network",
        )
    folder.mkdir()
    _link(weights, folder / WEIGHTS)
    writer = BundleWriter(folder)
    segment = writer.add_segment(_UNIT, model)
    ranges = {external_range(tensor) for tensor in external_tensors(model.graph)}
    used = sum(length for _, length in ranges)
    values = {spec.name: f"out.{i}" for i, spec in enumerate(outputs)}
    call = Call(unit=_UNIT, inputs=tuple(s.name for s in inputs), outputs=tuple(values.values()))
    program = Program(inputs=call.inputs, calls=(call,), outputs=values)
    static = SubnetEntry(choices=entry.choices, program=program, kind=entry.kind, weight_bytes=used)
    writer.finish(
        Manifest(
            hwnas=hwnas.__version__,
            form="subnets",
            space=bundle.manifest.space,
            inputs=inputs,
            outputs=outputs,
            # Hashed once: it is one file under many names.
            weights=WeightsFile(file=WEIGHTS, sha256=digest, bytes=weights.stat().st_size),
            segments={_UNIT: segment},
            subnets={name: static},
        )
    )
    return Static(folder / segment.file, folder, folder, segment.bytes + used)


def _by_name(spec: object) -> str:
    return str(getattr(spec, "name", ""))


def _link(source: Path, target: Path) -> None:
    """The same file at another place; a copy where file systems differ."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise HwnasError(
                f"cannot write {target}: {error.strerror or error}",
                f"comparing takes {source.stat().st_size} bytes per subnet beside the bundle",
            ) from error


def _nothing() -> ModelProto:
    """A network of one node."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    node = helper.make_node("Neg", ["x"], ["y"], "neg")
    graph = helper.make_graph([node], "nothing", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
