"""What subnets cost as plain sums over their blocks, for methods that need more than a price.

``CostModel`` prices a subnet; an integer program or a dynamic program needs to know what each block
adds. The same fits are written here as one number per block, a constant, and for memory a number
per block of which the highest counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import Block
from hwnas.table.fit import Fit
from hwnas.table.weights import Atom

__all__ = ["AdditiveCosts", "Linear", "bytes_linear", "compose"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """A metric as ``constant + sum of per_block[b] + max of peak[b]`` over a subnet's blocks.

    Attributes:
        constant: in the metric's unit.
        per_block: what each block adds, shape (blocks,); NaN where it is not known.
        peak: of which the highest counts, shape (blocks,), none below 0; ``None`` for no maximum.
    """

    constant: float
    per_block: Floats
    peak: Floats | None = None

    def __call__(self, blocks: Sequence[int]) -> float:
        """The metric of the subnet that has the blocks of these numbers."""
        chosen = list(blocks)
        total = self.constant + float(self.per_block[chosen].sum())
        return total if self.peak is None else total + float(self.peak[chosen].max(initial=0.0))

    def scaled(self, factor: float) -> Linear:
        """``factor`` times it; not below 0 where there is a maximum."""
        if self.peak is not None and factor < 0:
            raise ValueError("a maximum times a number below 0 is no maximum")
        peak = None if self.peak is None else self.peak * factor
        return Linear(self.constant * factor, self.per_block * factor, peak)


@dataclass(frozen=True, eq=False)
class AdditiveCosts:
    """What :meth:`hwnas.table.CostModel.predict_many` computes, block by block.

    Attributes:
        blocks: (slot, written choice); everything else counts blocks in this order.
        metrics: by name, in the units of :class:`hwnas.table.Cost`. ``None`` where the metric is no
            such sum, since slots share tensors that not every subnet uses, or is known of no block.
        atoms: bytes of weights by who uses them: any blocks, of one subnet or of several, use
            together the sum of the sizes of the atoms that at least one of them uses.
    """

    blocks: tuple[tuple[str, str], ...]
    metrics: Mapping[str, Linear | None]
    atoms: tuple[Atom, ...]

    def shared_bytes(self, blocks: Sequence[int]) -> int:
        """Bytes of weights that the blocks of these numbers use together."""
        chosen = set(blocks)
        return sum(size for size, users in self.atoms if not chosen.isdisjoint(users))


def compose(fit: Fit, features: Mapping[str, Linear | None]) -> Linear | None:
    """A fit over features that are sums themselves; ``None`` if one of them is not.

    Args:
        fit: of at most one feature with a maximum.
        features: by name, see ``forms``.
    """
    form = fit.form
    weighed = [(1.0, form.base)] if form.base else []
    weighed += [(weight, name) for name, weight in zip(form.terms, fit.weights, strict=True)]
    parts: list[Linear] = []
    for weight, name in weighed:
        feature = features[name]
        if feature is None:
            return None
        parts.append(feature.scaled(weight))
    peaks = [part.peak for part in parts if part.peak is not None]
    assert len(peaks) <= 1, "a sum of two maxima is no maximum"
    return Linear(
        sum(part.constant for part in parts),
        np.sum([part.per_block for part in parts], axis=0),
        peaks[0] if peaks else None,
    )


def bytes_linear(
    blocks: Mapping[str, Block], atoms: Sequence[Atom], skippable: frozenset[str]
) -> Linear | None:
    """Bytes of weights of one subnet, if they are a sum over its blocks.

    They are where no two slots share an atom, or where a slot that is never left out uses it
    whatever its choice: then it is in every subnet.

    Args:
        blocks: by id, all that the space has.
        atoms: of these.
        skippable: slots that some subnet leaves out.
    """
    slots = [block.slot for block in blocks.values()]
    choices = Counter(slots)
    constant, own = 0, np.zeros(len(slots))
    for size, users in atoms:
        using = Counter(slots[number] for number in users)
        if len(using) == 1:
            own[list(users)] += size
        elif any(n == choices[slot] and slot not in skippable for slot, n in using.items()):
            constant += size
        else:
            return None
    return Linear(float(constant), own)
