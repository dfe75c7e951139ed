"""Running subnets in torch with the weights of a bundle: the reference for verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.bundle import Bundle
from hwnas.errors import SupernetError
from hwnas.program import output_names
from hwnas.space import Subnet
from hwnas.supernets.protocol import SubnetModule, Supernet
from hwnas.supernets.resolution import adopt_resolutions
from hwnas.weights import map_weights

__all__ = ["load_weights_of", "torch_runner"]

Array = NDArray[np.generic]


def load_weights_of(supernet: Supernet, bundle: Bundle) -> None:
    """Give ``supernet`` the weights that ``bundle`` (form ``space``) was compiled from.

    Tensors that no block uses keep their values.

    Raises:
        SupernetError: the supernet is not the one that was compiled.
    """
    adopt_resolutions(supernet, bundle.manifest.space)
    if supernet.space != bundle.manifest.space:
        raise SupernetError(
            f"the supernet's space is not the one that {bundle.path} was compiled from",
            "name the supernet that was compiled, or compile it again",
        )
    stored = map_weights(bundle.file(bundle.manifest.weights.file))
    aliases = bundle.manifest.provenance.get("aliases", {})
    state = dict(supernet.state_dict())
    for name, tensor in state.items():
        kept = aliases.get(name, name)
        if kept in stored:
            array = stored[kept]
            if array.dtype.name == "bfloat16":
                value = torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
            else:
                value = torch.from_numpy(array.copy())
            if value.numel() != tensor.numel():
                raise SupernetError(
                    f"{name} has shape {tuple(tensor.shape)}, {bundle.path} has {array.shape}",
                    "name the supernet that was compiled, or compile it again",
                )
            state[name] = value.reshape(tensor.shape)
    supernet.load_state_dict(state)


def torch_runner(
    supernet: Supernet, bundle: Bundle
) -> Callable[[Subnet, Mapping[str, Array]], Mapping[str, Array]]:
    """A runner of ``supernet`` with the weights of ``bundle``; see :func:`load_weights_of`."""
    load_weights_of(supernet, bundle)
    space = supernet.space

    def run(subnet: Subnet, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        module = SubnetModule(supernet, subnet).eval()
        with torch.inference_mode():
            result = module(*(torch.from_numpy(np.array(feeds[name])) for name in space.inputs))
        results = result if isinstance(result, tuple) else (result,)
        return {name: r.numpy() for name, r in zip(output_names(space), results, strict=True)}

    return run
