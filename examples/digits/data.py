"""Scikit-learn's handwritten digits (1797 images of 8 x 8), in a fixed split."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

__all__ = ["Split", "heldout", "training"]

Split = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Images (n, 1, 8, 8), with mean 0 and deviation 1 over the training part, and labels (n,)."""


@cache
def _splits() -> tuple[Split, Split]:
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.float32).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    train, held, train_labels, held_labels = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )
    mean, deviation = train.mean(), train.std()
    return ((train - mean) / deviation, train_labels), ((held - mean) / deviation, held_labels)


def training() -> Split:
    """The 1347 images to train on."""
    return _splits()[0]


def heldout() -> Split:
    """The 450 images that training never sees."""
    return _splits()[1]
