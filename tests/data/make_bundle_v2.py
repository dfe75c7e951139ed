"""How ``bundle_v2/`` was made, by the version that wrote schema 2. Not run by tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hwnas.bundle import MANIFEST
from hwnas.export import Wanted, export_bundle, export_finalised
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from tests.support.bundles import make_bundle


def main() -> None:
    """Write one bundle of each form, a finalised one, and what each subnet computes."""
    folder = Path(__file__).parent / "bundle_v2"
    space = make_bundle(folder / "space", depth=2, widths=(4, 8), dim=8)
    wanted = [Wanted(subnet) for subnet in space.manifest.space.subnets()]
    export_bundle(space, wanted, folder / "subnets")
    export_finalised(space, wanted, folder / "finalised")
    _belong_elsewhere(folder / "finalised" / MANIFEST)
    with Switcher(folder / "subnets") as switcher:
        feeds = random_inputs(switcher.inputs, 0)
        results = {n: switcher.run(feeds, subnet=n)["logits"] for n in switcher.subnets}
    np.savez(folder / "expected.npz", **feeds, **results)


def _belong_elsewhere(manifest: Path) -> None:
    """Say that the bundle was made on a machine that no test runs on."""
    data = json.loads(manifest.read_text())
    data["finalised"] |= {"machine": "riscv64", "isa": [], "version": "1.32.0"}
    manifest.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
