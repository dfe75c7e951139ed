"""A once-for-all network from torch to a bundle, and with statistics of its subnets' own."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

from hwnas.bundle import WEIGHTS, Bundle
from hwnas.cli.recalibrate import command
from hwnas.compile import compile_supernet
from hwnas.errors import HwnasError, InputError, SupernetError, UsageError
from hwnas.export import Wanted, export_bundle, export_finalised
from hwnas.export.verify import bundle_runner
from hwnas.link.norms import OwnNorms, read_norms
from hwnas.space import Subnet
from hwnas.supernets.batches import FileBatches, FunctionBatches
from hwnas.supernets.ofa import OFANet
from hwnas.supernets.protocol import SubnetModule
from hwnas.supernets.recalibrate import collect, recalibrate
from hwnas.supernets.reference import load
from hwnas.supernets.runner import torch_runner

_REFERENCE = f"{Path(__file__).parents[1] / 'data' / 'ofa_nets.py'}:small"
_SIDES = (32, 48)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # layers this small only wait for a second one
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def space_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = load(_REFERENCE)
    assert isinstance(network, OFANet)
    network.set_resolutions(_SIDES)
    path = tmp_path_factory.mktemp("ofa") / "net.hwnas"
    compile_supernet(network, path, reference=_REFERENCE)
    return path


@pytest.fixture(scope="module")
def bundle(space_bundle: Path) -> Bundle:
    return Bundle.open(space_bundle, "space")


@pytest.fixture(scope="module")
def subnets(bundle: Bundle) -> list[Subnet]:
    space, rng = bundle.manifest.space, random.Random(0)
    found = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(4))]
    return list({subnet.name: subnet for subnet in found}.values())


@pytest.fixture(scope="module")
def images() -> dict[int, NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    shift = generator.normal(size=(20, 3, 1, 1))
    return {
        side: (generator.normal(size=(20, 3, side, side)) + shift).astype(np.float32)
        for side in _SIDES
    }


@pytest.fixture
def data(tmp_path: Path, images: dict[int, NDArray[np.float32]]) -> Path:
    path = tmp_path / "images.npz"
    np.savez(path, **{f"image@{side}": array for side, array in images.items()})
    return path


def _feeds(bundle: Bundle, subnet: Subnet) -> dict[str, Any]:
    (spec,) = bundle.inputs(subnet)
    return {"image": np.random.default_rng(1).normal(size=spec.shape).astype(np.float32)}


def _with_own(network: OFANet, subnet: Subnet, norms: dict[str, Any]) -> SubnetModule:
    """The subnet in torch, its batch norms holding ``norms``."""
    module = SubnetModule(network, subnet)
    for unit, block in zip(subnet.blocks, module.blocks, strict=True):
        for name, norm in block.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                for part in ("running_mean", "running_var"):
                    own = torch.from_numpy(norms[f"{unit}/{name}.{part}"])
                    setattr(norm, part, own)
    return module.eval()


def test_shipped_subnets_compute_what_torch_computes(
    bundle: Bundle, subnets: list[Subnet], tmp_path: Path
) -> None:
    fresh = load(_REFERENCE)
    for tensor in fresh.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(0.25)  # all that runs comes from the bundle, smaller kernels too
    reference = torch_runner(fresh, bundle)
    export_bundle(bundle, [Wanted(subnet) for subnet in subnets], tmp_path / "out")
    shipped = bundle_runner(tmp_path / "out")
    trained = load(_REFERENCE)
    assert isinstance(trained, OFANet)
    trained.set_resolutions(_SIDES)
    for subnet in subnets:
        feeds = _feeds(bundle, subnet)
        found = shipped(subnet, feeds)["logits"]
        np.testing.assert_allclose(found, reference(subnet, feeds)["logits"], atol=1e-5)
        with torch.inference_mode():
            expected = SubnetModule(trained, subnet)(torch.from_numpy(feeds["image"]))
        assert isinstance(expected, torch.Tensor)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_weights_are_stored_once_whatever_resolution(bundle: Bundle) -> None:
    stored = load_file(bundle.file(WEIGHTS))
    trained = load(_REFERENCE).state_dict()
    names = [name for name in stored if not name.startswith("content.")]
    assert "blocks.1.conv.depth_conv.conv.kernel3" in names
    for name in names:
        assert stored[name].shape == trained[name].shape
    # What is cut across rows, the inputs of 1x1 convolutions, is the only thing stored twice.
    copied = sum(stored[name].nbytes for name in stored.keys() - set(names))
    cut = sum(t.numel() * 4 for n, t in trained.items() if "point_linear.conv" in n or ".fc." in n)
    assert copied < cut


def test_recalibrated_subnets_ship_over_shared_weights(
    space_bundle: Path, bundle: Bundle, subnets: list[Subnet], data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "norms.safetensors"
    chosen = [word for subnet in subnets for word in ("--subnet", subnet.name)]
    words = [space_bundle, "--supernet", _REFERENCE, "--data", data, "--batch", "8", "-o", path]
    _call(*words, *chosen)
    norms = read_norms(path)
    assert norms.keys() == {subnet.name for subnet in subnets}
    own = [Wanted(subnet, norms=OwnNorms(norms[subnet.name])) for subnet in subnets]
    made = export_finalised(bundle, own, tmp_path / "own")
    plain = export_finalised(bundle, [Wanted(s) for s in subnets], tmp_path / "plain")
    network = load(_REFERENCE)
    assert isinstance(network, OFANet)
    network.set_resolutions(_SIDES)
    shipped, common = bundle_runner(tmp_path / "own"), bundle_runner(tmp_path / "plain")
    for subnet in subnets:
        feeds = _feeds(bundle, subnet)
        with torch.inference_mode():
            module = _with_own(network, subnet, norms[subnet.name])
            expected = module(torch.from_numpy(feeds["image"]))
        assert isinstance(expected, torch.Tensor)
        found = shipped(subnet, feeds)["logits"]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
        assert np.abs(common(subnet, feeds)["logits"] - found).max() > 1e-2
    # A scale and a shift for each channel is all that a subnet has of its own.
    statistics = sum(array.nbytes for found in norms.values() for array in found.values())
    sizes = [b.manifest.weights.bytes for b in (made, plain)]
    assert sizes[0] < sizes[1] + 1.5 * statistics


def test_the_command_says_what_it_did(
    space_bundle: Path,
    bundle: Bundle,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "norms.safetensors"
    words = (space_bundle, "--subnet", "max", "--data", data, "--supernet", _REFERENCE, "-o", path)
    _call(*words, "--images", "8", "--format", "json")
    said = json.loads(capsys.readouterr().out)
    largest = bundle.manifest.space.largest()
    assert said["norms"] == {largest.name: 10} and said["images"] == 8
    assert said["next"].startswith("hwnas export ") and "--norms" in said["next"]
    with safe_open(path, "np") as file:
        assert file.metadata()["images"] == "8"
    function = tmp_path / "few.py"
    function.write_text(
        "import numpy as np\n"
        "def few(subnet, bundle):\n"
        "    yield np.random.default_rng(0).normal(size=(5, 3, 48, 48)).astype('f4')\n"
    )
    _call(*words, "--data", f"{function}:few")
    assert "from 5 images each" in capsys.readouterr().out.splitlines()[-1]


def test_statistics_are_for_the_weights_that_they_were_collected_over(
    space_bundle: Path, data: Path, tmp_path: Path
) -> None:
    path, other = tmp_path / "norms.safetensors", tmp_path / "other.hwnas"
    words = (space_bundle, "--subnet", "min", "--data", data, "--supernet", _REFERENCE, "-o", path)
    _call(*words)
    network = load(_REFERENCE)
    assert isinstance(network, OFANet)
    network.set_resolutions(_SIDES)
    with torch.no_grad():
        network.get_parameter("classifier.linear.bias").add_(1)
    second = compile_supernet(network, other)
    assert read_norms(path, Bundle.open(space_bundle)).keys() == read_norms(path).keys()
    with pytest.raises(InputError, match="over other weights"):
        read_norms(path, second)


def _call(*words: object) -> None:
    try:
        command.main([str(word) for word in words], standalone_mode=False)
    except click.UsageError as error:
        raise AssertionError(error.message) from error


def _statistics(bundle: Bundle, batches: Any) -> dict[str, Any]:
    return recalibrate(load(_REFERENCE), bundle, [bundle.manifest.space.smallest()], batches)


def test_data_of_every_form_gives_the_same_statistics(
    bundle: Bundle, data: Path, images: dict[int, NDArray[np.float32]]
) -> None:
    def arrays(subnet: Subnet, source: Bundle) -> Iterator[Any]:
        batch = images[source.inputs(subnet)[0].shape[-1]]
        yield batch[:8]
        yield {"image": torch.from_numpy(batch[8:16])}
        yield (batch[16:],)
        raise AssertionError("20 images were enough")

    expected = _statistics(bundle, FileBatches(data, bundle, 8, 2000))
    found = _statistics(bundle, FunctionBatches(arrays, "arrays", bundle, 20))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name])


def test_images_are_resized(
    bundle: Bundle, images: dict[int, NDArray[np.float32]], tmp_path: Path
) -> None:
    large = np.repeat(np.repeat(images[32], 2, axis=2), 2, axis=3)
    np.savez_compressed(tmp_path / "large.npz", image=large)
    (batch,) = FileBatches(tmp_path / "large.npz", bundle, 20, 20)(bundle.manifest.space.smallest())
    assert batch[0].shape == (20, 3, 32, 32)
    # Halved with antialiasing, doubled pixels come out as a blur of what they were.
    blurred = nn.functional.interpolate(
        torch.from_numpy(large), (32, 32), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(batch[0], blurred)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 3, 32, 32), np.float32)}, "no array 'image'"),
        ({"image": np.zeros((4, 3, 32, 32))}, "float64"),
        ({"image": np.zeros((4, 1, 32, 32), np.float32)}, r"shape \[1, 32, 32\]"),
        ({"image": np.zeros((0, 3, 32, 32), np.float32)}, "empty"),
        ({"image": np.zeros((3, 32, 32), np.float32)}, r"\[3, 32, 32\]"),
        ({"image": np.array([object()])}, "objects"),
        ({"image": np.full((4, 3, 32, 32), np.nan, np.float32)}, "not finite"),
        ({"image@32": np.ones((4, 3, 2, 32), np.float32), "image": np.ones(3)}, "lengths"),
        ({"image": np.full((4, 3, 32, 32), np.inf, ">f4")}, "not finite"),
    ],
)
def test_data_that_does_not_fit(
    bundle: Bundle, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InputError, match=message):
        _statistics(bundle, FileBatches(tmp_path / "data.npz", bundle, 4, 4))


def test_damaged_data(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04nothing", data.read_bytes()[:-100]):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"damaged\.npz"):
            FileBatches(tmp_path / "damaged.npz", bundle, 4, 4)
    with pytest.raises(InputError, match="does not exist"):
        FileBatches(tmp_path / "none.npz", bundle, 4, 4)
    with zipfile.ZipFile(tmp_path / "vast.npz", "w") as archive, archive.open("image", "w") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": (9, 3, 2**40, 2**40)}
        np.lib.format.write_array_header_1_0(out, header)
    with pytest.raises(InputError, match="ends within image"):
        _statistics(bundle, FileBatches(tmp_path / "vast.npz", bundle, 4, 4))
    locked = bytearray(data.read_bytes())
    for begin, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(begin) + flags] |= 1  # says that it is encrypted
    (tmp_path / "locked.npz").write_bytes(locked)
    with pytest.raises(InputError, match=r"cannot be read: .*encrypted"):
        FileBatches(tmp_path / "locked.npz", bundle, 4, 4)
    flipped = bytearray(data.read_bytes())
    flipped[2000] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    batches = FileBatches(tmp_path / "flipped.npz", bundle, 20, 20)
    with pytest.raises(InputError, match="damaged"):
        _statistics(bundle, batches)


def test_functions_that_give_nothing_or_fail(bundle: Bundle) -> None:
    def fails(subnet: Subnet, source: Bundle) -> Iterator[Any]:
        raise ValueError("no disk")
        yield

    for function, message in (
        (lambda *_: [], "no images"),
        (lambda *_: [{"pixels": 1}], "gives no image"),
        (lambda *_: [(1, 2)], "gives 2 values"),
        (fails, "no disk"),
        (lambda *_: None, "gives a NoneType, not batches"),
        (lambda *_: [torch.ones(4, 3, 32, 32, dtype=torch.bfloat16)], "is no array"),
        (lambda *_: [{"image": [[1.0], [1.0, 2.0]]}], "is no array"),
    ):
        with pytest.raises(HwnasError, match=message):
            _statistics(bundle, FunctionBatches(function, "fn", bundle, 10))


def test_a_batch_without_variance_is_refused() -> None:
    network = load(_REFERENCE)
    assert isinstance(network, OFANet)
    network.set_resolutions((32,))
    images = torch.ones(2, 3, 4, 4)  # one pixel is left for the last layers
    subnet = network.space.smallest()
    with pytest.raises(InputError, match=r"depth_conv\.bn sees 1 value per channel"):
        collect(network, [subnet], lambda _: [(images[:1],)])
    assert collect(network, [subnet], lambda _: [(images,)])
    assert not any(module.training for module in network.modules())


def test_a_bundle_names_no_code_to_run(space_bundle: Path, data: Path, tmp_path: Path) -> None:
    words = (space_bundle, "--subnet", "max", "--data", data, "-o", tmp_path / "norms.safetensors")
    with pytest.raises(UsageError, match=r"ofa_nets\.py:small"):
        _call(*words)
    with pytest.raises(SupernetError, match="not the one"):
        _call(*words, "--supernet", "ofa:mbv3-w1.0")
    assert list(tmp_path.glob("norms*")) == []
