"""Fixtures that many tests share: a small supernet, its compiled bundle, an exported one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

NETS = Path(__file__).parent / "data" / "nets.py"


@pytest.fixture(scope="session")
def tiny_reference() -> str:
    """Reference of a sorted ViT: depth 1 to 3, two widths, 8x8 images."""
    return f"{NETS}:tiny"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_reference: str) -> Path:
    """A compiled bundle of six subnets. Read only: copy it before changing it."""
    from hwnas.compile import compile_supernet
    from hwnas.supernets.reference import load

    path = tmp_path_factory.mktemp("tiny") / "net.hwnas"
    compile_supernet(load(tiny_reference), path, reference=tiny_reference)
    return path


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """All six subnets as a switchable bundle. Read only: copy it before changing it."""
    from hwnas.bundle import Bundle
    from hwnas.export import Wanted, export_bundle

    path = tmp_path_factory.mktemp("shipped") / "out"
    source = Bundle.open(tiny_bundle, "space")
    export_bundle(source, [Wanted(s) for s in source.manifest.space.subnets()], path)
    return path
