"""The native backend: the same results as the Python one, in place, and without its imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas import errors
from hwnas.errors import UnknownName, UsageError
from hwnas.runtime import Switcher, arrays, native
from hwnas.runtime.inputs import random_inputs
from tests.support.backends import need
from tests.support.typed import make_typed_bundle, typed_inputs


@pytest.fixture
def built() -> None:
    need("native")


def python(code: str, *arguments: str | Path, **env: str) -> str:
    """Run ``code`` in a new interpreter; returns its output, of which none may be an error."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.usefixtures("built")
def test_backends_agree_to_the_bit(shipped: Path) -> None:
    with Switcher(shipped, backend="native") as one, Switcher(shipped, backend="python") as two:
        assert one.current == two.current
        assert [*one.subnets] == [*two.subnets]
        for seed in range(3):
            feeds = random_inputs(one.inputs, seed)
            for name in one.subnets:
                got, wanted = (s.run(feeds, subnet=name)["logits"] for s in (one, two))
                assert got.tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("built")
def test_opens_and_runs_without_heavy_imports(shipped: Path) -> None:
    code = """
        import sys
        import numpy as np
        from hwnas.runtime import Switcher
        switcher = Switcher(sys.argv[1])
        (spec,) = switcher.inputs
        switcher.run({spec.name: np.zeros(spec.shape, spec.dtype)})
        heavy = {"onnx", "onnxruntime", "torch", "click", "rich"} & set(sys.modules)
        print(switcher.backend, sorted(heavy))
    """  # the switcher stays open to the end, which is no reason to print anything either
    assert python(code, shipped, HWNAS_BACKEND="auto") == "native []\n"


@pytest.mark.usefixtures("built")
def test_numpy_and_torch_go_in_and_out_without_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions that could copy are never asked."""

    def copying(*_: Any) -> None:
        raise AssertionError("went through Python")

    feeds: dict[str, Any] = typed_inputs()
    tensors = {n: torch.from_numpy(a) for n, a in feeds.items() if a.dtype.name != "bfloat16"}
    with Switcher(make_typed_bundle(tmp_path / "typed"), backend="native") as switcher:
        monkeypatch.setattr(arrays, "given", copying)
        monkeypatch.setattr(arrays, "taken", copying)
        out = switcher.run(feeds)
        switcher.run(feeds, out=out)
        del tensors["nothing"]  # has no memory to point at
        if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
            pytest.skip("this torch has no C exchange; its tensors pass through NumPy's views")
        targets = {f"y_{name}": torch.zeros_like(tensor) for name, tensor in tensors.items()}
        switcher.run({**feeds, **tensors}, out=targets)
        assert all(torch.equal(targets[f"y_{name}"], tensors[name]) for name in tensors)


@pytest.mark.usefixtures("built")
def test_other_threads_run_meanwhile(shipped: Path) -> None:
    """A thread that never gives up Python's lock by time alone lets others in while it runs."""
    interval = sys.getswitchinterval()
    done = threading.Event()
    with Switcher(shipped, backend="native") as switcher:
        feeds = random_inputs(switcher.inputs, 0)

        def serve() -> None:
            for _ in range(2000):
                switcher.run(feeds)
            done.set()

        thread = threading.Thread(target=serve)
        sys.setswitchinterval(100)
        try:
            thread.start()
            turns = 0
            while not done.is_set():
                turns += 1
                time.sleep(0)
        finally:
            sys.setswitchinterval(interval)
            thread.join()
    assert turns > 10


@pytest.mark.usefixtures("built")
def test_inputs_live_until_the_run_ends(shipped: Path) -> None:
    """Another thread may drop the caller's arrays while a run reads them."""
    with Switcher(shipped, backend="native") as switcher:
        (spec,) = switcher.inputs
        wanted = switcher.run({spec.name: np.ones(spec.shape, np.float32)})["logits"].tobytes()
        feeds = {spec.name: np.ones(spec.shape, np.float32)}
        stop = threading.Event()

        def replace() -> None:
            while not stop.is_set():
                feeds[spec.name] = np.ones(spec.shape, np.float32)

        thread = threading.Thread(target=replace)
        thread.start()
        results = {switcher.run(feeds)["logits"].tobytes() for _ in range(2000)}
        stop.set()
        thread.join()
    assert results == {wanted}


@pytest.mark.usefixtures("built")
def test_daemon_threads_may_run_when_the_interpreter_ends(shipped: Path) -> None:
    code = """
        import sys, threading, time
        import numpy as np
        from hwnas.runtime import Switcher
        switcher = Switcher(sys.argv[1], backend="native")
        (spec,) = switcher.inputs
        feeds = {spec.name: np.zeros(spec.shape, spec.dtype)}
        def serve():
            while True:
                switcher.run(feeds)
        for _ in range(4):
            threading.Thread(target=serve, daemon=True).start()
        time.sleep(0.2)
    """
    assert python(code, shipped) == ""


@pytest.mark.usefixtures("built")
def test_errors_may_hold_what_is_not_utf8(shipped: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        shutil.copytree(os.fsencode(shipped), folder)
    except OSError as problem:
        pytest.skip(f"this file system's names are UTF-8: {problem}")
    path = Path(os.fsdecode(folder)) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(errors.BundleError, match=r"caf\\xe9/weights.safetensors was altered"):
        Switcher(os.fsdecode(folder), backend="native")
    for name in ("\u00e9" * 150, "x" + "\u00e9" * 150):  # longer than a message quotes
        with pytest.raises(UnknownName, match="\u00e9" * 90):
            native.open_native(shipped, subnet=name, threads=1, verify=True)


@pytest.mark.usefixtures("built")
def test_both_readers_must_have_read_the_same(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_typed_bundle(tmp_path / "typed")

    def replaced(path: Path, *, subnet: str, threads: int, verify: bool) -> Any:
        return native.open_native(other, subnet="same", threads=threads, verify=verify)

    monkeypatch.setattr("hwnas.runtime.switcher.open_native", replaced)
    with pytest.raises(errors.BundleError, match="was replaced while it was opened"):
        Switcher(shipped, backend="native")


@pytest.mark.usefixtures("built")
def test_current_by_number_and_name(shipped: Path) -> None:
    opened = native.open_native(shipped, subnet="d1-ffn32", threads=1, verify=True)
    assert opened.current == "d1-ffn32"
    assert opened.runtime_version.split(".")[0] == "1"
    for i, name in enumerate(opened.subnets):
        opened.current = i
        assert opened.current == name
        opened.current = name
        assert opened.current == name
    for wrong in (-1, 6, 10**30, "d9"):
        with pytest.raises(UnknownName):
            opened.current = wrong
    with pytest.raises(TypeError):
        opened.current = []  # type: ignore[assignment]
    assert opened.current == opened.subnets[-1]
    opened.close()
    assert opened.closed


def test_codes_are_the_tree_of_errors() -> None:
    kinds = {
        1: errors.UsageError,
        2: errors.BundleError,
        3: errors.NewerSchema,
        4: errors.UnsafePath,
        5: errors.OtherMachine,
        6: errors.UnknownName,
        7: errors.InputError,
        8: errors.HwnasError,
        10: errors.HwnasError,
    }
    for code, kind in kinds.items():
        found = native.error(code, "cause", "fix")
        assert type(found) is kind
        assert str(found) == "cause\n  fix: fix"
    found = native.error(9, "cause", "fix")
    assert type(found) is MemoryError
    assert str(found) == "cause; fix"


def test_what_is_missing_is_said(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWNAS_BACKEND", raising=False)
    monkeypatch.setattr("hwnas.runtime._native.has_switcher", False)
    assert "built without" in (native.native_missing() or "")
    with pytest.raises(UsageError, match="built without") as caught:
        Switcher(shipped, backend="native")
    assert "headers" in caught.value.fix
    with Switcher(shipped) as switcher:
        assert switcher.backend == "python"
    monkeypatch.setattr("hwnas.runtime._native.has_switcher", True)
    monkeypatch.setattr(native, "runtime_library", lambda: None)
    assert "HWNAS_ONNXRUNTIME" in (native.native_missing() or "")
    monkeypatch.setitem(sys.modules, "hwnas.runtime._native", None)
    monkeypatch.delattr("hwnas.runtime._native", raising=False)
    assert "cannot be loaded" in (native.native_missing() or "")


def test_the_library_is_the_environments_or_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HWNAS_ONNXRUNTIME", raising=False)
    found = native.runtime_library()
    assert found is not None
    assert found.name.startswith("libonnxruntime.so")
    mine = tmp_path / "libonnxruntime.so"
    monkeypatch.setenv("HWNAS_ONNXRUNTIME", str(mine))
    with pytest.raises(UsageError, match="not a file"):
        native.runtime_library()
    mine.touch()
    assert native.runtime_library() == mine


def test_backends_are_chosen_by_name(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_BACKEND", "python")
    with Switcher(shipped) as switcher:
        assert switcher.backend == "python"
    monkeypatch.setenv("HWNAS_BACKEND", "pyhton")
    with pytest.raises(UnknownName, match=r"backend in HWNAS_BACKEND 'pyhton'\n.*'python'"):
        Switcher(shipped)
    with Switcher(shipped, backend="python") as switcher:  # what the code says comes first
        assert switcher.backend == "python"
    with pytest.raises(UnknownName, match="'cuda'"):
        Switcher(shipped, backend="cuda")


@pytest.mark.usefixtures("built")
def test_a_library_that_is_none_is_an_error(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "libonnxruntime.so"
    mine.write_bytes(b"not a library")
    monkeypatch.setenv("HWNAS_ONNXRUNTIME", str(mine))
    with pytest.raises(errors.HwnasError, match="libonnxruntime"):
        Switcher(shipped, backend="native")
