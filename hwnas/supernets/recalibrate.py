"""Batch-norm statistics of a subnet's own, from images of the user's.

The activations of a subnet are not those of the network that the statistics were collected in, so
that they are collected anew for each subnet (once-for-all networks, arXiv:1908.09791, section 3;
as the authors do it: 2,000 training images in batches of 200). ``hwnas export --norms`` takes what
comes out; ``hwnas.link.norms`` says how it is linked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwnas.bundle import Bundle
from hwnas.errors import InputError
from hwnas.space import Subnet
from hwnas.supernets.protocol import SubnetModule, Supernet
from hwnas.supernets.runner import load_weights_of

__all__ = ["Batches", "collect", "recalibrate"]

Batches = Callable[[Subnet], Iterable[Sequence[Tensor]]]
"""The batches for a subnet, each one tensor per input of the network, the batch's size first."""


class _Statistics:
    """Mean and variance of what one batch norm reads, over batches, weighted by their size."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._count = 0
        self._mean: Tensor | None = None
        self._variance: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Take one batch.

        Raises:
            InputError: too few values to have a variance, or some that are not finite.
        """
        if x.numel() < 2 * x.shape[1]:
            raise InputError(
                f"{self.name} sees {x.numel() // x.shape[1]} value per channel in a batch of "
                f"{len(x)}, which has no variance",
                "give more images at a time (--batch)",
            )
        over = [axis for axis in range(x.dim()) if axis != 1]
        # Biased, as the batch itself is normalised with.
        variance, mean = torch.var_mean(x, over, correction=0)
        if not (mean.isfinite().all() and variance.isfinite().all()):
            raise InputError(
                f"{self.name} sees values that are not finite",
                "check the images: of the right type, and normalised as in training?",
            )
        mean, variance = mean.double() * len(x), variance.double() * len(x)
        self._mean = mean if self._mean is None else self._mean + mean
        self._variance = variance if self._variance is None else self._variance + variance
        self._count += len(x)

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """``running_mean`` and ``running_var``; empty if no batch came by."""
        if self._mean is None or self._variance is None:
            return {}
        return {
            "running_mean": (self._mean / self._count).float().numpy(),
            "running_var": (self._variance / self._count).float().numpy(),
        }


def recalibrate(
    supernet: Supernet,
    bundle: Bundle,
    subnets: Sequence[Subnet],
    batches: Batches,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Statistics as :func:`collect` collects them, with the weights of ``bundle``.

    Args:
        supernet: that ``bundle`` was compiled from; it gets the bundle's weights.
        bundle: of form ``space``.
        subnets: of its space.
        batches: as there.
        progress: as there.

    Raises:
        SupernetError: the supernet is not the one that was compiled.
        InputError: as :func:`collect`.
    """
    load_weights_of(supernet, bundle)
    return collect(supernet, subnets, batches, progress)


def collect(
    supernet: Supernet,
    subnets: Sequence[Subnet],
    batches: Batches,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Statistics of every batch norm of every one of ``subnets``.

    Every batch is normalised by its own statistics while it passes through. What is kept is the
    mean over batches of mean and (biased) variance, weighted by the batches' sizes.

    Args:
        supernet: with trained weights; it is left as it was.
        subnets: of its space.
        batches: called once for each subnet.
        progress: called after each batch with its size and the name of the subnet.

    Returns:
        ``SUBNET:slot/choice/name`` to values, as :func:`hwnas.link.norms.read_norms` reads them.

    Raises:
        InputError: no batch norms, no batches, too small ones, or values that are not finite.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for subnet in subnets:
        module = SubnetModule(supernet, subnet).eval()
        with _watched(module, subnet) as statistics:
            _run(module, batches(subnet), subnet, progress)
        for place, kept in statistics.items():
            for name, array in kept.arrays.items():
                found[f"{subnet.name}:{place}.{name}"] = array
    return found


def _run(
    module: nn.Module,
    batches: Iterable[Sequence[Tensor]],
    subnet: Subnet,
    progress: Callable[[int, str], None] | None,
) -> None:
    seen = 0
    with torch.inference_mode():
        for batch in batches:
            module(*batch)
            seen += 1
            if progress is not None:
                progress(len(batch[0]), subnet.name)
    if not seen:
        raise InputError(
            f"there are no images for {subnet.name}", "give at least one batch of them"
        )


@contextmanager
def _watched(module: SubnetModule, subnet: Subnet) -> Iterator[dict[str, _Statistics]]:
    """Have every batch norm of ``module`` normalise by the batch, and keep its statistics.

    A block may be a part of the supernet itself, so that everything is put back as it was.
    """
    norms = {
        f"{unit}/{name}": norm
        for unit, block in zip(subnet.blocks, module.blocks, strict=True)
        for name, norm in block.named_modules()
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None
    }
    if not norms:
        raise InputError(f"{subnet.name} has no batch norms", "it needs no statistics of its own")
    statistics = {place: _Statistics(f"{subnet.name}:{place}") for place in norms}
    before = {place: (norm.training, norm.track_running_stats) for place, norm in norms.items()}
    handles = []
    try:
        for place, norm in norms.items():
            norm.training, norm.track_running_stats = True, False  # its own are left alone
            handles.append(norm.register_forward_pre_hook(_adder(statistics[place])))
        yield statistics
    finally:
        for handle in handles:
            handle.remove()
        for place, norm in norms.items():
            norm.training, norm.track_running_stats = before[place]


def _adder(statistics: _Statistics) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        statistics.add(arguments[0])

    return add
