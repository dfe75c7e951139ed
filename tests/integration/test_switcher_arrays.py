"""What a switcher takes and gives, the same for both backends: dtypes, owners, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import InputError, UsageError
from hwnas.runtime import Switcher
from hwnas.runtime.arrays import as_dtype, given
from tests.support.backends import BACKENDS, need
from tests.support.typed import SHAPES, make_typed_bundle, typed_inputs

X = "a_float32"
Y = "y_a_float32"


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_typed_bundle(tmp_path_factory.mktemp("typed") / "bundle")


@pytest.fixture(params=BACKENDS)
def switcher(request: pytest.FixtureRequest, typed: Path) -> Iterator[Switcher]:
    with Switcher(typed, backend=need(request.param)) as opened:
        assert opened.backend == request.param
        yield opened


@pytest.fixture
def feeds() -> dict[str, Any]:
    return typed_inputs()


def as_tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype == as_dtype("bfloat16"):
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def assert_same(results: dict[str, Any], feeds: dict[str, np.ndarray]) -> None:
    assert list(results) == [f"y_{name}" for name in feeds]
    for name, array in feeds.items():
        got = results[f"y_{name}"]
        assert isinstance(got, np.ndarray)
        assert (got.dtype, got.shape) == (array.dtype, array.shape), name
        assert got.tobytes() == array.tobytes(), name


def test_every_dtype_from_numpy_and_torch(switcher: Switcher, feeds: dict[str, Any]) -> None:
    assert_same(switcher.run(feeds), feeds)
    other = typed_inputs(1)
    tensors = {name: as_tensor(array) for name, array in other.items()}
    assert_same(switcher.run(tensors), other)


def test_every_dtype_into_numpy_and_torch(switcher: Switcher, feeds: dict[str, Any]) -> None:
    arrays = {f"y_{n}": np.zeros(shape, as_dtype(d)) for n, (d, shape) in SHAPES.items()}
    results = switcher.run(feeds, out=arrays)
    assert_same(results, feeds)
    assert all(results[name] is array for name, array in arrays.items())
    tensors = {name: as_tensor(np.zeros_like(array)) for name, array in arrays.items()}
    results = switcher.run(feeds, out=tensors)
    for name, array in feeds.items():
        assert results[f"y_{name}"] is tensors[f"y_{name}"]
        assert torch.equal(tensors[f"y_{name}"], as_tensor(array)), name


def test_some_outputs_given(switcher: Switcher, feeds: dict[str, Any]) -> None:
    own = np.zeros((2, 3), np.float32)
    for out in ({Y: own, "y_flag": None}, MappingProxyType({Y: own})):
        own[:] = 7
        results = switcher.run(feeds, out=out)
        assert results[Y] is own
        assert_same(results, feeds)


def other_owners() -> dict[str, Callable[[np.ndarray], Any]]:
    def misaligned(array: np.ndarray) -> np.ndarray:
        raw = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:]
        return raw.view(array.dtype).reshape(array.shape)

    def read_only(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flags.writeable = False
        return array

    def double(array: np.ndarray) -> np.ndarray:
        return np.repeat(array, 2, axis=1)

    return {
        "fortran": np.asfortranarray,
        "every second": lambda array: double(array)[:, ::2],
        "backwards": lambda array: array[::-1].copy()[::-1],
        "misaligned": misaligned,
        "read-only": read_only,
        "subclass": lambda array: array.view(type("Mine", (np.ndarray,), {})),
        "buffer": lambda array: memoryview(np.ascontiguousarray(array)),
        "dlpack only": OnlyDlpack,
        "numpy by dlpack": np.from_dlpack,
        "torch strided": lambda array: torch.from_numpy(double(array))[:, ::2],
        "torch offset": lambda array: torch.from_numpy(np.vstack([array[:1], array]))[1:],
        "torch parameter": lambda array: torch.nn.Parameter(torch.from_numpy(array.copy())),
        "torch transposed": lambda array: torch.from_numpy(array.T.copy()).T,
        "nested": lambda array: [np.float32(row) for row in array],
    }


class OnlyDlpack:
    """Offers DLPack and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array.copy()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class Elsewhere(OnlyDlpack):
    """Says that its memory is a GPU's."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the memory is on another device")


@pytest.mark.parametrize("owner", list(other_owners()))
def test_inputs_of_other_owners(switcher: Switcher, feeds: dict[str, Any], owner: str) -> None:
    wanted = typed_inputs(2)
    given_as = other_owners()[owner](wanted[X])
    assert_same(switcher.run({**feeds, X: given_as}), {**feeds, X: wanted[X]})
    assert_same(switcher.run(MappingProxyType({**feeds, X: given_as})), {**feeds, X: wanted[X]})


def bad_inputs() -> dict[str, tuple[Any, str]]:
    good = np.zeros((2, 3), np.float32)
    return {
        "dtype": (good.astype(np.float16), "float16[2,3], the network takes float32[2,3]"),
        "integers": (good.astype(np.int32), "int32[2,3]"),
        "byte order": (good.astype(">f4"), ">f4[2,3]"),
        "rank": (good[None], "float32[1,2,3]"),
        "transposed": (good.T, "float32[3,2]"),
        "raw": (good.view("V4"), "V4"),
        "scalar": (1.0, "float64[]"),
        "list": ([[1, 2, 3], [4, 5, 6]], "int64[2,3]"),
        "ragged": ([[1], [2, 3]], "cannot be read as an array"),
        "text": ("cat", "[]"),
        "nothing": (None, "object[]"),
        "torch dtype": (torch.zeros(2, 3, dtype=torch.float64), "float64[2,3]"),
        "torch shape": (torch.zeros(3, 3), "float32[3,3]"),
        "torch bfloat16": (torch.zeros(2, 3, dtype=torch.bfloat16), "bfloat16[2,3]"),
        "torch meta": (torch.zeros(2, 3, device="meta"), "cannot be read as an array"),
        "torch negative": (torch._neg_view(torch.zeros(2, 3)), "cannot be read as an array"),
        "torch sparse": (torch.zeros(2, 3).to_sparse(), "cannot be read as an array"),
        "device": (Elsewhere(good), "cannot be read as an array"),
    }


@pytest.mark.parametrize("case", list(bad_inputs()))
def test_refused_inputs(switcher: Switcher, feeds: dict[str, Any], case: str) -> None:
    value, words = bad_inputs()[case]
    with pytest.raises(InputError) as caught:
        switcher.run({**feeds, X: value})
    assert words in caught.value.cause
    assert X in caught.value.cause
    assert caught.value.fix
    assert_same(switcher.run(feeds), feeds)  # and goes on


def bad_outputs() -> dict[str, Any]:
    good = np.zeros((2, 3), np.float32)
    fixed = good.copy()
    fixed.flags.writeable = False
    return {
        "dtype": good.astype(np.float64),
        "shape": np.zeros((3, 2), np.float32),
        "strided": np.zeros((3, 2), np.float32).T,
        "read-only": fixed,
        "misaligned": np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3),
        "list": [[0.0] * 3] * 2,
        "torch dtype": torch.zeros(2, 3, dtype=torch.int32),
        "torch strided": torch.zeros(3, 2).T,
        "torch negative": torch._neg_view(torch.zeros(2, 3)),
        "torch meta": torch.zeros(2, 3, device="meta"),
        "device": Elsewhere(good),
    }


@pytest.mark.parametrize("case", list(bad_outputs()))
def test_refused_outputs(switcher: Switcher, feeds: dict[str, Any], case: str) -> None:
    with pytest.raises(InputError, match="cannot take it") as caught:
        switcher.run(feeds, out={Y: bad_outputs()[case]})
    assert "float32[2,3]" in caught.value.fix


def test_wrong_names(switcher: Switcher, feeds: dict[str, Any]) -> None:
    del feeds["flag"]
    with pytest.raises(InputError, match="'flag' is missing; given: a_bfloat16"):
        switcher.run(feeds)
    feeds = typed_inputs()
    with pytest.raises(InputError, match="unknown input 'more'"):
        switcher.run({**feeds, "more": feeds[X]})
    for out in ({"more": feeds[X]}, MappingProxyType({"more": feeds[X]}), {"more": None}):
        with pytest.raises(InputError, match="unknown output 'more'"):
            switcher.run(feeds, out=out)


def test_what_is_no_mapping_is_refused(switcher: Switcher, feeds: dict[str, Any]) -> None:
    for wrong in ([feeds[X]], None, 5, feeds[X]):
        with pytest.raises(InputError, match=f"inputs is of type {type(wrong).__name__}, not a"):
            switcher.run(wrong)  # type: ignore[arg-type]
    for wrong in ([feeds[X]], 5, feeds[X]):
        with pytest.raises(InputError, match=f"out is of type {type(wrong).__name__}, not a"):
            switcher.run(feeds, out=wrong)  # type: ignore[arg-type]


def test_what_is_no_name_is_refused(typed: Path, switcher: Switcher, feeds: dict[str, Any]) -> None:
    for wrong in (0, True, -1, b"same", ["same"], 1.5):
        for call in (
            lambda wrong=wrong: switcher.run(feeds, subnet=wrong),
            lambda wrong=wrong: setattr(switcher, "current", wrong),
            lambda wrong=wrong: Switcher(typed, subnet=wrong, backend=switcher.backend),
        ):
            with pytest.raises(UsageError, match="not a name"):
                call()
    with pytest.raises(UsageError, match="None, not a name"):
        switcher.current = None  # type: ignore[assignment]
    assert_same(switcher.run(feeds, subnet="same"), feeds)


def test_outputs_need_memory_of_their_own(switcher: Switcher, feeds: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="shares memory with the input 'a_float32'"):
        switcher.run(feeds, out={Y: feeds[X]})
    tensor = torch.from_numpy(feeds[X])
    with pytest.raises(InputError, match="shares memory with the input 'a_float32'"):
        switcher.run({**feeds, X: tensor}, out={Y: tensor})
    raw = np.zeros(100, np.uint8)
    first, overlapping = raw[:24].view(np.float32), raw[20:44].view(np.int32)
    apart = raw[24:48].view(np.int32)
    out = {Y: first.reshape(2, 3), "y_a_int32": overlapping.reshape(2, 3)}
    with pytest.raises(InputError, match=r"output 'y_a_\w+' shares memory with the output 'y_a_"):
        switcher.run(feeds, out=out)
    out["y_a_int32"] = apart.reshape(2, 3)
    assert_same(switcher.run(feeds, out=out), feeds)


def test_current_outlives_closing(typed: Path, switcher: Switcher) -> None:
    assert repr(switcher) == f"<Switcher {typed} with 1 subnets, current 'same'>"
    switcher.close()
    assert switcher.current == "same"
    assert repr(switcher) == f"<Switcher {typed} with 1 subnets, closed>"


def test_given_is_the_callers_memory(feeds: dict[str, Any]) -> None:
    for name, array in feeds.items():
        tensor = as_tensor(array)
        arrays = given({name: array}, name, array.dtype, array.shape)
        assert arrays is array
        view = given({name: tensor}, name, array.dtype, array.shape)
        assert array.size == 0 or view.__array_interface__["data"][0] == tensor.data_ptr()
