"""What a table lacks for a bundle: unknown is never free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hwnas.bundle import Bundle
from hwnas.errors import MissingMeasurements, shorten
from hwnas.space import Subnet
from hwnas.table.imports import is_imported
from hwnas.table.lut import Lut

__all__ = ["Missing", "missing", "missing_error"]


@dataclass(frozen=True)
class Missing:
    """A kind without a usable measurement.

    Attributes:
        kind: its key.
        blocks: ids of the blocks of that kind that are needed.
        error: why its measurement failed or is invalid; empty if it was never measured.
    """

    kind: str
    blocks: tuple[str, ...]
    error: str = ""

    def __str__(self) -> str:
        others = len(self.blocks) - 1
        more = f" (and {others} more of its kind)" if others else ""
        why = self.error if self.error.startswith("invalid") else f"failed: {self.error}"
        return f"{self.blocks[0]}{more} {why if self.error else 'not measured'}"


def missing(bundle: Bundle, lut: Lut, subnets: Iterable[Subnet] | None = None) -> list[Missing]:
    """The kinds that ``lut`` lacks for ``subnets`` (all of the space by default), in order."""
    if subnets is None:
        wanted = {f"{slot}/{choice}" for slot, choice in bundle.manifest.space.blocks}
    else:
        wanted = {unit for subnet in subnets for unit in subnet.blocks}
    kinds: dict[str, list[str]] = {}
    for unit, block in bundle.manifest.blocks.items():
        if unit in wanted:
            kinds.setdefault(block.kind, []).append(unit)
    measured = set(lut.keys("block"))
    failed = {failure.key: failure.error for failure in lut.failures() if failure.scope == "block"}
    return [
        Missing(kind, tuple(units), failed.get(kind, ""))
        for kind, units in kinds.items()
        if kind not in measured
    ]


def missing_error(bundle: Bundle, lut: Lut, found: Sequence[Missing]) -> MissingMeasurements:
    """The error that names what is in ``found`` and the command that measures it."""
    command = f"hwnas profile {bundle.path} --resume -o {lut.path}"
    if any(item.error for item in found):
        command += " --retry-failed"
    if is_imported(lut.fingerprint):
        command = "import files that hold them all, with 'hwnas lut import'"
    kinds = f"{len(found)} kind{'s' if len(found) > 1 else ''} of block"
    if len(found) == len(bundle.kinds()) and lut.keys("block"):
        kinds += f", all that {bundle.path} has: it was made for another network"
    return MissingMeasurements(f"{lut.path} lacks {kinds}: {shorten(map(str, found))}", command)
