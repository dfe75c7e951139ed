"""From sums over blocks to a whole subnet: which terms, with what weights, and how sure.

A block that is timed alone, warm, has its weights in the cache; within a network others have been
there in between. Its first run after others is too slow, since then the runtime's own data are
cold too. The truth lies between, so the first model has one weight, the share of the cold penalty
that is paid:

    whole = sum of warm runs + share * sum of (cold - warm)

It knows the size of a subnet and needs one whole measurement. Others (a scale, parameter bytes, a
constant) are taken where leave-one-out says that they are clearly better. Everything is fitted by
least squares of the relative error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Fit", "Form", "choose_fit", "student"]

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Of prediction intervals."""

_CLEARLY = 0.8
"""Leave-one-out on few points is noisy itself: a later form must be so much better."""

_GREATEST_SMALL = 0.5
"""A constant of more than this share of the whole is noise made into a model."""

_LEAST_ANGLE = 0.05
"""Terms that rise and fall together this closely cannot be told apart on these points."""

_SURE = 3
_USUAL_ERROR = 0.025
"""With fewer than 3 degrees of freedom, the error that such models usually have fills up."""


@dataclass(frozen=True)
class Form:
    """One way of composing a cost.

    Attributes:
        terms: names of features, each with a weight to be fitted.
        base: feature that is added as it is; empty for none.
        points: fewest whole subnets that it may be fitted on.
        signed: terms whose weight may be below 0.
        share: terms whose weight is a share, from 0 to 1.
        small: terms that may make up half of no subnet's cost.
    """

    terms: tuple[str, ...]
    base: str = ""
    points: int = 1
    signed: frozenset[str] = frozenset()
    share: frozenset[str] = frozenset()
    small: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Fit:
    """A form with its weights.

    Attributes:
        form: see :class:`Form`.
        weights: one for each of its terms.
        points: whole subnets that it was fitted on; 0 for the plain sum.
        error: mean absolute relative error, each subnet predicted from the others; NaN with one.
        sigma: standard deviation of the relative error of one prediction, without leverage.
        freedom: degrees of freedom of ``sigma``.
        spread: inverse of the normal equations' matrix, shape (terms, terms).
    """

    form: Form
    weights: tuple[float, ...]
    points: int = 0
    error: float = math.nan
    sigma: float = math.nan
    freedom: int = 0
    spread: Floats | None = None

    def __call__(self, features: Mapping[str, Floats]) -> Floats:
        """Predictions, shape (subnets,), in the unit of the cost."""
        base, design = _design(self.form, features)
        found: Floats = base + design @ np.array(self.weights)
        return found

    def intervals(self, features: Mapping[str, Floats]) -> tuple[Floats, Floats] | None:
        """Ends of what a measurement of each will give, at :data:`LEVEL`; ``None`` unfitted."""
        if self.spread is None:
            return None
        predicted = self(features)
        rows = _design(self.form, features)[1] / predicted[:, None]
        leverage = np.einsum("ij,jk,ik->i", rows, self.spread, rows)
        # The relative error is of the measured value, so it divides.
        width = np.minimum(student(self.freedom) * self.sigma * np.sqrt(1 + leverage), 0.9)
        return predicted / (1 + width), predicted / (1 - width)


def choose_fit(
    plain: str,
    forms: Sequence[Form],
    features: Mapping[str, Floats],
    measured: Sequence[float],
    noise: float = 0.0,
    ends: Mapping[str, Floats] | None = None,
    level: float = 0.0,
) -> Fit:
    """The form that predicts best, each subnet from the others; the first one unless clearly.

    Args:
        plain: feature that is the prediction where nothing can be fitted.
        forms: in the order of preference.
        features: of the measured subnets, each of shape (subnets,).
        measured: what these cost; what is not positive and finite is left out.
        noise: relative standard error of the measured values, which no model gets below.
        level: relative standard deviation by which all of a later measurement may lie higher or
            lower: what the subnets have in common does not show in residuals.
        ends: features of subnets for which a form must be sane too, such as the smallest.
    """
    values = np.array(measured, dtype=np.float64)
    usable = np.isfinite(values) & (values > 0)
    for name in {plain, *(name for form in forms for name in (form.base, *form.terms) if name)}:
        usable &= np.isfinite(features[name])
    usable &= features[plain] > 0
    values = values[usable]
    used = {name: column[usable] for name, column in features.items()}
    unfitted = Fit(Form((plain,)), (1.0,))
    best, least = unfitted, math.inf
    for form in forms:
        fit = _fit(form, used, values, (noise, level), ends or {})
        if fit is None:
            continue
        error = _crossed(fit, used, values)
        if best is unfitted or error < _CLEARLY * least:
            best, least = fit, error
    return best


def _fit(
    form: Form,
    features: Mapping[str, Floats],
    y: Floats,
    uncertain: tuple[float, float],
    ends: Mapping[str, Floats],
) -> Fit | None:
    """The form on these points; ``None`` where there are too few or the result is not sane."""
    if len(y) < max(form.points, len(form.terms)):
        return None
    base, design = _design(form, features)
    rows: Floats = design / y[:, None]
    scale = np.linalg.norm(rows, axis=0)
    if not scale.all() or np.linalg.svd(rows / scale, compute_uv=False).min() < _LEAST_ANGLE:
        return None
    spread: Floats = np.linalg.inv((rows / scale).T @ (rows / scale)) / np.outer(scale, scale)
    weights: Floats = spread @ rows.T @ (1 - base / y)
    if not _sane(form, weights, features, ends):
        return None
    residual = 1 - base / y - rows @ weights
    # The choice among forms takes one too: the best of several looks better than it is.
    freedom = max(len(y) - len(weights) - 1, 0)
    prior = max(_SURE - freedom, 0)
    variance = (residual @ residual + prior * _USUAL_ERROR**2) / (freedom + prior)
    left_out = residual / _rest(rows, spread)
    return Fit(
        form=form,
        weights=tuple(weights.tolist()),
        points=len(y),
        error=float(np.mean(np.abs(left_out))) if len(y) > len(weights) else math.nan,
        sigma=math.hypot(max(math.sqrt(variance), uncertain[0]), uncertain[1]),
        freedom=freedom + prior,
        spread=spread,
    )


def _crossed(fit: Fit, features: Mapping[str, Floats], y: Floats) -> float:
    """Root mean square of the relative error, each point predicted from the others."""
    assert fit.spread is not None
    rows = _design(fit.form, features)[1] / y[:, None]
    if len(y) == len(fit.weights):
        return math.inf
    left_out = (1 - fit(features) / y) / _rest(rows, fit.spread)
    return float(np.sqrt(np.mean(left_out**2)))


def _rest(rows: Floats, spread: Floats) -> Floats:
    """1 minus each point's leverage: the residual over it is that of the fit without the point."""
    found: Floats = np.maximum(1 - np.einsum("ij,jk,ik->i", rows, spread, rows), 1e-9)
    return found


def _sane(
    form: Form, weights: Floats, features: Mapping[str, Floats], ends: Mapping[str, Floats]
) -> bool:
    for name, weight in zip(form.terms, weights, strict=True):
        if (weight < 0 and name not in form.signed) or (weight > 1 and name in form.share):
            return False
    for place in (features, ends) if ends else (features,):
        base, design = _design(form, place)
        parts = design * weights
        whole = base + parts.sum(axis=1)
        small = parts[:, [name in form.small for name in form.terms]]
        if (whole <= 0).any() or (np.abs(small) > _GREATEST_SMALL * whole[:, None]).any():
            return False
    return True


def _design(form: Form, features: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    design = np.stack([features[name] for name in form.terms], axis=1)
    return (features[form.base] if form.base else np.zeros(len(design))), design


def student(freedom: int, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's distribution, within 0.3% from 3 degrees of freedom on.

    The expansion about the normal quantile (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**i for i, term in enumerate(terms, 1)))
