from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.bundle import Bundle
from hwnas.compile import compile_supernet
from hwnas.compile.onnx_export import export_block
from hwnas.compile.resize import resize
from hwnas.compile.structure import structure
from hwnas.compile.trace import trace
from hwnas.errors import SignatureError, SupernetError, UsageError
from hwnas.graphs import graph_kind, parse_model
from hwnas.link import whole
from hwnas.runtime.session import open_model, open_session
from hwnas.space import Dimension, Slot, Space
from hwnas.supernets.protocol import SubnetModule
from hwnas.supernets.reference import load
from hwnas.supernets.resolution import set_resolutions
from hwnas.supernets.runner import load_weights_of

NETS = Path(__file__).parents[1] / "data" / "elastic_nets.py"


@pytest.mark.parametrize("name", ["resolutions", "widths"])
def test_each_subnet_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    supernet = load(f"{NETS}:{name}")
    bundle = compile_supernet(supernet, tmp_path / "net")
    assert bundle.manifest.schema_version == 3
    for subnet in bundle.manifest.space.subnets():
        at = bundle.manifest.space.parts(subnet).dimensions
        examples = supernet.example_inputs(at)  # type: ignore[call-arg]
        feeds = {
            k: np.random.default_rng(0).normal(size=v.shape).astype("f4")
            for k, v in examples.items()
        }
        assert {s.name: s.shape for s in bundle.inputs(subnet)} == {
            k: v.shape for k, v in feeds.items()
        }
        model = whole(bundle, subnet)
        session = open_model(model.SerializeToString(), str(bundle.path), subnet.name, shared=False)
        got = session.run(None, feeds)
        with torch.inference_mode():
            result = SubnetModule(supernet, subnet).eval()(*map(torch.from_numpy, feeds.values()))
        wanted = result if isinstance(result, tuple) else (result,)
        for spec, array, tensor in zip(bundle.outputs(subnet), got, wanted, strict=True):
            np.testing.assert_allclose(array, tensor.numpy(), atol=1e-5)
            assert spec.shape == array.shape


def test_resolutions_share_weights_but_not_kinds(tmp_path: Path) -> None:
    bundle = compile_supernet(load(f"{NETS}:resolutions"), tmp_path / "net")
    blocks = bundle.manifest.blocks
    assert blocks["stem/r8"].weights == blocks["stem/r16"].weights
    assert blocks["stem/r8"].kind != blocks["stem/r16"].kind
    assert "head/base" in blocks
    assert blocks["pool/r8"].outputs == blocks["pool/r16"].outputs
    assert Bundle.open(bundle.path, "space").manifest.inputs[0].shape == (1, 3, 16, 16)


class Mobile(nn.Module):
    """Depthwise convolutions of two widths and kernels: sizes that show in attributes as well."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 8), (5, 8), (3, 16), (5, 16)]
        self.nets = nn.ModuleDict(
            {
                f"k{k}c{c}": nn.Sequential(
                    nn.Conv2d(4, c, 1, bias=False),
                    nn.BatchNorm2d(c),
                    nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False),
                    nn.Hardswish(),
                    nn.Conv2d(c, 4, 1),
                )
                for k, c in sizes
            }
        )
        self.space = Space(slots=(Slot(name="a", choices=tuple(self.nets)),))

    def example_inputs(self) -> Mapping[str, torch.Tensor]:
        return {"x": torch.ones(1, 4, 9, 9)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return self.nets[choice].eval()


def test_a_graph_made_from_another_is_what_its_own_export_is() -> None:
    supernet = Mobile()
    _, blocks = trace(supernet)
    keys = {b.choice: structure(b.module, b.inputs, ("x",)) for b in blocks}
    assert keys["k3c8"] == keys["k3c16"] != keys["k5c8"] == keys["k5c16"]
    own = {b.choice: export_block(b.id, b.module, b.inputs, ("x",)) for b in blocks}
    of = {b.choice: b for b in blocks}
    made = resize(own["k3c8"], of["k3c16"])
    assert made is not None and made.resized
    kinds = [graph_kind(parse_model(m.model, "a")) for m in (made, own["k3c16"], own["k3c8"])]
    assert kinds[0] == kinds[1] != kinds[2]
    assert made.sources == own["k3c16"].sources


class Odd(nn.Module):
    """Scales by its input's size: graphs at two resolutions differ in more than shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space(
            slots=(Slot(name="a", dimensions=("r",)),),
            dimensions=(Dimension(name="r", values=(4, 6)),),
        )

    def example_inputs(self, at: Mapping[str, int]) -> Mapping[str, torch.Tensor]:
        return {"x": torch.ones(1, at["r"])}

    def block(self, slot: str, choice: str) -> nn.Module:
        return _Scale()


class _Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.shape[1]


def test_a_graph_that_cannot_be_made_from_another_is_exported_on_its_own(tmp_path: Path) -> None:
    bundle = compile_supernet(Odd(), tmp_path / "net")
    for size in (4, 6):
        subnet = bundle.manifest.space.compose({"r": size})
        model = whole(bundle, subnet).SerializeToString()
        session = open_model(model, str(bundle.path), "a", shared=False)
        assert session.run(None, {"x": np.ones((1, size), "f4")})[0].tolist() == [[size] * size]


class _Capped(nn.Module):
    """What its example never reaches depends on a size, and so does what is too small to tell."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(max=100.0 * x.shape[1]) * 1e-6 / x.shape[1]


class _Spread(nn.Module):
    """The exporter works a constant out from a size that no call names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1e-3 * x.var(1, keepdim=True)


@pytest.mark.parametrize("block", [_Capped, _Spread])
def test_constants_made_of_sizes_are_each_blocks_own(tmp_path: Path, block: type) -> None:
    supernet = Odd()
    supernet.block = lambda slot, choice: block()  # type: ignore[method-assign]
    bundle = compile_supernet(supernet, tmp_path / "net")
    for size in (4, 6):
        feeds = np.arange(size, dtype="f4")[None] * 1000
        session = open_session(bundle, f"a/r{size}", shared=False)
        wanted = block()(torch.from_numpy(feeds)).numpy()
        np.testing.assert_allclose(session.run(None, {"x": feeds})[0], wanted, rtol=1e-5)


def test_weights_in_another_memory_format_are_found_again(tmp_path: Path) -> None:
    supernet, fresh = (load(f"{NETS}:resolutions") for _ in range(2))
    assert isinstance(supernet, nn.Module)
    supernet.to(memory_format=torch.channels_last)
    with torch.no_grad():
        supernet.get_parameter("stem.weight").mul_(2)
    assert not supernet.state_dict()["stem.weight"].is_contiguous()
    load_weights_of(fresh, compile_supernet(supernet, tmp_path / "net"))
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name


def test_convolutions_without_a_bias_have_none() -> None:
    supernet = Mobile()
    _, blocks = trace(supernet)
    block = next(b for b in blocks if b.choice == "k3c8")
    model = parse_model(export_block(block.id, block.module, block.inputs, ("x",)).model, "a")
    assert [len(n.input) for n in model.graph.node if n.op_type == "Conv"] == [2, 2, 3]


class Misfit(nn.Module):
    """The second slot takes what the first gives at the largest width alone."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleDict({f"w{w}": nn.Linear(4, w) for w in (2, 8)})
        self.down = nn.Linear(8, 4)
        self.space = Space(
            slots=(Slot(name="up", dimensions=("w",)), Slot(name="down")),
            dimensions=(Dimension(name="w", values=(2, 8)),),
        )

    def example_inputs(self, at: Mapping[str, int]) -> Mapping[str, torch.Tensor]:
        return {"x": torch.ones(1, 4)}

    def block(self, slot: str, choice: str) -> nn.Module:
        return self.down if slot == "down" else self.up[choice]


def test_a_slot_that_forgets_a_dimension_is_found(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="'down/base' takes"):
        compile_supernet(Misfit(), tmp_path / "net")
    assert not (tmp_path / "net").exists()


class Chosen(Odd):
    def set_resolutions(self, values: tuple[int, ...]) -> None:
        kept = tuple(v for v in values if v < 100)
        dimension = Dimension(name="r", values=kept)
        self.space = self.space.model_copy(update={"dimensions": (dimension,)})


def test_resolutions_can_be_chosen_where_the_network_lets_one() -> None:
    supernet = Chosen()
    set_resolutions(supernet, (8, 3, 8))
    assert supernet.space.dimensions[0].values == (3, 8)
    with pytest.raises(UsageError, match="one resolution"):
        set_resolutions(Odd(), (8,))
    with pytest.raises(SupernetError, match="left the resolutions"):
        set_resolutions(supernet, (8, 300))
