"""What there is to measure in a bundle."""

from __future__ import annotations

from collections.abc import Iterable

from hwnas.agent.protocol import Job, Tensor
from hwnas.bundle import Bundle
from hwnas.program import TensorSpec
from hwnas.space import Subnet

__all__ = ["block_jobs", "subnet_job"]


def block_jobs(bundle: Bundle, subnets: Iterable[Subnet] | None = None) -> list[Job]:
    """One job per kind of the bundle's blocks, in the order of the space.

    Args:
        bundle: of form ``space``.
        subnets: only the kinds that these need; ``None`` for all.
    """
    needed = None if subnets is None else {unit for subnet in subnets for unit in subnet.blocks}
    first: dict[str, str] = {}
    for unit, block in bundle.manifest.blocks.items():
        if needed is None or unit in needed:
            first.setdefault(block.kind, unit)
    return [
        Job(
            key=kind,
            scope="block",
            label=unit,
            model=bundle.model(unit),
            folder=bundle.path,
            inputs=_tensors(bundle.manifest.blocks[unit].inputs),
        )
        for kind, unit in first.items()
    ]


def subnet_job(bundle: Bundle, subnet: Subnet, model: bytes) -> Job:
    """The job that measures ``subnet`` whole.

    Args:
        bundle: of form ``space``; its weights are what ``model`` points into.
        subnet: one of its subnets.
        model: the subnet as one ONNX graph, locations of weights relative to the bundle.
    """
    return Job(
        key=bundle.subnet_kind(subnet),
        scope="subnet",
        label=subnet.spec,
        model=model,
        folder=bundle.path,
        inputs=_tensors(bundle.inputs(subnet)),
    )


def _tensors(specs: Iterable[TensorSpec]) -> tuple[Tensor, ...]:
    return tuple(Tensor(spec.name, spec.dtype, tuple(spec.shape)) for spec in specs)
