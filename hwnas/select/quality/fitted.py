"""A predictor that was fitted here to evaluated subnets: one JSON file, read without scikit-learn.

``ridge`` is a sum over features, so that selection with it is exact; ``svr`` is a sum over
support vectors, exp(-gamma * distance squared) each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, ValidationError, model_validator

from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import NewerSchema, UsageError
from hwnas.files import atomic_file, sha256_file
from hwnas.frozen import Frozen
from hwnas.select.protocol import Progress, Terms
from hwnas.select.quality.additive import anchors
from hwnas.select.quality.features import feature_names, one_hot
from hwnas.select.quality.text import LARGEST, read_text
from hwnas.space import Space, Subnet

__all__ = [
    "KIND",
    "Fitted",
    "FittedSum",
    "Predictor",
    "Ridge",
    "Svr",
    "Validation",
    "is_predictor",
    "open_predictor",
]

SCHEMA_VERSION: Final = 1
KIND: Final = "fitted predictor"
_AGAIN = "make it again with 'hwnas quality fit'"


class Validation(Frozen):
    """What cross-validation says of one model: errors on subnets that it was not fitted to.

    Attributes:
        model: ``mean`` is the one that always predicts the mean.
        mae: mean absolute error, in the unit of the quality.
        rmse: root of the mean squared error.
        tau: Kendall's rank correlation; None where it is not defined.
        spearman: likewise.
    """

    model: str
    mae: float
    rmse: float
    tau: float | None
    spearman: float | None


class Ridge(Frozen):
    """A sum over features.

    Attributes:
        constant: what every prediction has.
        coefficients: one for each feature.
    """

    model: Literal["ridge"] = "ridge"
    constant: float
    coefficients: tuple[float, ...] = Field(repr=False)

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of rows of features (rows, features): shape (rows,)."""
        predicted: NDArray[np.float64] = self.constant + rows @ np.array(self.coefficients)
        return predicted

    def fits(self, width: int) -> bool:
        """Whether it is for ``width`` features."""
        return len(self.coefficients) == width


class Svr(Frozen):
    """A sum over support vectors: weight * exp(-gamma * squared distance).

    Attributes:
        constant: what every prediction has.
        gamma: how fast a vector's say fades.
        support: of each vector, the features that are one in it.
        weights: one for each vector.
    """

    model: Literal["svr"] = "svr"
    constant: float
    gamma: PositiveFloat
    support: tuple[tuple[NonNegativeInt, ...], ...] = Field(repr=False)
    weights: tuple[float, ...] = Field(repr=False)

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of rows of features (rows, features): shape (rows,)."""
        support = np.zeros((len(self.support), rows.shape[1]))
        for vector, columns in zip(support, self.support, strict=True):
            vector[list(columns)] = 1
        distance = rows.sum(1)[:, None] + support.sum(1) - 2 * (rows @ support.T)
        predicted: NDArray[np.float64] = np.exp(-self.gamma * distance) @ np.array(self.weights)
        return self.constant + predicted

    def fits(self, width: int) -> bool:
        """Whether it is for ``width`` features."""
        same = len(self.support) == len(self.weights)
        return same and all(column < width for vector in self.support for column in vector)


class Predictor(Frozen):
    """The file.

    Attributes:
        schema_version: of this file, apart from the version of hwnas.
        kind: tells it from a table in JSON.
        hwnas: the version that wrote it.
        bundle_sha256: of the manifest of the bundle whose subnets were evaluated.
        table: that it was fitted to; its name without the folder.
        rows: that the table has.
        folds: of cross-validation; ``repeats``: how often.
        seed: of the folds.
        validation: one for each model that was tried.
        features: as :func:`hwnas.select.quality.features.feature_names` gives them.
        formula: of the model that was chosen.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["fitted predictor"] = KIND
    hwnas: str
    bundle_sha256: str
    table: str
    rows: int
    folds: int
    repeats: int
    seed: int
    validation: tuple[Validation, ...]
    features: tuple[str, ...] = Field(repr=False)
    formula: Annotated[Ridge | Svr, Field(discriminator="model")]

    @model_validator(mode="after")
    def _check(self) -> Predictor:
        if not self.formula.fits(len(self.features)):
            raise ValueError(f"the formula is not for {len(self.features)} features")
        if self.formula.model not in {found.model for found in self.validation}:
            raise ValueError(f"{self.formula.model} was not validated")
        return self

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            HwnasError: the disk is full or the place cannot be written.
        """
        with atomic_file(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


class Fitted:
    """Predicts with a file's numbers. Immutable. Follows ``Quality``."""

    kind = KIND
    costly = False

    def __init__(self, source: str, space: Space, predictor: Predictor) -> None:
        self.source = source
        self._space = space
        self._features = predictor.features
        self._formula = predictor.formula
        self._one_hot = one_hot(space)

    def rated(self) -> None:
        """None: any subnet can be predicted."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """Predict; takes no time, so ``progress`` hears nothing.

        Raises:
            UsageError: a prediction is out of all bounds; no predictor that was fitted does that.
        """
        predicted = self._formula.predict(self._one_hot.matrix(subnets))
        if not (np.abs(predicted) <= LARGEST).all():
            raise UsageError(f"{self.source} predicts what is no quality", _AGAIN)
        return [float(value) for value in predicted]


class FittedSum(Fitted):
    """One whose prediction is a sum over blocks. Follows ``AdditiveQuality``."""

    def __init__(self, source: str, space: Space, predictor: Predictor, ridge: Ridge) -> None:
        super().__init__(source, space, predictor)
        self._worth = dict(zip(predictor.features, ridge.coefficients, strict=True))

    def terms(self, space: Space) -> Terms:
        """The sum; what a value of a dimension adds is on the first slot that depends on it."""
        if space != self._space:
            raise UsageError(f"{self.source} is of another space", "fit one for this one")
        carriers, per_block = anchors(space), {}
        for (slot, written), columns in self._one_hot.columns.items():
            names = (self._features[column] for column in columns)
            per_block[slot, written] = sum(
                self._worth[name]
                for name in names
                if "/" in name or carriers[name.rpartition("=")[0]] == slot
            )
        return Terms(self._formula.constant, per_block)


def is_predictor(path: Path) -> bool:
    """Whether the JSON file at ``path`` says that it is a fitted predictor, and no table."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("kind") == KIND


def open_predictor(path: Path, bundle: Bundle) -> Fitted:
    """The predictor at ``path``.

    Raises:
        NewerSchema: written by a newer hwnas.
        UsageError: it is damaged, or of another bundle.
    """
    try:
        data = json.loads(read_text(path))
        version = data.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerSchema(path, version, SCHEMA_VERSION)
        predictor = Predictor.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path} is no fitted predictor: {where}: {first['msg']}".replace(": : ", ": "), _AGAIN
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no fitted predictor: {error}", _AGAIN) from error
    space = bundle.manifest.space
    same = predictor.features == feature_names(space)
    if predictor.bundle_sha256 != sha256_file(bundle.path / MANIFEST) or not same:
        raise UsageError(
            f"{path} was fitted to another bundle than {bundle.path}",
            "give that one, or fit one to subnets of this one that were evaluated",
        )
    source = f"{KIND} {path.name} ({_summary(predictor)})"
    if isinstance(predictor.formula, Ridge):
        return FittedSum(source, space, predictor, predictor.formula)
    return Fitted(source, space, predictor)


def _summary(predictor: Predictor) -> str:
    error = next(found for found in predictor.validation if found.model == predictor.formula.model)
    tau = "" if error.tau is None else f", tau {error.tau:.2f}"
    return (
        f"{predictor.formula.model} on {predictor.rows} rows of {predictor.table}, "
        f"cross-validated error {error.mae:.3g}{tau}"
    )
