"""Selection: which subnets meet which budgets, and what proves that there is no better one."""

from hwnas.select.budgets import Budget, Limit, Tier, combine, parse_budget, parse_tier
from hwnas.select.explanation import Better, Bought, Explanation, Worth
from hwnas.select.grow import FRONT
from hwnas.select.infeasible import NothingFits, Shortfall
from hwnas.select.milp import AdditiveProblem, Best, Query
from hwnas.select.plan import Chosen, FrontPoint, Plan, PlanCost, Shipped, TierPlan
from hwnas.select.protocol import (
    AdditivePrices,
    AdditiveQuality,
    Costs,
    Measure,
    Progress,
    Quality,
    Terms,
)
from hwnas.select.quality import default_cache, open_quality
from hwnas.select.run import METHODS, select
from hwnas.select.searched import Settings

__all__ = [
    "FRONT",
    "METHODS",
    "AdditivePrices",
    "AdditiveProblem",
    "AdditiveQuality",
    "Best",
    "Better",
    "Bought",
    "Budget",
    "Chosen",
    "Costs",
    "Explanation",
    "FrontPoint",
    "Limit",
    "Measure",
    "NothingFits",
    "Plan",
    "PlanCost",
    "Progress",
    "Quality",
    "Query",
    "Settings",
    "Shipped",
    "Shortfall",
    "Terms",
    "Tier",
    "TierPlan",
    "Worth",
    "combine",
    "default_cache",
    "open_quality",
    "parse_budget",
    "parse_tier",
    "select",
]
