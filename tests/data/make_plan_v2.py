"""How ``plan_v2.json`` was made, by the version that wrote schema 2. Not run by tests."""

import math
import tempfile
from pathlib import Path

from hwnas.select import parse_tier, select
from hwnas.table.cost import Cost
from tests.support.bundles import make_bundle
from tests.support.costs import Device, GivenCosts, cost

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "net.hwnas", depth=3, widths=(4,), dim=4)
        prices = {f"d{i}": cost(float(i)) for i in (1, 2, 3)}
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
        )
        first, *others = plan.subnets
        changed = (first.model_copy(update={"norm": "folded"}), *others)
        plan = plan.model_copy(update={"subnets": changed})
        plan.save(Path(__file__).with_name("plan_v2.json"))
