"""``hwnas export PORTABLE --also``: a portable bundle's own subnets may be named, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.cli.main import main
from hwnas.export import Wanted, export_bundle
from tests.support.bundles import make_bundle

NAMES = [f"d2-layers.0.h{a}-layers.1.h{b}" for a, b in ((8, 8), (16, 16), (16, 8), (8, 16))]
"""What the first three compute covers the last one."""


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    source = make_bundle(tmp_path / "net", depth=2, widths=(8, 16), equal=False)
    wanted = [Wanted(source.subnet(name), 0.5, {"p50_ms": 1.0}) for name in NAMES]
    export_bundle(source, wanted, tmp_path / "portable")
    return tmp_path / "portable"


def export(portable: Path, *also: str) -> int:
    words = ["export", str(portable), "--finalise", "-o", str(portable.parent / "out")]
    words += [word for name in NAMES[:3] for word in ("--subnet", name)]
    return main([*words, *(word for name in also for word in ("--also", name))])


@pytest.mark.parametrize("also", [NAMES[3], "all"])
def test_one_that_ships_is_named_with_what_is_known_of_it(portable: Path, also: str) -> None:
    assert export(portable, also) == 0
    made = Bundle.open(portable.parent / "out", "subnets")
    assert list(made.manifest.subnets) == NAMES
    last = made.entry(NAMES[3])
    assert (last.quality, last.cost) == (0.5, {"p50_ms": 1.0})


def test_one_that_is_exported_anyway_changes_nothing(portable: Path) -> None:
    assert export(portable, NAMES[0]) == 0
    made = Bundle.open(portable.parent / "out", "subnets")
    assert list(made.manifest.subnets) == NAMES[:3]


def test_one_that_does_not_ship_is_refused(
    portable: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(portable, "d1-layers.0.h8") == 2
    said = capfd.readouterr().err
    assert "does not ship 'd1-layers.0.h8'" in said
    assert "give the bundle that 'hwnas compile' wrote" in said
    assert not (portable.parent / "out").exists()
