"""Finalising what an optimiser leaves behind, folds away or cannot cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hwnas.bundle import Bundle
from hwnas.cli.main import cli
from hwnas.compile import compile_supernet
from hwnas.errors import InputError
from hwnas.export import Wanted, export_finalised, export_onnx
from hwnas.export.verify import bundle_runner, onnx_runner, verify
from hwnas.link.norms import OwnNorms
from hwnas.supernets.reference import load

NETS = Path(__file__).parents[1] / "data" / "odd_nets.py"


def compiled(name: str, folder: Path) -> Bundle:
    return compile_supernet(load(f"{NETS}:{name}"), folder / "net.hwnas")


def check(source: Bundle, items: list[Wanted], folder: Path) -> Bundle:
    made = export_finalised(source, items, folder / "out")
    folded = [
        Wanted(i.subnet, norms=i.norms and OwnNorms(i.norms.tensors, "folded")) for i in items
    ]
    export_onnx(source, folded, folder / "onnx")
    artifact = ("bundle", bundle_runner(folder / "out"))
    subnets = [item.subnet for item in items]
    references = {"onnx": onnx_runner(folder / "onnx")}
    for record in verify(subnets, source.inputs, artifact, references):
        assert record.max_abs_diff <= 2e-6 * max(1.0, record.scale)
    return made


@pytest.mark.parametrize("name", ["Unread", "ConstantOutput", "MixedWidths"])
def test_odd_networks_are_finalised_right(name: str, tmp_path: Path) -> None:
    source = compiled(name, tmp_path)
    made = check(source, [Wanted(s) for s in source.manifest.space.subnets()], tmp_path)
    assert all(segment.outputs for segment in made.manifest.segments.values())


def test_what_is_cut_and_what_is_not_is_recorded(tmp_path: Path) -> None:
    source = compiled("MixedWidths", tmp_path)
    items = [Wanted(s) for s in source.manifest.space.subnets()]
    link = export_finalised(source, items, tmp_path / "out").manifest.provenance["link"]
    assert [name.split("/")[0] for name in link["rings"]] == ["mlp.0"]
    assert {name.split("/")[0] for name in link["whole_widths"]} == {"mlp.1"}
    words = ["--subnet", "w16", "--subnet", "w32", "--finalise", "-o", str(tmp_path / "again")]
    found = CliRunner().invoke(cli, ["export", str(source.path), *words])
    assert found.exit_code == 0, found.output
    assert "each width keeps its own copy of mlp.1/" in found.output


def statistics(variance: float, units: list[str]) -> dict[str, np.ndarray]:
    return {
        f"{unit}/1.running_{what}": np.full(8, value, np.float32)
        for unit in units
        for what, value in (("mean", 0.5), ("var", variance))
    }


def test_statistics_over_one_dimensional_convolutions(tmp_path: Path) -> None:
    source = compiled("Convs1d", tmp_path)
    items = []
    for subnet in source.manifest.space.subnets():
        own = statistics(2.0, [f"{slot}/base" for slot in subnet.choices])
        items.append(Wanted(subnet, norms=OwnNorms(own)))
    made = check(source, items, tmp_path)
    assert made.manifest.provenance["link"]["norms"] == {"d1": "shared", "d2": "shared"}
    assert made.entry("d1").kind != source.subnet_kind(items[0].subnet)


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    source = compiled("Convs1d", tmp_path)
    own = OwnNorms(statistics(-1.0, ["body.0/base"]))
    with pytest.raises(InputError, match="negative variance"):
        export_finalised(
            source, [Wanted(source.manifest.space.find("d1"), norms=own)], tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    source = compiled("Unread", tmp_path)
    code = (
        "import sys, time, hwnas.link.finalise as f\n"
        "from hwnas.cli.main import main\n"
        "def slow(*a, **k):\n"
        "    print('linking', flush=True)\n"
        "    time.sleep(60)\n"
        "f.optimise = slow\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-P", "-c", code, "export", str(source.path)]
    command += ["--subnet", "d2", "--finalise", "-o", str(tmp_path / "place" / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"linking\n"
        time.sleep(0.1)
        os.kill(process.pid, number)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert list((tmp_path / "place").iterdir()) == []
