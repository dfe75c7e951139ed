"""``--to onnx-switch``: one model for stock ONNX Runtime that computes what each subnet does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper
from torch import nn

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.compile import compile_supernet
from hwnas.errors import HwnasError, UnknownName, UsageError
from hwnas.export import Wanted, export_bundle, export_finalised, export_onnx, onnx_switch, verify
from hwnas.export.onnx_switch import (
    export_onnx_switch,
    switch_runner,
)
from hwnas.export.switch_cost import switch_cost
from hwnas.export.verify import bundle_runner, onnx_runner
from hwnas.graphs import external_range
from hwnas.link.gates import merge_programs
from hwnas.program import Call, Program, TensorSpec
from hwnas.rules import EquidistantDepth
from hwnas.runtime.compare import difference
from hwnas.runtime.inputs import random_inputs
from hwnas.space import Slot, Space
from hwnas.supernets.reference import load
from hwnas.weights import map_weights, read_layout
from tests.conftest import NETS

SUITES = ["tiny", "unet", "ladder", "skip_connect"]


class Ladder(nn.Module):
    """Steps of a space with equidistant depth, that leave out other steps at each depth."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        names = tuple(f"step.{i}" for i in range(5))
        self.space = Space(
            slots=(
                Slot(name="first", reads=("x",), writes=("h",)),
                *(Slot(name=name, reads=("h",), writes=("h",)) for name in names),
                Slot(name="last", reads=("h",), writes=("y",)),
            ),
            rules=(EquidistantDepth(slots=names, depths=(1, 2, 3, 4, 5)),),
            inputs=("x",),
            outputs=("y",),
        )

    def example_inputs(self) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(2, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        if slot.startswith("step"):
            return nn.Sequential(self.steps[int(slot[-1])], nn.Tanh())
        return self.first if slot == "first" else self.last


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("sources")
    found = {"tiny": Bundle.open(tiny_bundle, "space")}
    compile_supernet(Ladder(), folder / "ladder", reference="ladder")
    for name in ("unet", "skip_connect"):
        reference = f"{NETS}:{name}"
        compile_supernet(load(reference), folder / name, reference=reference)
    names = ("unet", "ladder", "skip_connect")
    return found | {name: Bundle.open(folder / name, "space") for name in names}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Bundle]) -> Path:
    """All subnets of ``tiny``. Read only."""
    folder = tmp_path_factory.mktemp("switch") / "out"
    assert export_onnx_switch(sources["tiny"], all_of(sources["tiny"]), folder) == [
        folder / "model.onnx"
    ]
    return folder


def all_of(source: Bundle) -> list[Wanted]:
    return [Wanted(subnet) for subnet in source.manifest.space.subnets()]


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


@pytest.mark.parametrize("finalise", [False, True])
@pytest.mark.parametrize("name", SUITES)
def test_every_subnet_equals_its_own_export(
    name: str, finalise: bool, sources: dict[str, Bundle], tmp_path: Path
) -> None:
    source = sources[name]
    wanted = all_of(source)
    export_onnx(source, wanted, tmp_path / "onnx")
    export_finalised(source, wanted, tmp_path / "bundle")
    export_onnx_switch(source, wanted, tmp_path / "switch", finalise=finalise)
    run, static = switch_runner(tmp_path / "switch"), onnx_runner(tmp_path / "onnx")
    chain_of_segments = bundle_runner(tmp_path / "bundle")
    seen = set()
    for seed in range(2):
        feeds = random_inputs(source.manifest.inputs, seed)
        for item in wanted:
            found, alone = run(item.subnet, feeds), static(item.subnet, feeds)
            assert list(found) == list(alone)
            for key, array in chain_of_segments(item.subnet, feeds).items():
                np.testing.assert_array_equal(found[key], array)
                # Widths are summed part by part here, and at once in an export of their own.
                assert difference(found[key], alone[key]).largest < 1e-5
            seen.add(b"".join(array.tobytes() for array in found.values()))
    assert len(seen) == 2 * len(wanted)


def test_it_can_be_verified(exported: Path, sources: dict[str, Bundle], shipped: Path) -> None:
    source = sources["tiny"]
    subnets = [item.subnet for item in all_of(source)]
    references = {"bundle": bundle_runner(shipped)}
    ran = ("onnx-switch", switch_runner(exported))
    assert len(verify(subnets, source.inputs, ran, references)) == 6


def test_a_portable_bundle_will_do(sources: dict[str, Bundle], tmp_path: Path) -> None:
    source = sources["unet"]
    wanted = all_of(source)
    portable = export_bundle(source, wanted, tmp_path / "bundle")
    export_onnx_switch(portable, wanted, tmp_path / "switch")
    references = {"bundle": bundle_runner(tmp_path / "bundle")}
    ran = ("onnx-switch", switch_runner(tmp_path / "switch"))
    verify([item.subnet for item in wanted], source.inputs, ran, references)


def test_a_wrong_index_is_an_error(exported: Path, sources: dict[str, Bundle]) -> None:
    session = ort.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    feeds = random_inputs(sources["tiny"].manifest.inputs, 0)
    for index in (6, -1, -6, 2**40):
        with pytest.raises(Exception, match=r"'subnet'.*out of data bounds"):
            session.run(None, {**feeds, "subnet": np.array([index])})
    with pytest.raises(Exception, match="subnet"):
        session.run(None, {**feeds, "subnet": np.array([0, 1])})
    with pytest.raises(UnknownName, match="d9"):
        subnet = all_of(sources["tiny"])[0].subnet.model_copy(update={"name": "d9"})
        switch_runner(exported)(subnet, feeds)


def test_what_the_model_says_of_itself(exported: Path, sources: dict[str, Bundle]) -> None:
    model = onnx.load(exported / "model.onnx", load_external_data=False)
    about = {entry.key: entry.value for entry in model.metadata_props}
    names = [item.subnet.name for item in all_of(sources["tiny"])]
    assert json.loads(about["hwnas.subnets"]) == names
    assert about["hwnas.cpu"] == "any"
    assert about["hwnas.optimised"] == f"extended by onnxruntime {ort.__version__}"
    assert [value.name for value in model.graph.input] == ["image", "subnet"]
    assert {node.domain for g in graphs(model.graph) for node in g.node} <= {"", "com.microsoft"}
    data = (exported / "model.onnx").read_bytes()
    assert str(exported.parent).encode() not in data
    assert str(sources["tiny"].path).encode() not in data


def test_finalised_for_one_type_of_cpu_says_so(sources: dict[str, Bundle], tmp_path: Path) -> None:
    [file] = export_onnx_switch(
        sources["unet"], all_of(sources["unet"]), tmp_path / "o", finalise=True
    )
    model = onnx.load(file, load_external_data=False)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["hwnas.optimised"].startswith("all by")
    assert about["hwnas.cpu"].startswith(f"onnxruntime {ort.__version__} on ")


def test_branches_are_flat(exported: Path) -> None:
    graph = onnx.load(exported / "model.onnx", load_external_data=False).graph
    gates = [node for node in graph.node if node.op_type == "If"]
    assert gates
    inner = [node for g in graphs(graph) if g is not graph for node in g.node]
    assert all(node.op_type != "If" for node in inner)


def test_weights_are_stored_once(exported: Path, sources: dict[str, Bundle]) -> None:
    assert sorted(f.name for f in exported.iterdir()) == [
        ".hwnas.json",
        "model.onnx",
        WEIGHTS,
    ]
    stored = map_weights(exported / WEIGHTS)
    digests = [hashlib.sha256(array.tobytes()).digest() for array in stored.values()]
    assert len(set(digests)) == len(digests)
    model = onnx.load(exported / "model.onnx", load_external_data=False)
    tensors = [tensor for g in graphs(model.graph) for tensor in g.initializer]
    spans = {(s.offset, s.offset + s.length) for s in read_layout(exported / WEIGHTS).values()}
    used = set()
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            assert tensor.ByteSize() < 2048
            continue
        offset, length = external_range(tensor)
        [span] = [(low, high) for low, high in spans if low <= offset and offset + length <= high]
        used.add(span)
    assert used == spans
    source = sources["tiny"].manifest.weights.bytes
    assert (exported / WEIGHTS).stat().st_size < 1.1 * source


def test_export_is_deterministic(
    exported: Path, sources: dict[str, Bundle], tmp_path: Path
) -> None:
    export_onnx_switch(sources["tiny"], all_of(sources["tiny"]), tmp_path / "again")
    for file in exported.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file


def test_overwriting(sources: dict[str, Bundle], tmp_path: Path) -> None:
    source = sources["unet"]
    wanted = all_of(source)
    out = tmp_path / "out"
    export_onnx_switch(source, wanted[:2], out)
    before = (out / "model.onnx").read_bytes()

    def refuse(folder: Path) -> None:
        assert (folder / "model.onnx").is_file()
        raise HwnasError("not this one")

    with pytest.raises(HwnasError, match="not this one"):
        export_onnx_switch(source, wanted, out, refuse)
    assert (out / "model.onnx").read_bytes() == before
    export_onnx_switch(source, wanted, out)
    assert (out / "model.onnx").read_bytes() != before
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export_onnx_switch(source, wanted, out)
    export_onnx(source, wanted, tmp_path / "onnx")
    with pytest.raises(UsageError, match="switchable ONNX model"):
        export_onnx_switch(source, wanted, tmp_path / "onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["onnx", "out"]


def test_what_cannot_be_switched_is_refused(sources: dict[str, Bundle], tmp_path: Path) -> None:
    wanted = all_of(sources["unet"])
    with pytest.raises(UsageError, match="nothing to switch"):
        export_onnx_switch(sources["unet"], wanted[:1] * 2, tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_switch, "INDEX", "x")
        with pytest.raises(UsageError, match="'x' itself"):
            export_onnx_switch(sources["unet"], wanted, tmp_path / "taken")
    assert not list(tmp_path.iterdir())


def test_cost(exported: Path, sources: dict[str, Bundle]) -> None:
    wanted = all_of(sources["tiny"])
    costs = switch_cost(sources["tiny"], wanted, exported, seconds=0.3, min_rounds=4)
    assert [cost.subnet for cost in costs] == [item.subnet.name for item in wanted]
    for cost in costs:
        assert cost.rounds >= 4
        assert cost.latency_ms > 0 and cost.static_latency_ms > 0
        assert 0.1 < cost.latency_ratio < 10 and 0.1 < cost.noise_ratio < 10
        assert cost.max_abs_diff < 1e-5


# -- programs that no space has yet: orders that do not fit, units called again -------------------

SIZE = 3
INPUT = TensorSpec(name="x", dtype="float64", shape=(SIZE,))
Value = NDArray[np.float64]


def segment(number: int, arity: int) -> ModelProto:
    """``out0 = in0 * k + in1``, ``out1 = in0``: told apart by ``k``, and one that is handed on."""
    names = [f"in{i}" for i in range(arity)]
    ports = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, [SIZE]) for n in names]
    results = [
        helper.make_tensor_value_info(n, TensorProto.DOUBLE, [SIZE]) for n in ("out0", "in0")
    ]
    nodes = [
        helper.make_node("Mul", ["in0", "k"], ["product"]),
        helper.make_node("Add", ["product", names[-1]], ["out0"]),
    ]
    k = helper.make_tensor("k", TensorProto.DOUBLE, [1], [1.25 + number])
    graph = helper.make_graph(nodes, "segment", ports, results, [k])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def expected(program: Program, x: Value) -> dict[str, Value]:
    values = {"x": x}
    for call in program.calls:
        reads = [values[name] for name in call.inputs]
        results = (reads[0] * (1.25 + int(call.unit[1:])) + reads[-1], reads[0])
        values.update(zip(call.outputs, results, strict=True))
    return {public: values[name] for public, name in program.outputs.items()}


def check_merged(programs: dict[str, Program], arity: list[int]) -> ModelProto:
    segments = {f"u{i}": segment(i, count) for i, count in enumerate(arity)}
    model = merge_programs(segments, programs, [INPUT])
    onnx.checker.check_model(model, full_check=True)
    assert all(n.op_type != "If" for g in graphs(model.graph) if g.name != "switch" for n in g.node)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(0.5, 2.0, SIZE)
    names = [output.name for output in session.get_outputs()]
    for index, program in enumerate(programs.values()):
        found = session.run(None, {"x": x, "subnet": np.array([index])})
        for name, array in expected(program, x).items():
            np.testing.assert_array_equal(found[names.index(name)], array)
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(None, {"x": x, "subnet": np.array([len(programs)])})
    return model


def chain(*units: str) -> Program:
    """Units of one input each, one after the other."""
    calls, value = [], "x"
    for i, unit in enumerate(units):
        calls.append(Call(unit=unit, inputs=(value,), outputs=(f"v{i}", f"w{i}")))
        value = f"v{i}"
    return Program(inputs=("x",), calls=tuple(calls), outputs={"y": value})


def kinds(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_orders_that_do_not_fit_are_called_apart() -> None:
    model = check_merged({"ab": chain("u0", "u1", "u2"), "ba": chain("u1", "u0", "u2")}, [1] * 3)
    assert kinds(model).count("If") == 2  # one for each subnet's own; u2 stays shared
    assert "Mul" in kinds(model)


def test_equal_programs_still_refuse_a_wrong_index() -> None:
    check_merged({"a": chain("u0"), "b": chain("u0")}, [1])


def test_a_unit_that_is_called_again() -> None:
    check_merged({"once": chain("u0", "u1"), "twice": chain("u0", "u1", "u0")}, [1, 1])


def test_a_later_value_is_left_aside() -> None:
    """Both run ``u1``; one goes on with what was there before it."""
    calls = chain("u0", "u1", "u2").calls
    past = calls[2].model_copy(update={"inputs": ("v0",)})
    programs = {
        "after": Program(inputs=("x",), calls=calls, outputs={"y": "v2", "z": "v1"}),
        "before": Program(inputs=("x",), calls=(*calls[:2], past), outputs={"y": "v2", "z": "v1"}),
    }
    check_merged(programs, [1] * 3)


@st.composite
def many(draw: st.DrawFn) -> tuple[dict[str, Program], list[int]]:
    arity = draw(st.lists(st.integers(1, 2), min_size=1, max_size=5))
    programs = {}
    for name in "abcd"[: draw(st.integers(1, 4))]:
        units = draw(st.lists(st.integers(0, len(arity) - 1), min_size=2, max_size=6))
        values, calls = ["x"], []
        for i, unit in enumerate(units):
            reads = tuple(draw(st.sampled_from(values[-4:])) for _ in range(arity[unit]))
            calls.append(Call(unit=f"u{unit}", inputs=reads, outputs=(f"v{i}", f"w{i}")))
            values += [f"v{i}", f"w{i}"]
        outputs = {"y": values[-2], "z": draw(st.sampled_from(values[1:-2]))}
        programs[name] = Program(inputs=("x",), calls=tuple(calls), outputs=outputs)
    return programs, arity


@settings(max_examples=250, deadline=None)
@given(many())
def test_any_programs_can_be_merged(drawn: tuple[dict[str, Program], list[int]]) -> None:
    check_merged(*drawn)
