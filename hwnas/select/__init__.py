"""Selection: which subnets meet which budgets, and what proves that there is no better one."""

from hwnas.select.budgets import Budget, Limit, Tier, combine, parse_budget, parse_tier
from hwnas.select.infeasible import NothingFits, Shortfall
from hwnas.select.plan import Chosen, FrontPoint, Plan, PlanCost, TierPlan
from hwnas.select.protocol import Costs, Measure, Progress, Quality
from hwnas.select.quality import default_cache, open_quality
from hwnas.select.run import select

__all__ = [
    "Budget",
    "Chosen",
    "Costs",
    "FrontPoint",
    "Limit",
    "Measure",
    "NothingFits",
    "Plan",
    "PlanCost",
    "Progress",
    "Quality",
    "Shortfall",
    "Tier",
    "TierPlan",
    "combine",
    "default_cache",
    "open_quality",
    "parse_budget",
    "parse_tier",
    "select",
]
