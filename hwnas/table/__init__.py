"""Lookup tables of measurements, and the cost model that prices subnets with them."""

from hwnas.table.cost import METRICS, Cost
from hwnas.table.lut import Lut
from hwnas.table.missing import Missing, missing
from hwnas.table.model import CostModel
from hwnas.table.records import Measurement, Row

__all__ = ["METRICS", "Cost", "CostModel", "Lut", "Measurement", "Missing", "Row", "missing"]
