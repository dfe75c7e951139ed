"""Lookup tables of measurements, and the cost model that prices subnets with them."""

from hwnas.table.additive import AdditiveCosts, Linear
from hwnas.table.calibrate import choose, holdout
from hwnas.table.cost import METRICS, Cost
from hwnas.table.lut import Lut
from hwnas.table.merge import merge
from hwnas.table.missing import Missing, missing
from hwnas.table.model import CostModel
from hwnas.table.records import Measurement, Row, Source
from hwnas.table.validation import Validation, validate

__all__ = [
    "METRICS",
    "AdditiveCosts",
    "Cost",
    "CostModel",
    "Linear",
    "Lut",
    "Measurement",
    "Missing",
    "Row",
    "Source",
    "Validation",
    "choose",
    "holdout",
    "merge",
    "missing",
    "validate",
]
