"""Quality as a sum of scores, one for each block: CSV with a header ``block,score``.

    block,score
    constant,0.71           what every subnet has; 0 if there is no such row
    layers.0/h8,-0.02       a block: slot/choice as it is written in plans
    stage0.1/k3e4,-0.01     or with the choice alone: the same at all values of its dimensions
    r=160,-0.03             a value of a dimension: added once to every subnet that has it

Every block must be there, but for those of slots that every subnet has with one choice: these
may be left out, and count 0. Of a dimension, all values must be there, unless blocks are written
with its values. Unknown is never 0 by itself: it would look like the price of nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwnas.errors import UnknownName, UsageError, shorten
from hwnas.files import atomic_file
from hwnas.select.protocol import Progress, Terms
from hwnas.select.quality.text import csv_rows, finite
from hwnas.space import Space, Subnet

__all__ = ["COLUMNS", "AdditiveScores", "anchors", "write_scores"]

COLUMNS = ("block", "score")
_CONSTANT = "constant"


class AdditiveScores:
    """Scores that add up. Immutable. Follows ``AdditiveQuality``.

    Args:
        source: where they are from.
        space: whose blocks.
        scores: by what is written in the column ``block``.

    Raises:
        UsageError: an unknown block, one that is scored twice, or some that are not scored.
    """

    kind = "additive scores"
    costly = False

    def __init__(self, source: str, space: Space, scores: Mapping[str, float]) -> None:
        self.source = source
        self._space = space
        self._terms = Terms(scores.get(_CONSTANT, 0.0), _per_block(space, scores, source))

    @classmethod
    def read(cls, path: Path, space: Space) -> AdditiveScores:
        """Read the scores at ``path``.

        Raises:
            UsageError: as the class, or a line that is wrong; names it.
        """
        scores: dict[str, float] = {}
        for where, row in csv_rows(path, COLUMNS):
            name = row.get(COLUMNS[0], "")
            if not name:
                raise UsageError(f"{path}, {where}: there is no block", "name it: slot/choice")
            if name in scores:
                raise UsageError(f"{path}, {where}: {name} is scored twice", "keep one of the two")
            scores[name] = finite(row.get(COLUMNS[1]), f"{path}, {where}: the score of {name}")
        return cls(f"{cls.kind} {path.name}", space, scores)

    def rated(self) -> None:
        """None: any subnet has a sum."""
        return

    def scores(self, subnets: Sequence[Subnet], progress: Progress | None = None) -> list[float]:
        """The sums; takes no time, so ``progress`` hears nothing."""
        value, constant = self._terms.per_block, self._terms.constant
        return [constant + sum(map(value.__getitem__, s.choices.items())) for s in subnets]

    def terms(self, space: Space) -> Terms:
        """The scores; those of a dimension are on the first slot that depends on it."""
        if space != self._space:
            raise UsageError(f"{self.source} are of another space", "read them for this one")
        return self._terms


def write_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Write ``scores``, as :class:`AdditiveScores` reads them.

    Raises:
        HwnasError: the disk is full or the place cannot be written.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((name, repr(score)) for name, score in scores.items())


def anchors(space: Space) -> dict[str, str]:
    """Of each dimension, the first slot that depends on it and that every subnet has.

    What a value of the dimension adds is put on that slot's blocks, so that it counts once.
    """
    optional = space.skippable
    always = [slot for slot in space.slots if slot.name not in optional]
    return {
        d.name: next(slot.name for slot in always if d.name in slot.dimensions)
        for d in space.dimensions
    }


def _per_block(
    space: Space, scores: Mapping[str, float], source: str
) -> dict[tuple[str, str], float]:
    carriers = anchors(space)
    short = {
        (slot, written): f"{slot}/{space.read(slot, written)[0]}" for slot, written in space.blocks
    }
    _refuse_unknown(space, scores, source, short)
    missing = _missing(space, scores, short)
    if missing:
        raise UsageError(
            f"{source}: there is no score for {shorten(missing)}",
            "add a row for each; write 0 where it changes nothing",
        )
    per_block = {}
    for (slot, written), base in short.items():
        name = f"{slot}/{written}"
        if name != base and name in scores and base in scores:
            raise UsageError(
                f"{source}: {name} is scored twice, by itself and by {base}", "keep one of the two"
            )
        score = scores.get(name, scores.get(base, 0.0))
        at = space.read(slot, written)[1]
        carried = (f"{d}={value}" for d, value in at.items() if carriers[d] == slot)
        per_block[slot, written] = score + sum(scores.get(value, 0.0) for value in carried)
    return per_block


def _values(space: Space) -> dict[str, list[str]]:
    """Of each dimension with several values, how these are written in the column ``block``."""
    free = (d for d in space.dimensions if len(d.values) > 1)
    return {d.name: [f"{d.name}={value}" for value in d.values] for d in free}


def _refuse_unknown(
    space: Space, scores: Mapping[str, float], source: str, short: Mapping[tuple[str, str], str]
) -> None:
    blocks = [f"{slot}/{written}" for slot, written in short]
    values = [value for written in _values(space).values() for value in written]
    known = dict.fromkeys([*blocks, *short.values(), *values, _CONSTANT])
    for name in scores:
        if name not in known:
            raise UnknownName(f"block in {source}:", name, list(known))


def _missing(
    space: Space, scores: Mapping[str, float], short: Mapping[tuple[str, str], str]
) -> list[str]:
    optional = space.skippable
    missing = []
    apart: set[str] = set()
    for slot in space.slots:
        blocks = {f"{slot.name}/{w}": short[slot.name, w] for w in space.written(slot.name)}
        by_value = any(name in scores and name != base for name, base in blocks.items())
        if by_value:
            apart |= set(slot.dimensions)
        if by_value or len(slot.choices) > 1 or slot.name in optional:
            missing += [n for n, base in blocks.items() if n not in scores and base not in scores]
    for dimension, values in _values(space).items():
        if dimension not in apart or any(value in scores for value in values):
            missing += [value for value in values if value not in scores]
    return missing
