from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas import plugins
from hwnas.errors import HwnasError, UnknownName, UsageError
from hwnas.profile import load_profiler, load_target
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture


def test_built_in_ones_come_through_entry_points() -> None:
    assert plugins.names(plugins.PROFILERS)["onnxruntime"] == "hwnas"
    assert plugins.names(plugins.TARGETS)["local"] == "hwnas"


def test_asking_for_the_profiler_does_not_import_its_runtime() -> None:
    code = "import sys; from hwnas.profile import load_profiler, load_target; "
    code += "load_profiler('onnxruntime'); load_target('cpu'); "
    code += "sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_a_strangers_are_found(example_plugins: Path) -> None:  # noqa: F811
    assert plugins.names(plugins.PROFILERS)["faulty"] == "hwnas-example"
    assert load_profiler("faulty").name == "faulty"
    assert plugins.names(plugins.TARGETS)["nice"] == "hwnas-example"
    assert load_target("nicely").descriptor.kind == "nice"


def test_unknown_names_list_the_known_ones(example_plugins: Path) -> None:  # noqa: F811
    with pytest.raises(UnknownName, match=r"onnxruntime \(from hwnas\)") as caught:
        load_profiler("onnxrt")
    assert "faulty (from hwnas-example)" in str(caught.value)
    with pytest.raises(UnknownName, match="gpu") as caught:
        load_target("gpu")
    assert "cpu" in caught.value.fix and "nicely" in caught.value.fix


def test_two_distributions_with_one_name_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "rival-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hwnas.targets]\nlocal = rival:Local\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="registered more than once") as caught:
        load_target("cpu")
    assert "hwnas gives" in str(caught.value) and "rival gives" in str(caught.value)


def test_what_cannot_be_imported_is_named(example_plugins: Path) -> None:  # noqa: F811
    with pytest.raises(HwnasError, match="hwnas-example cannot be imported"):
        load_profiler("unimportable")


def test_what_is_not_a_profiler_is_named(example_plugins: Path) -> None:  # noqa: F811
    with pytest.raises(HwnasError, match=r"'unfinished'.* lacks prepare, load"):
        load_profiler("unfinished")


def test_a_kind_that_nobody_brings_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text('schema_version = 1\nname = "odd"\nkind = "odd"\n')
    with pytest.raises(UnknownName, match="odd") as caught:
        load_target(str(file))
    assert "local (from hwnas)" in caught.value.fix
