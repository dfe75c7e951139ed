"""Comparing what ships with what it came from, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import VerificationFailed
from hwnas.program import TensorSpec
from hwnas.runtime import Switcher
from hwnas.runtime.compare import Difference, difference
from hwnas.runtime.inputs import random_inputs
from hwnas.runtime.ort import onnxruntime as ort
from hwnas.space import Subnet

__all__ = [
    "Runner",
    "Verification",
    "bundle_runner",
    "onnx_runner",
    "verify",
]

Array = NDArray[np.generic]
Runner = Callable[[Subnet, Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Verification:
    """Largest absolute difference of one subnet between two ways of running it."""

    subnet: str
    artifact: str
    reference: str
    max_abs_diff: float
    scale: float

    @property
    def ok(self) -> bool:
        """Whether the difference is small enough; see :class:`hwnas.runtime.compare.Difference`."""
        return Difference(self.max_abs_diff, self.scale).ok


def verify(
    subnets: Sequence[Subnet],
    inputs: Callable[[Subnet], Sequence[TensorSpec]],
    artifact: tuple[str, Runner],
    references: Mapping[str, Runner],
    *,
    rounds: int = 3,
) -> list[Verification]:
    """Run each subnet on ``rounds`` random inputs as shipped and as every reference does.

    Args:
        subnets: what to compare.
        inputs: gives what a subnet takes, as :meth:`hwnas.bundle.Bundle.inputs`.
        artifact: name and runner of what ships.
        references: name and runner of each thing to compare with, such as torch.
        rounds: how many inputs.

    Returns:
        One record per subnet and reference.

    Raises:
        VerificationFailed: some difference is too large; names the worst.
    """
    name, run = artifact
    records = []
    for subnet in subnets:
        worst = dict.fromkeys(references, Difference(0.0, 0.0))
        for seed in range(rounds):
            feeds = random_inputs(inputs(subnet), seed)
            got = run(subnet, feeds)
            for reference, other in references.items():
                for output, wanted in other(subnet, feeds).items():
                    found = difference(got[output], wanted)
                    worst[reference] = worst[reference].or_worse(found)
        records += [
            Verification(subnet.name, name, reference, found.largest, found.scale)
            for reference, found in worst.items()
        ]
    failed = [record for record in records if not record.ok]
    if failed:
        bad = max(
            failed, key=lambda r: r.max_abs_diff if r.max_abs_diff == r.max_abs_diff else np.inf
        )
        raise VerificationFailed(
            f"{bad.subnet}: {bad.artifact} differs from {bad.reference} by {bad.max_abs_diff:.3g} "
            f"(largest value {bad.scale:.3g})",
            "if the supernet's code or weights changed since, compile it again",
        )
    return records


def bundle_runner(path: Path) -> Runner:
    """The switcher on the bundle that ``--to bundle`` wrote."""
    switcher = Switcher(path)
    return lambda subnet, feeds: switcher.run(feeds, subnet=subnet.name)


def onnx_runner(folder: Path) -> Runner:
    """Stock ONNX Runtime on the files that ``--to onnx`` wrote, each loaded by its path."""

    def run(subnet: Subnet, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        session = ort.InferenceSession(
            folder / f"{subnet.name}.onnx", providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run
