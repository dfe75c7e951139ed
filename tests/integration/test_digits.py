"""The digits example, trained for a moment: that it learns, and that what it writes is usable."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hwnas.bundle import Bundle
from hwnas.compile import compile_supernet
from hwnas.supernets.protocol import SubnetModule
from hwnas.supernets.reference import load
from hwnas.supernets.sorted_vit import SortedViT

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
EPOCHS = 4


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(DIGITS / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("digits") / "out"
    done = train("--out", str(out), "--epochs", str(EPOCHS))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "progress belongs on a terminal only"
    return out, done.stdout


@pytest.fixture(scope="module")
def network(trained: tuple[Path, str]) -> SortedViT:
    found = load(f"{DIGITS / 'model.py'}:supernet", trained[0] / "weights.safetensors")
    assert isinstance(found, SortedViT)
    return found


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example's modules, imported as its scripts import them."""
    monkeypatch.syspath_prepend(DIGITS)
    import evaluate

    yield evaluate
    for name in ("evaluate", "data"):
        del sys.modules[name]


def qualities(out: Path) -> dict[str, float]:
    with (out / "quality.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["subnet", "quality"]
    return {row["subnet"]: float(row["quality"]) for row in rows}


def test_it_learns(trained: tuple[Path, str]) -> None:
    out, said = trained
    losses = re.search(rf"loss (\S+) -> (\S+) in {EPOCHS} epochs", said)
    assert losses is not None
    assert float(losses[2]) < 0.8 * float(losses[1])
    assert qualities(out)["d8-ffn256"] > 0.5, "chance is 0.1"


def test_every_subnet_is_rated_and_printed(trained: tuple[Path, str], network: SortedViT) -> None:
    out, said = trained
    rated = qualities(out)
    assert list(rated) == [subnet.name for subnet in network.space.subnets()]
    assert len(rated) == 32
    table = [line.split() for line in said.splitlines() if re.match(r"\s+\d ", line)]
    assert [[float(cell) for cell in row] for row in table] == [
        [depth, *(round(100 * rated[f"d{depth}-ffn{ffn}"], 2) for ffn in (64, 128, 192, 256))]
        for depth in range(1, 9)
    ]


def test_only_whole_files_are_left(trained: tuple[Path, str]) -> None:
    assert sorted(path.name for path in trained[0].iterdir()) == [
        "quality.csv",
        "weights.safetensors",
    ]


def test_the_split_is_fixed_stratified_and_disjoint(example: ModuleType) -> None:
    import data

    (images, labels), (held, held_labels) = data.training(), data.heldout()
    assert images.shape == (1347, 1, 8, 8)
    assert held.shape == (450, 1, 8, 8)
    assert images.dtype == held.dtype == np.float32
    assert abs(images.mean()) < 1e-5
    assert abs(images.std() - 1) < 1e-5
    shares = np.bincount(labels) / len(labels), np.bincount(held_labels) / len(held_labels)
    np.testing.assert_allclose(*shares, atol=0.003)
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in held}
    (again, _), (held_again, _) = data._splits.__wrapped__()
    assert np.array_equal(again, images)
    assert np.array_equal(held_again, held)


def test_the_written_accuracy_is_that_of_the_written_weights(
    trained: tuple[Path, str], network: SortedViT, example: ModuleType
) -> None:
    import data

    images, labels = (torch.from_numpy(array) for array in data.heldout())
    rated = qualities(trained[0])
    with torch.inference_mode():
        for name in ("d1-ffn64", "d3-ffn128", "d8-ffn256"):
            logits = SubnetModule(network, network.space.find(name))(images)
            assert (logits.argmax(1) == labels).float().mean() == pytest.approx(
                rated[name], abs=1e-5
            )


def test_a_compiled_subnet_is_as_accurate(
    trained: tuple[Path, str], network: SortedViT, example: ModuleType, tmp_path: Path
) -> None:
    part = SortedViT(replace(network.config, ffns=(64, 256), depths=(1, 2)))
    state = network.state_dict()
    part.load_state_dict({name: state[name] for name in part.state_dict()})
    bundle: Bundle = compile_supernet(part, tmp_path / "net.hwnas")
    rated = qualities(trained[0])
    for name in ("d1-ffn64", "d2-ffn256"):
        found = example.accuracy(part.space.find(name), bundle)
        # One image may change sides where two logits are almost equal.
        assert found == pytest.approx(rated[name], abs=1.5 / 450)


def test_a_wrong_number_of_epochs(tmp_path: Path) -> None:
    done = train("--epochs", "0", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "--epochs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = train("--out", str(tmp_path / "file" / "out"), "--epochs", "100000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert "Traceback" not in done.stderr
