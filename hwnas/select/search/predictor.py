"""A predictor of quality, trained anew on all that was evaluated.

As in LINAS (Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture
Search Across Modalities", 2022): ridge regression and support vector regression with a radial
kernel on one-hot choices, whichever has the lower mean absolute percentage error in
cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import MissingExtra

__all__ = ["Predictor", "check_sklearn"]

Floats = npt.NDArray[np.float64]

_FOLDS = 5
_RIDGE = (0.1, 1.0, 10.0)
_SVR = ((1.0, 0.3), (1.0, 1.0), (10.0, 0.3), (10.0, 1.0), (100.0, 0.1), (100.0, 0.3))
"""C and gamma, the latter relative to one over the number of columns and their variance. On a
standardised quality."""
_TUBE = 0.02
"""Errors of up to this share of the quality's standard deviation count as none."""


def check_sklearn() -> None:
    """Raise :class:`MissingExtra` if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("scikit-learn", "search") from error


class Predictor:
    """Trained on construction.

    Args:
        features: [n, columns], n at least 2.
        quality: [n].
        seed: of the folds.

    Attributes:
        error: mean absolute percentage error in cross-validation, as a share; of a quality nearer
            to 0 than the standard deviation, the share of that.
        name: which model it is.
    """

    def __init__(self, features: Floats, quality: Floats, seed: int) -> None:
        self._mean, self._scale = float(quality.mean()), float(quality.std()) or 1.0
        target = (quality - self._mean) / self._scale
        base = np.maximum(np.abs(quality), self._scale) / self._scale
        folds = np.random.default_rng(seed).permutation(len(target)) % min(_FOLDS, len(target))
        scored = []
        for name, make in _candidates(features):
            missed = np.empty(len(target))
            for fold in np.unique(folds):
                held = folds == fold
                model = make().fit(features[~held], target[~held])
                missed[held] = np.abs(model.predict(features[held]) - target[held])
            scored.append((float(np.mean(missed / base)), name, make))
        self.error, self.name, make = min(scored, key=lambda found: found[0])
        self._model: Any = make().fit(features, target)

    def __call__(self, features: Floats) -> Floats:
        """[n]: predicted qualities."""
        predicted: Floats = self._model.predict(features) * self._scale + self._mean
        return predicted


def _candidates(features: Floats) -> Iterator[tuple[str, Any]]:
    from functools import partial

    from sklearn.linear_model import Ridge
    from sklearn.svm import SVR

    for alpha in _RIDGE:
        yield f"ridge {alpha:g}", partial(Ridge, alpha=alpha)
    base = 1 / (features.shape[1] * (float(features.var()) or 1.0))
    for cost, width in _SVR:
        yield (
            f"svr {cost:g} {width:g}",
            partial(SVR, C=cost, gamma=width * base, epsilon=_TUBE, cache_size=50),
        )
