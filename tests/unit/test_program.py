from __future__ import annotations

import pytest

from hwnas.errors import SignatureError
from hwnas.program import (
    Call,
    Program,
    TensorSpec,
    assemble,
    check,
    input_types,
    output_names,
    program_kind,
)
from hwnas.runtime.plan import plan_buffers
from hwnas.space import PrefixDepth, Slot, Space


class Unit:
    def __init__(self, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)


def spec(*shape: int, dtype: str = "float32", name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


SPACE = Space(
    slots=(
        Slot(name="down", writes=("x", "skip")),
        Slot(name="mid"),
        Slot(name="up", reads=("x", "skip")),
    ),
    rules=(PrefixDepth(slots=("mid",), depths=(0, 1)),),
)


def test_skip_connections_are_values_like_any_other() -> None:
    program = assemble(SPACE, SPACE.largest())
    assert program.calls == (
        Call(unit="down/base", inputs=("x",), outputs=("x.0", "skip.0")),
        Call(unit="mid/base", inputs=("x.0",), outputs=("x.1",)),
        Call(unit="up/base", inputs=("x.1", "skip.0"), outputs=("x.2",)),
    )
    # An input and an output of one name are not allowed in ONNX.
    assert program.outputs == {"x_out": "x.2"}
    assert output_names(SPACE) == ("x_out",)


def test_a_value_that_nothing_writes() -> None:
    with pytest.raises(SignatureError, match="'mask'"):
        space = Space(slots=(Slot(name="a", reads=("x", "mask")),))
        assemble(space, space.largest())


def test_a_program_takes_what_its_first_reader_of_an_input_takes() -> None:
    program = Program(
        inputs=("image", "mask", "unread"),
        calls=(
            Call(unit="a", inputs=("image",), outputs=("v",)),
            Call(unit="b", inputs=("v", "mask", "image"), outputs=("w",)),
        ),
        outputs={"y": "w"},
    )
    image, mask = spec(1, 8), spec(1, 2, dtype="bool")
    units = {"a": Unit([image], [spec(1, 4)]), "b": Unit([spec(1, 4), mask, image], [spec(1)])}
    network = (spec(1, 16, name="image"), spec(1, 4, name="mask"), spec(3, name="unread"))
    found = input_types(program, units, network)
    assert [s.name for s in found] == ["image", "mask", "unread"]
    assert [str(s) for s in found] == ["float32[1,8]", "bool[1,2]", "float32[3]"]
    assert check(program, units, found)["w"].shape == (1,)
    with pytest.raises(SignatureError, match=r"float32\[1,8\] as 'x', but gets float32\[1,16\]"):
        check(program, units, network)


def test_check_names_the_unit_and_both_shapes() -> None:
    program = assemble(SPACE, SPACE.largest())
    units = {
        "down/base": Unit([spec(1, 4)], [spec(1, 8), spec(1, 8)]),
        "mid/base": Unit([spec(1, 8)], [spec(1, 9)]),
        "up/base": Unit([spec(1, 8), spec(1, 8)], [spec(1, 4)]),
    }
    with pytest.raises(SignatureError) as caught:
        check(program, units, (spec(1, 4),))
    assert all(part in str(caught.value) for part in ("up/base", "float32[1,8]", "float32[1,9]"))
    units["mid/base"] = Unit([spec(1, 8)], [spec(1, 8)])
    assert check(program, units, (spec(1, 4),))["x.2"].shape == (1, 4)


@pytest.mark.parametrize(
    ("calls", "outputs", "words"),
    [
        ([("nope", ["x"], ["y"])], {"o": "y"}, "does not exist"),
        ([("u", ["z"], ["y"])], {"o": "y"}, "nothing writes"),
        ([("u", ["x"], ["x"])], {"o": "x"}, "exists already"),
        ([("u", ["x", "x"], ["y"])], {"o": "y"}, "wrong number"),
        ([("u", ["x"], ["y"])], {"o": "x"}, "no call writes"),
        ([("u", ["x"], ["y"])], {"o": "y", "p": "y"}, "one value"),
    ],
)
def test_programs_that_lie(
    calls: list[tuple[str, list[str], list[str]]], outputs: dict[str, str], words: str
) -> None:
    program = Program(
        inputs=("x",),
        calls=tuple(Call(unit=u, inputs=tuple(i), outputs=tuple(o)) for u, i, o in calls),
        outputs=outputs,
    )
    with pytest.raises(SignatureError) as caught:
        check(program, {"u": Unit([spec(2)], [spec(2)])}, (spec(2),))
    assert words in str(caught.value)


def test_kind_sees_wiring_and_kinds_but_no_names() -> None:
    program = assemble(SPACE, SPACE.largest())
    kinds = {"down/base": "A", "mid/base": "B", "up/base": "C"}
    text = program.model_dump_json().replace("skip", "bypass").replace("mid/", "middle/")
    renamed = Program.model_validate_json(text)
    same = {"down/base": "A", "middle/base": "B", "up/base": "C"}
    assert program_kind(program, kinds) == program_kind(renamed, same)
    assert program_kind(program, kinds) != program_kind(program, {**kinds, "mid/base": "D"})
    crossed = program.calls[2].model_copy(update={"inputs": ("skip.0", "x.1")})
    other = program.model_copy(update={"calls": (*program.calls[:2], crossed)})
    assert program_kind(program, kinds) != program_kind(other, kinds)


def test_buffers_alternate_and_skips_keep_theirs() -> None:
    n = 6
    calls = [Call(unit="u", inputs=("x",), outputs=("v0", "skip"))]
    calls += [Call(unit="u", inputs=(f"v{i}",), outputs=(f"v{i + 1}",)) for i in range(n)]
    calls.append(Call(unit="u", inputs=(f"v{n}", "skip"), outputs=("y",)))
    program = Program(inputs=("x",), calls=tuple(calls), outputs={"y": "y"})
    types = {name: spec(4) for call in calls for name in (*call.inputs, *call.outputs)}
    plan = plan_buffers(program, types)
    assert "x" not in plan
    assert "y" not in plan
    assert len(set(plan.values())) == 3  # two in turn, and the skip's own
    for call in calls:
        reads = {plan[name] for name in call.inputs if name in plan}
        writes = {plan[name] for name in call.outputs if name in plan}
        assert not reads & writes
    live = [plan[f"v{i}"] for i in range(n + 1)]
    assert plan["skip"] not in live
