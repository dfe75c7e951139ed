"""``--to onnx-switch``: all subnets in one ONNX model, for stock ONNX Runtime.

The model takes the network's inputs and ``subnet``, an int64 of shape [1]: the place of the subnet
in the list of names in the model's metadata, ``hwnas.subnets`` (JSON). An index outside that list
is an error of the runtime. What all subnets use runs always; every other segment is the ``then`` of
an ``If`` whose ``else`` hands the value before it on. The ``If`` nodes stand in a row and never
inside each other: below the first level the runtime does not pack weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import hwnas
from hwnas.bundle import Bundle
from hwnas.errors import UnknownName, UsageError
from hwnas.export.request import Wanted
from hwnas.export.verify import Runner
from hwnas.files import atomic_directory
from hwnas.link import link_finalised
from hwnas.link.gates import INDEX, merge_programs
from hwnas.link.optimise import OPTIONS, Level
from hwnas.program import TensorSpec
from hwnas.runtime.isa import here
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.space import Subnet

__all__ = ["INDEX", "MODEL", "export_onnx_switch", "index_of", "switch_runner"]

MODEL = "model.onnx"
_NAMES = "hwnas.subnets"


def export_onnx_switch(
    bundle: Bundle,
    wanted: Sequence[Wanted],
    path: str | Path,
    accept: Callable[[Path], None] | None = None,
    *,
    finalise: bool = False,
) -> list[Path]:
    """Write ``model.onnx``, which runs any of ``wanted``, and its weights file into ``path``.

    Args:
        bundle: of form ``space``, or a portable bundle of form ``subnets``.
        wanted: at least two subnets of it.
        path: a new folder, or one that this function wrote and that is replaced.
        accept: called with the finished folder before it takes its place; what it raises leaves
            ``path`` as it was.
        finalise: lay weights out for this type of CPU as well. The model then runs on no other,
            and cannot refuse to; its metadata says so. Without it, it runs on any.

    Returns:
        The model's file, alone in a list.

    Raises:
        UsageError: fewer than two subnets, subnets that take or give other shapes, or a network
            with an input or output named ``subnet``.
        HwnasError: the runtime refuses a graph, or the disk is full.
    """
    path = Path(path)
    if len({item.subnet.name for item in wanted}) < 2:
        raise UsageError("one subnet leaves nothing to switch", "name more, or use --to onnx")
    inputs = _one_signature(bundle, wanted)
    programs = {item.subnet.name: bundle.program(item.subnet) for item in wanted}
    for program in programs.values():
        if INDEX in (*program.inputs, *program.outputs):
            raise UsageError(
                f"the network has an input or output named {INDEX!r} itself",
                "rename it in the supernet and compile again",
            )
    norms = {item.subnet.name: item.norms for item in wanted if item.norms is not None}
    level: Level = "all" if finalise else "extended"
    with atomic_directory(path, "switchable ONNX model") as folder:
        with link_finalised(bundle, programs, folder, norms=norms, level=level) as linked:
            linked.write_weights(folder)
            model = merge_programs(linked.segments, linked.programs, inputs)
        properties = {
            _NAMES: json.dumps(list(programs)),
            "hwnas.version": hwnas.__version__,
            "hwnas.optimised": f"{level} by onnxruntime {ort.__version__}",
            "hwnas.cpu": str(here(ort.__version__, dict(OPTIONS))) if finalise else "any",
        }
        helper.set_model_props(model, properties)
        (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(folder / MODEL, full_check=True)
        if accept is not None:
            accept(folder)
    return [path / MODEL]


def _one_signature(bundle: Bundle, wanted: Sequence[Wanted]) -> tuple[TensorSpec, ...]:
    """What all of ``wanted`` take; one model has one shape for each input and output."""
    first = wanted[0].subnet
    takes, gives = bundle.inputs(first), bundle.outputs(first)
    for item in wanted[1:]:
        own = (*bundle.inputs(item.subnet), *bundle.outputs(item.subnet))
        for one, other in zip((*takes, *gives), own, strict=True):
            if one != other:
                raise UsageError(
                    f"{one.name!r} is {one} in {first.name} and {other} in {item.subnet.name}, and "
                    "one ONNX model has one shape for it",
                    "export one model for each shape, with its subnets alone; or use --to bundle, "
                    "which switches between shapes",
                )
    return takes


def switch_runner(folder: Path) -> Runner:
    """Stock ONNX Runtime on the model that ``--to onnx-switch`` wrote, loaded by its path."""
    session = ort.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def run(subnet: Subnet, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        given = {**feeds, INDEX: index_of(session, subnet.name)}
        return dict(zip(outputs, session.run(outputs, given), strict=True))

    return run


def index_of(session: ort.InferenceSession, name: str) -> NDArray[np.int64]:
    """The ``subnet`` to give ``session`` for the subnet of that name."""
    names = json.loads(session.get_modelmeta().custom_metadata_map[_NAMES])
    if name not in names:
        raise UnknownName("subnet", name, names)
    return np.array([names.index(name)], np.int64)
