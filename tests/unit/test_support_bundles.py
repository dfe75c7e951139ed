from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.bundle import Bundle
from tests.support.bundles import make_bundle, reference_output


def _run_chain(bundle: Bundle, name: str, image: np.ndarray) -> np.ndarray:
    subnet = bundle.manifest.space.find(name)
    program = bundle.program(subnet)
    values = {"image": image}
    options = ort.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(bundle.path)
    )
    for call in program.calls:
        block = bundle.manifest.blocks[call.unit]
        session = ort.InferenceSession(
            bundle.model(call.unit), options, providers=["CPUExecutionProvider"]
        )
        feeds = {s.name: values[v] for s, v in zip(block.inputs, call.inputs, strict=True)}
        results = session.run([spec.name for spec in block.outputs], feeds)
        values |= dict(zip(call.outputs, results, strict=True))
    return values[program.outputs["logits"]]


@pytest.mark.parametrize("name", ["d1-h8", "d2-h16", "d3-h8", "max"])
def test_blocks_compute_the_network(tmp_path: Path, name: str) -> None:
    bundle = make_bundle(tmp_path / "net.hwnas")
    image = np.random.default_rng(1).standard_normal((1, 16)).astype(np.float32)
    want = reference_output(bundle, bundle.manifest.space.find(name), image)
    np.testing.assert_allclose(_run_chain(bundle, name, image), want, rtol=1e-4, atol=1e-5)


def test_equal_layers_share_a_kind_and_prefixes_share_bytes(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "net.hwnas", depth=4, widths=(8, 16, 24))
    space = bundle.manifest.space
    assert space.count() == 12
    assert len(bundle.kinds()) == 2 + 3
    wide = bundle.weight_bytes(space.find("d4-h24"))
    assert bundle.weight_bytes(space.find("d4-h8")) < wide
    used = (bundle.path / "weights.safetensors").stat().st_size
    assert used - wide < 2000  # the header, nothing else: narrow choices store nothing


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first, second = (make_bundle(tmp_path / name) for name in ("a", "b"))
    for file in ("manifest.json", "weights.safetensors", "blocks/layers.1.h8.onnx"):
        assert first.file(file).read_bytes() == second.file(file).read_bytes()


def test_one_width_and_free_widths(tmp_path: Path) -> None:
    one = make_bundle(tmp_path / "one", depth=2, widths=(8,))
    assert [s.name for s in one.manifest.space.subnets()] == ["d1", "d2"]
    free = make_bundle(tmp_path / "free", depth=2, equal=False)
    assert free.manifest.space.count() == 2 + 4
