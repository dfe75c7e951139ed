"""The process in which one contender is opened and every subnet run: what that takes.

Its one argument is JSON: ``how`` (``native``, ``python``, ``stock``, ``switch``), ``paths``
(subnet to [model file, folder] for ``stock``, else one folder), ``nothing`` (the same for a network
of one node), ``specs`` (a bundle that says what they take), ``subnets``, ``threads``, ``verify``.
Prints ``load_ms`` and ``first_ms`` (until the first result), and ``pss_bytes``, null if unknown
here: what opening and running adds to a process that has already opened and closed the network of
one node.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from hwnas.agent.readings import pss_bytes
from hwnas.bench.contenders import Contender, Stock, Switched, SwitchModel
from hwnas.bundle import Bundle
from hwnas.errors import HwnasError
from hwnas.runtime.inputs import random_inputs

__all__ = ["main"]

_RUNS = 2


def main(request: dict[str, Any]) -> dict[str, float | None]:
    """Open, run and measure as ``request`` says."""
    subnets = list(request["subnets"])
    specs = Bundle.open(request["specs"], verify=False)
    feeds = {name: random_inputs(specs.inputs(specs.subnet(name)), 0) for name in subnets}
    # The library's own memory and start are not the network's.
    small = Path(request["nothing"])
    manifest = Bundle.open(small, verify=False).manifest
    nothing, only = random_inputs(manifest.inputs, 0), next(iter(manifest.subnets))
    how = request["how"]
    if how in ("native", "python"):
        warm: Contender = Switched(small, how, request["threads"])
    else:
        file = small / manifest.segments["whole"].file
        warm = Stock({only: (file, small)}, request["threads"])
    warm.runner(only, nothing).run()
    warm.close()
    del warm
    gc.collect()
    before = pss_bytes()
    start = time.perf_counter_ns()
    opened = _open(request)
    loaded = time.perf_counter_ns()
    first = opened.runner(subnets[0], feeds[subnets[0]])
    first.run()
    ran = time.perf_counter_ns()
    for name in subnets * _RUNS:
        opened.runner(name, feeds[name]).run()
    gc.collect()
    after = pss_bytes()
    return {
        "load_ms": (loaded - start) / 1e6,
        "first_ms": (ran - start) / 1e6,
        "pss_bytes": None if before is None or after is None else after - before,
    }


def _open(request: dict[str, Any]) -> Contender:
    how, paths, threads = request["how"], request["paths"], request["threads"]
    if how == "stock":
        return Stock({name: (Path(m), Path(f)) for name, (m, f) in paths.items()}, threads)
    if how == "switch":
        return SwitchModel(Path(paths), threads)
    return Switched(Path(paths), how, threads, verify=request["verify"])


if __name__ == "__main__":
    try:
        print(json.dumps(main(json.loads(sys.argv[1]))))
    except HwnasError as error:
        sys.exit(error.cause)
