"""Fitting a predictor to evaluated subnets, and saying by cross-validation how good it is.

Needs scikit-learn (``hwnas[search]``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwnas._version import __version__
from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import MissingExtra, UsageError, shorten
from hwnas.files import sha256_file
from hwnas.select.quality.agreement import agreement
from hwnas.select.quality.features import feature_names, one_hot
from hwnas.select.quality.fitted import Predictor, Ridge, Svr, Validation

if TYPE_CHECKING:
    from hwnas.select.quality.table import QualityTable

__all__ = ["MODELS", "fit_predictor"]

MODELS = ("ridge", "svr")
"""The additive one first: it is preferred."""
_FOLDS, _REPEATS = 5, 2
_LEAST_ROWS = 15
"""Three folds of five rows: less says nothing of an error."""
_ALPHAS = np.logspace(-3, 3, 19)
_PENALTIES = (1.0, 10.0, 100.0)
_REACHES = (0.03, 0.1, 0.3, 1.0)
"""Of the kernel: gamma times the mean squared distance between rows."""
_EPSILON = 0.05
"""Errors that SVR does not count, in standard deviations of the quality."""

_Array = NDArray[np.float64]


def fit_predictor(
    bundle: Bundle,
    table: QualityTable,
    name: str,
    model: Literal["auto", "ridge", "svr"] = "auto",
    seed: int = 0,
) -> Predictor:
    """Fit to the rows of ``table``.

    Settings of each model are chosen inside each fold by cross-validation of their own, so that
    the error that is said is of rows that had no say. ``auto`` takes ``ridge``, which is additive,
    unless the absolute error of ``svr`` is smaller by more than one standard error of the
    difference, row by row.

    Args:
        bundle: whose subnets were evaluated.
        table: what came out.
        name: of its file.
        model: to fit.
        seed: of the folds.

    Raises:
        MissingExtra: scikit-learn is not installed.
        UsageError: too few rows, all of one quality, or choices that no row has.
    """
    sklearn = _sklearn()
    subnets = table.rated()
    truth = np.array(table.scores(subnets))
    space = bundle.manifest.space
    names = feature_names(space)
    rows = one_hot(space).matrix(subnets)
    _refuse(name, rows, truth, names)
    folds = min(_FOLDS, len(rows) // (_LEAST_ROWS // 3))
    tried = MODELS if model == "auto" else (model,)
    found = {
        each: _cross_validate(sklearn, each, rows, truth, folds, seed) for each in ("mean", *tried)
    }
    chosen = tried[0]
    for other in tried[1:]:
        better = np.abs(found[chosen] - truth) - np.abs(found[other] - truth)
        per_row = better.mean(axis=0)
        if per_row.mean() > per_row.std(ddof=1) / math.sqrt(len(per_row)):
            chosen = other
    return Predictor(
        hwnas=__version__,
        bundle_sha256=sha256_file(bundle.path / MANIFEST),
        table=name,
        rows=len(rows),
        folds=folds,
        repeats=_REPEATS,
        seed=seed,
        validation=tuple(_validation(each, truth, found[each]) for each in found),
        features=names,
        formula=_fit(sklearn, chosen, rows, truth, seed),
    )


def _sklearn() -> Any:
    try:
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.svm
    except ModuleNotFoundError as error:
        raise MissingExtra("scikit-learn", "search") from error
    return sklearn


def _refuse(name: str, rows: _Array, truth: _Array, names: tuple[str, ...]) -> None:
    if len(rows) < _LEAST_ROWS:
        raise UsageError(
            f"{name} has {len(rows)} rows, and cross-validation needs {_LEAST_ROWS}",
            "evaluate more subnets: hwnas quality sample -n 300",
        )
    if np.ptp(truth) == 0:
        raise UsageError(
            f"every subnet in {name} has the quality {truth[0]:.6g}",
            "there is nothing to fit: look at what evaluates them",
        )
    unseen = [names[column] for column in np.flatnonzero(~rows.any(axis=0))]
    if unseen:
        raise UsageError(
            f"no subnet in {name} has {shorten(unseen)}: what they are worth is unknown",
            "evaluate more subnets: hwnas quality sample -n 300",
        )


def _cross_validate(
    sklearn: Any, model: str, rows: _Array, truth: _Array, folds: int, seed: int
) -> _Array:
    """Predictions of each row by models that were fitted without it: shape (repeats, rows)."""
    found = np.empty((_REPEATS, len(rows)))
    for repeat in range(_REPEATS):
        split = sklearn.model_selection.KFold(folds, shuffle=True, random_state=seed + repeat)
        for train, test in split.split(rows):
            if model == "mean":
                found[repeat, test] = truth[train].mean()
            else:
                fitted = _fit(sklearn, model, rows[train], truth[train], seed)
                found[repeat, test] = fitted.predict(rows[test])
    return found


def _validation(model: str, truth: _Array, predicted: _Array) -> Validation:
    each = [agreement(truth, repeat) for repeat in predicted]

    def mean(values: list[float]) -> float | None:
        found = float(np.mean(values))
        return found if math.isfinite(found) and model != "mean" else None

    return Validation(
        model=model,
        mae=float(np.mean([found.mae for found in each])),
        rmse=float(np.mean([found.rmse for found in each])),
        tau=mean([found.tau for found in each]),
        spearman=mean([found.spearman for found in each]),
    )


def _fit(sklearn: Any, model: str, rows: _Array, truth: _Array, seed: int) -> Ridge | Svr:
    """Fit on a standardised quality, so that settings mean the same for any unit."""
    mean, scale = float(truth.mean()), float(truth.std()) or 1.0
    standard = (truth - mean) / scale
    if model == "ridge":
        ridge = sklearn.linear_model.RidgeCV(alphas=_ALPHAS).fit(rows, standard)
        return Ridge(
            constant=mean + scale * float(ridge.intercept_),
            coefficients=tuple((scale * ridge.coef_).tolist()),
        )
    spread = 2 * float(rows.var(axis=0).sum()) or 1.0  # the mean squared distance of two rows
    grid = {"C": _PENALTIES, "gamma": [reach / spread for reach in _REACHES]}
    search = sklearn.model_selection.GridSearchCV(
        sklearn.svm.SVR(epsilon=_EPSILON),
        grid,
        scoring="neg_mean_absolute_error",
        cv=sklearn.model_selection.KFold(3, shuffle=True, random_state=seed),
    )
    svr = search.fit(rows, standard).best_estimator_
    return Svr(
        constant=mean + scale * float(svr.intercept_[0]),
        gamma=float(svr.gamma),
        support=tuple(tuple(np.flatnonzero(v).tolist()) for v in svr.support_vectors_),
        weights=tuple((scale * svr.dual_coef_[0]).tolist()),
    )
