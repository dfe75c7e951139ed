"""Quality: how good each subnet is, one file per kind of number. Higher is better."""

from hwnas.select.quality.additive import AdditiveScores, write_scores
from hwnas.select.quality.agreement import Agreement, agreement
from hwnas.select.quality.evaluation import Evaluation, worker_pool
from hwnas.select.quality.fit import MODELS, fit_predictor
from hwnas.select.quality.fitted import Fitted, FittedSum, Predictor, open_predictor
from hwnas.select.quality.function import QualityFunction
from hwnas.select.quality.ofa import AccuracyPredictor
from hwnas.select.quality.open import default_cache, open_quality
from hwnas.select.quality.perturb import Perturbations
from hwnas.select.quality.sample import sample_subnets
from hwnas.select.quality.table import QualityTable, write_table

__all__ = [
    "MODELS",
    "AccuracyPredictor",
    "AdditiveScores",
    "Agreement",
    "Evaluation",
    "Fitted",
    "FittedSum",
    "Perturbations",
    "Predictor",
    "QualityFunction",
    "QualityTable",
    "agreement",
    "default_cache",
    "fit_predictor",
    "open_predictor",
    "open_quality",
    "sample_subnets",
    "worker_pool",
    "write_scores",
    "write_table",
]
