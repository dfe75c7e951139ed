"""The plan: which subnets ship, for which budgets, what they cost, and what proves it.

One JSON file. It names its bundle by the hash of the manifest, so that it is not used for other
weights. The same selection gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from hwnas.bundle import MANIFEST, Bundle
from hwnas.errors import NewerSchema, PlanError, UnknownName, shorten
from hwnas.files import atomic_file, sha256_file
from hwnas.frozen import Frozen
from hwnas.select.budgets import Limit
from hwnas.select.explanation import Explanation
from hwnas.space import Subnet
from hwnas.table.cost import Cost

__all__ = ["SCHEMA_VERSION", "Chosen", "FrontPoint", "Plan", "PlanCost", "Shipped", "TierPlan"]

SCHEMA_VERSION: Final = 3
"""2: a chosen subnet may say how normalisation statistics of its own are linked.

3: the kind of quality, energy and arithmetic, what was to be least and the least quality, the
solver and how far an answer may be from the best, bytes that ship, explanations.
"""
_AGAIN = "make it again with 'hwnas select'"


class PlanCost(Frozen):
    """:class:`hwnas.table.cost.Cost` as it is written: None for what is not known."""

    p50_ms: float
    p95_ms: float | None
    memory_bytes: float | None
    weight_bytes: int
    measured: bool
    p50_interval_ms: tuple[float, float] | None = None
    energy_j: float | None = None
    macs: float | None = None

    @classmethod
    def of(cls, cost: Cost) -> PlanCost:
        """The record of ``cost``."""
        interval = cost.p50_interval_ms
        return cls(
            p50_ms=cost.p50_ms,
            p95_ms=_known(cost.p95_ms),
            memory_bytes=_known(cost.memory_bytes),
            weight_bytes=cost.weight_bytes,
            measured=cost.measured,
            p50_interval_ms=interval if interval and all(map(math.isfinite, interval)) else None,
            energy_j=_known(cost.energy_j),
            macs=_known(cost.macs),
        )

    def cost(self) -> Cost:
        """The cost, with nan for what is not known."""
        return Cost(
            self.p50_ms,
            _or_nan(self.p95_ms),
            _or_nan(self.memory_bytes),
            self.weight_bytes,
            self.measured,
            self.p50_interval_ms,
            energy_j=_or_nan(self.energy_j),
            macs=_or_nan(self.macs),
        )


class TierPlan(Frozen):
    """The answer for one tier.

    Attributes:
        name: of the tier.
        limits: its budgets, in ms and bytes.
        subnet: the best that fits.
        more: others that fit, spread along the front by latency.
        feasible: candidates that are believed to fit; None where they were not listed.
        proof: what is proven of ``subnet``.
        gap: by how much of its quality (or of what was to be least) another may be better at
            most, under predictions; 0 if none is, None if nothing is proven.
    """

    name: str
    limits: tuple[Limit, ...]
    subnet: str
    more: tuple[str, ...] = ()
    feasible: int | None
    proof: str
    gap: float | None = None


class Chosen(Frozen):
    """A subnet that ships.

    Attributes:
        name, spec, choices: as in :class:`hwnas.space.Subnet`.
        quality: higher is better; None if the selection had none for it.
        predicted: cost from its blocks, as the model gives it.
        measured: cost of the whole subnet on the device, where it was measured.
        tiers: those that it is the best for, or one more for.
        included: it ships because it was asked for, whatever it costs.
        norm: how normalisation statistics of its own are linked, if it is exported with any:
            ``shared`` keeps the convolutions of all subnets one, ``folded`` is faster and larger.
    """

    name: str
    spec: str
    choices: dict[str, str]
    quality: float | None
    predicted: PlanCost
    measured: PlanCost | None
    tiers: tuple[str, ...]
    included: bool = False
    norm: Literal["shared", "folded"] = "shared"

    @property
    def subnet(self) -> Subnet:
        """The subnet itself."""
        return Subnet(name=self.name, spec=self.spec, choices=self.choices)

    @property
    def cost(self) -> Cost:
        """Measured if it was, else predicted."""
        return (self.measured or self.predicted).cost()


class FrontPoint(Frozen):
    """A candidate that none other beats in quality, p50 and what budgets are on, all at once.

    Attributes:
        subnet: its name.
        quality: None where the order of sizes stands in for it.
        cost: as believed in the end: measured, else predicted times the plan's ``correction``.
    """

    subnet: str
    quality: float | None
    cost: PlanCost


class Shipped(Frozen):
    """Bytes of weights of all chosen subnets.

    Attributes:
        union: of all together, each byte once: what ships.
        parts: of each alone, added up.
        limit: the budget that they were chosen together for, if there was one.
    """

    union: int
    parts: int
    limit: float | None = None


class Plan(Frozen):
    """What a selection chose, and why.

    Attributes:
        schema_version: of this file, apart from the version of hwnas.
        hwnas: the version that wrote it.
        bundle_sha256: of the bundle's ``manifest.json``.
        fingerprint: of the device that the costs are of; None if they are of none.
        method: ``sorted``, ``exact`` or ``search``.
        solver: what solved it, where subnets were not listed.
        proof: what is proven, tier by tier.
        quality_kind: what kind of number the qualities are; None if there are none.
        quality_source: where they come from; None if there are none.
        minimize: the metric that was to be least; None if quality was to be the most.
        min_quality: the least quality that was wanted.
        candidates: subnets that could have been chosen.
        unrated: subnets of the space that could not, because their quality is not known.
        measured: subnets that were measured whole during the selection.
        correction: metric to the factor by which those measurements corrected predictions.
        tiers: in the order in which they were asked for.
        subnets: each once; the tiers' best first, then their others, then what was included.
        front: over all candidates that are rated, best first; where they were not listed, the best
            for evenly spaced p50.
        shipped: bytes of all of ``subnets`` together.
        explanations: tier by tier, what was bought and what more would cost, if asked for.
    """

    schema_version: Literal[1, 2, 3] = SCHEMA_VERSION
    hwnas: str
    bundle_sha256: str
    fingerprint: dict[str, JsonValue] | None
    method: str
    solver: str | None = None
    proof: str
    quality_kind: str | None = None
    quality_source: str | None
    minimize: str | None = None
    min_quality: float | None = None
    candidates: int
    unrated: int
    measured: int
    correction: dict[str, float] = Field(default_factory=dict)
    tiers: tuple[TierPlan, ...]
    subnets: tuple[Chosen, ...]
    front: tuple[FrontPoint, ...]
    shipped: Shipped | None = None
    explanations: tuple[Explanation, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Plan:
        names = [chosen.name for chosen in self.subnets]
        _refuse("the subnet", (n for n in names if names.count(n) > 1), "is there twice")
        wanted = [name for tier in self.tiers for name in (tier.subnet, *tier.more)]
        _refuse("a tier's subnet", (n for n in wanted if n not in names), "is not in the plan")
        known = {tier.name for tier in self.tiers}
        served = [tier for chosen in self.subnets for tier in chosen.tiers]
        _refuse("the tier", (t for t in served if t not in known), "is not in the plan")
        return self

    def subnet(self, name: str) -> Chosen:
        """The chosen subnet of that name; :class:`UnknownName` if it was not chosen."""
        for chosen in self.subnets:
            if chosen.name == name:
                return chosen
        raise UnknownName("subnet", name, [chosen.name for chosen in self.subnets])

    def text(self) -> str:
        """The file's contents."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the plan whole or not at all.

        Raises:
            HwnasError: the disk is full or the place cannot be written.
        """
        with atomic_file(Path(path)) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan.

        Raises:
            NewerSchema: written by a newer hwnas.
            PlanError: missing, cut off, altered, or not a plan.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or str(error)
            raise PlanError(f"cannot read the plan {path}: {reason}", "check the path") from error
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{path} is cut off or not JSON: {error}", _AGAIN) from error
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerSchema(path, version, SCHEMA_VERSION)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the plan"
            raise PlanError(f"{path} is not a plan: {where}: {first['msg']}", _AGAIN) from error

    def check(self, bundle: Bundle) -> None:
        """Make sure that this plan was made for ``bundle``.

        Raises:
            PlanError: it was made for another one, or its subnets are not of this space.
        """
        if sha256_file(bundle.path / MANIFEST) != self.bundle_sha256:
            raise PlanError(
                f"the plan was made for another bundle than {bundle.path}",
                f"give the bundle that it was made for, or {_AGAIN} for this one",
            )
        space = bundle.manifest.space
        for chosen in self.subnets:
            try:
                known = space.find(chosen.spec)
            except UnknownName as error:
                raise PlanError(f"the plan has an {error.cause}", _AGAIN) from error
            if known != chosen.subnet:
                raise PlanError(
                    f"the plan's {chosen.name} does not have the choices of that name", _AGAIN
                )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _refuse(what: str, names: Iterable[str], trouble: str) -> None:
    found = sorted(set(names))
    if found:
        raise ValueError(f"{what} {shorten(found)} {trouble}")
