"""Between the authors' description of a subnet (lists ``ks``, ``e``, ``d``, ``w``) and its name.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwnas.errors import SupernetError
from hwnas.space import Space, Subnet
from hwnas.supernets.ofa_geometry import RESOLUTION, MobileConfig, ResNetConfig

__all__ = ["mobile_arch", "mobile_subnet", "resnet_arch", "resnet_subnet"]

_SIZES = ("r", "image_size")
_IGNORED = ("wid",)
"""Written by older tools of the authors', always as None."""


def _lists(arch: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, list[Any]]:
    """Each part of ``arch`` as a list of its length.

    Raises:
        SupernetError: parts that are missing, unknown or of the wrong length.
    """
    unknown = [name for name in arch if name not in (*lengths, *_SIZES, *_IGNORED)]
    missing = [name for name in lengths if arch.get(name) is None]
    if unknown or missing:
        raise SupernetError(
            f"the description of a subnet has the parts {', '.join(arch)}",
            f"give {', '.join(lengths)}, and r or image_size where it is elastic",
        )
    found = {}
    for name, length in lengths.items():
        value = arch[name]
        found[name] = list(value) if isinstance(value, Sequence) else [value] * length
        if len(found[name]) != length:
            raise SupernetError(
                f"{name} has {len(found[name])} values, the network has {length} places for them",
                "give one value for all, or one for each block, skipped ones too",
            )
    return found


def _resolution(arch: Mapping[str, Any]) -> dict[str, int]:
    given = next((arch[name] for name in _SIZES if arch.get(name) is not None), None)
    if given is None:
        return {}
    return {RESOLUTION: int(given[0] if isinstance(given, Sequence) else given)}


def mobile_subnet(config: MobileConfig, space: Space, arch: Mapping[str, Any]) -> Subnet:
    """See :meth:`hwnas.supernets.ofa.OFANet.subnet`."""
    names = [name for name, *_ in config.slots]
    stages = len(config.stages)
    lengths = {"ks": len(names), "e": len(names), "d": stages}
    depths = arch.get("d")
    if isinstance(depths, Sequence) and len(depths) == stages - 1:
        arch = {**arch, "d": [*depths, 1]}  # the one block of a last stage may be left out
    given = _lists(arch, lengths)
    written = zip(given["ks"], given["e"], strict=True)
    choices = {n: f"k{k}e{e}" for n, (k, e) in zip(names, written, strict=True)}
    rules = {rule.name for rule in space.rules if rule.kind == "prefix_depth"}
    numbered = {f"d{index}_": int(depth) for index, depth in enumerate(given["d"])}
    return space.compose(
        _resolution(arch), {name: d for name, d in numbered.items() if name in rules}, choices
    )


def mobile_arch(config: MobileConfig, space: Space, subnet: Subnet) -> dict[str, Any]:
    """See :meth:`hwnas.supernets.ofa.OFANet.arch`."""
    parts = space.parts(subnet)
    least = next(iter(config.choices))
    sizes = [config.choices[parts.choices.get(name, least)] for name, *_ in config.slots]
    return {
        "ks": [kernel for kernel, _ in sizes],
        "e": [expand for _, expand in sizes],
        "d": [parts.depths.get(f"d{index}_", 1) for index in range(len(config.stages))],
        "image_size": parts.dimensions[RESOLUTION],
    }


def resnet_subnet(config: ResNetConfig, space: Space, arch: Mapping[str, Any]) -> Subnet:
    """See :meth:`hwnas.supernets.ofa.OFANet.subnet`."""
    names = [name for name, *_ in config.slots]
    widths, stages = len(config.channels), len(config.base_depths)
    given = _lists(arch, {"d": 1 + stages, "e": len(names), "w": widths})
    choices = {n: f"e{round(100 * e)}" for n, e in zip(names, given["e"], strict=True)}
    numbers = zip(config.base_depths, given["d"][1:], strict=True)
    depths = {f"d{i}_": base + int(extra) for i, (base, extra) in enumerate(numbers)}
    depths["stem"] = int(given["d"][0] == config.extra_depths[-1])
    dimensions = {f"w{i}": int(w) for i, w in enumerate(given["w"])}
    return space.compose({**_resolution(arch), **dimensions}, depths, choices)


def resnet_arch(config: ResNetConfig, space: Space, subnet: Subnet) -> dict[str, Any]:
    """See :meth:`hwnas.supernets.ofa.OFANet.arch`."""
    parts = space.parts(subnet)
    least = next(iter(config.choices))
    extra = config.extra_depths
    depths = [extra[-1] if parts.depths["stem"] else extra[0]]
    depths += [parts.depths[f"d{i}_"] - base for i, base in enumerate(config.base_depths)]
    return {
        "d": depths,
        "e": [config.choices[parts.choices.get(name, least)] for name, *_ in config.slots],
        "w": [parts.dimensions[f"w{i}"] for i in range(len(config.channels))],
        "image_size": parts.dimensions[RESOLUTION],
    }
