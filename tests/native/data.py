"""Writes the bundles, inputs and expected outputs that the native tests run on.

    HWNAS_TEST_DATA/
      layers/   residual layers of two widths: six subnets in a chain
      skips/    a network with a skip connection beside the chain
      finished/ the first one again, finalised for this machine
      types/    every dtype, a scalar, a tensor without elements, two outputs
      shapes/   images and maps of three resolutions
      shapes-finished/  the same, finalised for this machine
        bundle/             an exported bundle
        SAMPLE.in           all inputs, one after the other; a subnet that takes less gets what
                            it begins with
        SAMPLE.SUBNET.out   all outputs, one after the other

Run as a program: ``python -m tests.native.data FOLDER``.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from hwnas.bundle import WEIGHTS, Bundle, Manifest, Segment, write_bundle
from hwnas.export import Wanted, export_bundle, export_finalised
from hwnas.manifest import SubnetEntry
from hwnas.program import Call, Program, TensorSpec
from hwnas.runtime.arrays import as_dtype
from hwnas.runtime.switcher import Switcher
from hwnas.space import Slot, Space
from tests.support.bundles import make_bundle

__all__ = ["write_data"]

SAMPLES = 2
NETS = Path(__file__).resolve().parents[1] / "data" / "nets.py"
ELASTIC = NETS.with_name("elastic_nets.py")


def write_data(folder: Path) -> None:
    """Write all cases into ``folder``, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    _export(make_bundle(folder / "layers" / "space"), folder / "layers")
    _export(make_bundle(folder / "finished" / "space"), folder / "finished", finalise=True)
    _export(_compiled(f"{NETS}:unet", folder / "skips" / "space"), folder / "skips")
    _write_types(folder / "types" / "bundle")
    images = _compiled(f"{ELASTIC}:resolutions", folder / "shapes" / "space")
    _export(images, folder / "shapes-finished", finalise=True, keep=True)
    _export(images, folder / "shapes")
    for case in ("layers", "finished", "skips", "types", "shapes", "shapes-finished"):
        _write_samples(folder / case)


def _export(space: Bundle, case: Path, *, finalise: bool = False, keep: bool = False) -> None:
    wanted = [Wanted(subnet) for subnet in space.manifest.space.subnets()]
    (export_finalised if finalise else export_bundle)(space, wanted, case / "bundle")
    if not keep:
        shutil.rmtree(space.path)


def _compiled(reference: str, path: Path) -> Bundle:
    from hwnas.compile import compile_supernet
    from hwnas.supernets.reference import load

    path.parent.mkdir(parents=True)
    compile_supernet(load(reference), path, reference=reference)
    return Bundle.open(path, "space")


def _write_samples(case: Path) -> None:
    rng = np.random.default_rng(7)
    with Switcher(case / "bundle", backend="python") as switcher:
        for sample in range(SAMPLES):
            feeds = {
                spec.name: (rng.standard_normal(spec.shape) * 3).astype(as_dtype(spec.dtype))
                for spec in switcher.inputs
            }
            (case / f"{sample}.in").write_bytes(b"".join(a.tobytes() for a in feeds.values()))
            for name in switcher.subnets:
                own = {
                    spec.name: _beginning(feeds[spec.name], spec)
                    for spec in switcher.inputs_of(name)
                }
                found = switcher.run(own, subnet=name)
                (case / f"{sample}.{name}.out").write_bytes(
                    b"".join(found[spec.name].tobytes() for spec in switcher.outputs)
                )


def _beginning(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    return array.reshape(-1)[: math.prod(spec.shape)].reshape(spec.shape)


_TYPES = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "bfloat16": TensorProto.BFLOAT16,
}


def _write_types(path: Path) -> None:
    """Two segments that hand every dtype on; ``base`` runs both, ``half`` the first alone."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_TYPES, (3,))
    shapes |= {"float32": (), "int64": (2, 0)}
    specs = tuple(TensorSpec(name=n, dtype=n, shape=shapes[n]) for n in _TYPES)
    space = Space(
        slots=(Slot(name="s", reads=tuple(_TYPES), writes=tuple(_TYPES)),),
        inputs=tuple(_TYPES),
        outputs=tuple(_TYPES),
    )
    outputs = tuple(s.model_copy(update={"name": f"{s.name}_out"}) for s in specs)
    with write_bundle(path, "subnets") as writer:
        save_file({"unused": np.zeros(2, np.float32)}, writer.folder / WEIGHTS)
        segments = {}
        for unit in ("a", "b"):
            model = _pass_on(specs, f"{unit}.")
            file = f"segments/{unit}.onnx"
            sha256, size = writer.add_graph(file, model.SerializeToString())
            segments[unit] = Segment(
                file=file,
                sha256=sha256,
                bytes=size,
                kind=unit,
                inputs=_renamed(specs, f"{unit}.in."),
                outputs=_renamed(specs, f"{unit}.out."),
                weights=(),
                blocks=(f"s/{unit}",),
            )
        subnets = {"half": _subnet(["a"]), "base": _subnet(["a", "b"])}
        writer.finish(
            Manifest(
                hwnas="0.0.0+test",
                form="subnets",
                space=space,
                inputs=specs,
                outputs=outputs,
                weights=writer.weights(),
                segments=segments,
                subnets=subnets,
            )
        )


def _renamed(specs: tuple[TensorSpec, ...], prefix: str) -> tuple[TensorSpec, ...]:
    return tuple(spec.model_copy(update={"name": prefix + spec.name}) for spec in specs)


def _pass_on(specs: tuple[TensorSpec, ...], unit: str) -> onnx.ModelProto:
    """Float32 and int32 are negated, the rest handed on."""
    changed = {"float32": "Neg", "int32": "Neg"}
    nodes = [
        helper.make_node(
            changed.get(s.dtype, "Identity"), [f"{unit}in.{s.name}"], [f"{unit}out.{s.name}"]
        )
        for s in specs
    ]
    values = [
        [
            helper.make_tensor_value_info(f"{unit}{side}.{s.name}", _TYPES[s.dtype], s.shape)
            for s in specs
        ]
        for side in ("in", "out")
    ]
    graph = helper.make_graph(nodes, "g", values[0], values[1])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _subnet(units: list[str]) -> SubnetEntry:
    calls, values = [], list(_TYPES)
    for unit in units:
        written = [f"{name}.{unit}" for name in _TYPES]
        calls.append(Call(unit=unit, inputs=tuple(values), outputs=tuple(written)))
        values = written
    program = Program(
        inputs=tuple(_TYPES),
        calls=tuple(calls),
        outputs={f"{name}_out": value for name, value in zip(_TYPES, values, strict=True)},
    )
    return SubnetEntry(choices={"s": "base"}, program=program, kind="k", weight_bytes=len(units))


if __name__ == "__main__":
    write_data(Path(sys.argv[1]))
