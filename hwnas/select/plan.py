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
from hwnas.space import Subnet
from hwnas.table.cost import Cost

__all__ = ["SCHEMA_VERSION", "Chosen", "FrontPoint", "Plan", "PlanCost", "TierPlan"]

SCHEMA_VERSION: Final = 2
"""2: a chosen subnet may say how normalisation statistics of its own are linked."""
_AGAIN = "make it again with 'hwnas select'"


class PlanCost(Frozen):
    """:class:`hwnas.table.cost.Cost` as it is written; ``memory_bytes`` is None if not known."""

    p50_ms: float
    p95_ms: float
    memory_bytes: float | None
    weight_bytes: int
    measured: bool
    p50_interval_ms: tuple[float, float] | None = None

    @classmethod
    def of(cls, cost: Cost) -> PlanCost:
        """The record of ``cost``."""
        interval = cost.p50_interval_ms
        return cls(
            p50_ms=cost.p50_ms,
            p95_ms=cost.p95_ms,
            memory_bytes=cost.memory_bytes if math.isfinite(cost.memory_bytes) else None,
            weight_bytes=cost.weight_bytes,
            measured=cost.measured,
            p50_interval_ms=interval if interval and all(map(math.isfinite, interval)) else None,
        )

    def cost(self) -> Cost:
        """The cost, with nan for a memory that is not known."""
        memory = math.nan if self.memory_bytes is None else self.memory_bytes
        return Cost(
            self.p50_ms,
            self.p95_ms,
            memory,
            self.weight_bytes,
            self.measured,
            self.p50_interval_ms,
        )


class TierPlan(Frozen):
    """The answer for one tier.

    Attributes:
        name: of the tier.
        limits: its budgets, in ms and bytes.
        subnet: the best that fits.
        more: others that fit, spread along the front by latency.
        feasible: candidates that are believed to fit.
        proof: what is proven of ``subnet``.
    """

    name: str
    limits: tuple[Limit, ...]
    subnet: str
    more: tuple[str, ...] = ()
    feasible: int
    proof: str


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


class Plan(Frozen):
    """What a selection chose, and why.

    Attributes:
        schema_version: of this file, apart from the version of hwnas.
        hwnas: the version that wrote it.
        bundle_sha256: of the bundle's ``manifest.json``.
        fingerprint: of the device that the costs are of; None if they are of none.
        method: ``sorted`` or ``exact``.
        proof: what is proven, tier by tier.
        quality_source: what kind of number the qualities are; None if there are none.
        candidates: subnets that could have been chosen.
        unrated: subnets of the space that could not, because their quality is not known.
        measured: subnets that were measured whole during the selection.
        correction: metric to the factor by which those measurements corrected predictions.
        tiers: in the order in which they were asked for.
        subnets: each once; the tiers' best first, then their others, then what was included.
        front: over all candidates that are rated, best first.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    hwnas: str
    bundle_sha256: str
    fingerprint: dict[str, JsonValue] | None
    method: str
    proof: str
    quality_source: str | None
    candidates: int
    unrated: int
    measured: int
    correction: dict[str, float] = Field(default_factory=dict)
    tiers: tuple[TierPlan, ...]
    subnets: tuple[Chosen, ...]
    front: tuple[FrontPoint, ...]

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


def _refuse(what: str, names: Iterable[str], trouble: str) -> None:
    found = sorted(set(names))
    if found:
        raise ValueError(f"{what} {shorten(found)} {trouble}")
