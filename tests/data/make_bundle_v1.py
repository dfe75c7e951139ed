"""How ``bundle_v1/`` was made, by the version that wrote schema 1. Not run by tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.export import Wanted, export_bundle
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from tests.support.bundles import make_bundle


def main() -> None:
    """Write one bundle of each form, and what each subnet computes."""
    folder = Path(__file__).parent / "bundle_v1"
    space = make_bundle(folder / "space", depth=2, widths=(4, 8), dim=8)
    wanted = [Wanted(subnet) for subnet in space.manifest.space.subnets()]
    export_bundle(space, wanted, folder / "subnets")
    with Switcher(folder / "subnets") as switcher:
        feeds = random_inputs(switcher.inputs, 0)
        results = {n: switcher.run(feeds, subnet=n)["logits"] for n in switcher.subnets}
    np.savez(folder / "expected.npz", **feeds, **results)


if __name__ == "__main__":
    main()
