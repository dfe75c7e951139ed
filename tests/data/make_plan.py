"""Makes ``plan_vN.json``, N being the schema that this version of hwnas writes. Not run by tests.

Files of older schemas were made by this script as it was then, and stay as they are. Run it from
the root when the schema has changed: ``python -m tests.data.make_plan [FOLDER]``.
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from hwnas.select import parse_tier, select
from hwnas.select.plan import SCHEMA_VERSION
from hwnas.table.cost import Cost
from tests.support.bundles import make_bundle
from tests.support.costs import Device, GivenCosts, cost


def main(beside: Path) -> None:
    """Write a plan of two tiers, both measured and explained, with one subnet's norms folded."""
    file = beside / f"plan_v{SCHEMA_VERSION}.json"
    if file.exists():
        sys.exit(f"{file} is there already; give another folder to write into")
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "net.hwnas", depth=3, widths=(4,), dim=4)
        prices = {
            f"d{i}": replace(cost(float(i)), energy_j=i / 100, macs=i * 1e6) for i in (1, 2, 3)
        }
        truth = {
            "d1": cost(1.0),
            "d2": Cost(1.8, 2.4, 1e6, 1000, True, (1.75, 1.85)),
            "d3": Cost(3.0, 3.75, math.nan, 1000, True, (2.9, 3.1)),
        }
        plan = select(
            bundle,
            GivenCosts(prices),
            [parse_tier("half:p50=66%"), parse_tier("full:")],
            measure=Device(truth),
            fingerprint={"cpu": "an example"},
            explaining=True,
        )
    first, *others = plan.subnets
    changed = (first.model_copy(update={"norm": "folded"}), *others)
    plan.model_copy(update={"subnets": changed}).save(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
