"""Makes ``bundle_vN/``, N being the schema that this version of hwnas writes. Not run by tests.

Folders of older schemas were made by this script as it was then, and stay as they are. Run it from
the root when the schema has changed: ``python -m tests.data.make_bundle [FOLDER]``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hwnas.bundle import MANIFEST
from hwnas.compile import compile_supernet
from hwnas.export import Wanted, export_bundle, export_finalised
from hwnas.manifest import SCHEMA_VERSION
from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs
from hwnas.supernets.reference import load
from tests.support.bundles import make_bundle


def main(beside: Path) -> None:
    """Write one bundle of each form, a finalised one, and what each subnet computes.

    ``shapes-space`` and ``shapes`` hold subnets that take and give other shapes than others.
    """
    folder = beside / f"bundle_v{SCHEMA_VERSION}"
    if folder.exists():
        sys.exit(f"{folder} is there already; give another folder to write into")
    space = make_bundle(folder / "space", depth=2, widths=(4, 8), dim=8)
    wanted = [Wanted(subnet) for subnet in space.manifest.space.subnets()]
    export_bundle(space, wanted, folder / "subnets")
    export_finalised(space, wanted, folder / "finalised")
    _belong_elsewhere(folder / "finalised" / MANIFEST)
    with Switcher(folder / "subnets") as switcher:
        feeds = random_inputs(switcher.inputs, 0)
        results = {n: switcher.run(feeds, subnet=n)["logits"] for n in switcher.subnets}
    np.savez(folder / "expected.npz", **feeds, **results)
    _write_shapes(folder)


def _write_shapes(folder: Path) -> None:
    net = load(f"{Path(__file__).with_name('elastic_nets.py')}:resolutions")
    space = compile_supernet(net, folder / "shapes-space")
    wanted = [Wanted(space.subnet(name)) for name in ("r8-d1-mlp.h16", "r16-d2-mlp.h32")]
    export_bundle(space, wanted, folder / "shapes")
    expected = {}
    with Switcher(folder / "shapes") as switcher:
        for name in switcher.subnets:
            feeds = random_inputs(switcher.inputs_of(name), 0)
            expected[f"{name}/image"] = feeds["image"]
            expected[f"{name}/logits"] = switcher.run(feeds, subnet=name)["logits"]
    np.savez(folder / "expected-shapes.npz", **expected)


def _belong_elsewhere(manifest: Path) -> None:
    """Say that the bundle was made on a machine that no test runs on."""
    data = json.loads(manifest.read_text())
    data["finalised"] |= {"machine": "riscv64", "isa": [], "version": "1.32.0"}
    manifest.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
