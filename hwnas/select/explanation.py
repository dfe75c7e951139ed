"""What a plan may say about why a subnet was chosen: records, as they are written."""

from __future__ import annotations

from hwnas.frozen import Frozen

__all__ = ["Better", "Bought", "Explanation", "Worth"]


class Bought(Frozen):
    """One block of the chosen subnet against the quickest that could stand there.

    Attributes:
        slot, choice: the block.
        p50_ms: its share of the subnet's predicted median.
        bytes: of the weights that it uses.
        quality: what it adds to the quality; None where that is no sum over blocks.
        cheapest: the choice of least p50 at the same dimensions; itself if there is no other.
        more_ms, more_bytes, more_quality: what the block has more than that one.
    """

    slot: str
    choice: str
    p50_ms: float
    bytes: int
    quality: float | None
    cheapest: str
    more_ms: float
    more_bytes: int
    more_quality: float | None


class Better(Frozen):
    """The quickest subnet that is better than the chosen one, whatever the budgets say.

    Attributes:
        subnet: its name.
        quality: higher than the chosen one's.
        cost: metric to what it is believed to cost; p50 and the metrics of budgets.
        excess: metric to the share by which its budget is exceeded, for those that are.
    """

    subnet: str
    quality: float
    cost: dict[str, float]
    excess: dict[str, float]


class Worth(Frozen):
    """What a budget is worth at its edge: the answer again, at 1% less and 1% more of it.

    Attributes:
        metric: of the budget.
        limit: the budget.
        less, more: the best value at 99% and 101% of it; ``less`` is None if nothing fits then.
        per_unit: value gained per unit of the metric, over that range; None as ``less``.
        dual: the same at the very edge if fractions of blocks could be had (the dual of the
            relaxation); None where no such program was solved.
    """

    metric: str
    limit: float
    less: float | None
    more: float
    per_unit: float | None
    dual: float | None = None


class Explanation(Frozen):
    """Why this subnet.

    Attributes:
        tier: for which tier.
        subnet: its name.
        value: what was optimised: its quality, or the metric that was to be least.
        constant_ms: p50 that every subnet has, whatever its blocks.
        bought: block by block; empty where costs are not sums over blocks.
        better: None if there is no better one, or a metric was to be least.
        worth: budget by budget; empty where subnets were chosen together for their bytes: what a
            budget is worth to one then depends on the others.
    """

    tier: str
    subnet: str
    value: float
    constant_ms: float = 0.0
    bought: tuple[Bought, ...] = ()
    better: Better | None = None
    worth: tuple[Worth, ...] = ()
