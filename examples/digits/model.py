"""The digits network: a sorted vision transformer with 8 depths and 4 widths, 32 subnets."""

from __future__ import annotations

from hwnas.supernets.sorted_vit import SortedViT, ViTConfig

__all__ = ["supernet"]


def supernet() -> SortedViT:
    """The untrained network for images (batch, 1, 8, 8); train.py writes its weights."""
    return SortedViT(
        ViTConfig(
            image=8,
            patch=2,
            channels=1,
            classes=10,
            width=64,
            heads=4,
            ffns=(64, 128, 192, 256),
            depths=tuple(range(1, 9)),
        )
    )
