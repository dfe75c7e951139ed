"""The ways of composing each metric of a subnet from its blocks, and how they read.

Features of a subnet, by name:

- ``warm``: sum of its blocks' medians, in ms;
- ``penalty``: sum of what their first runs after others took longer, in ms;
- ``weights``: bytes of weights that its blocks read, in MB;
- ``tail``: sum of its blocks' 95th percentiles, in ms;
- ``p50``: its predicted median, in ms;
- ``memory``: what loading each block adds, plus the most that running one adds (buffers of blocks
  that run one after the other are used again), in MB;
- ``energy``: sum of what its blocks take, in J;
- ``blocks``: how many; ``one``: 1.
"""

from __future__ import annotations

from hwnas.table.fit import LEVEL, Fit, Form, student

__all__ = ["ENERGY", "MEMORY", "P50", "P95", "describe"]

_ONE = frozenset(["one"])

P50 = (
    Form(("penalty",), base="warm", share=frozenset(["penalty"])),
    Form(("warm",)),
    Form(("warm", "penalty"), points=4),
    Form(("warm", "weights"), points=4),
    Form(("warm", "one"), points=4, signed=_ONE, small=_ONE),
    Form(("warm", "penalty", "weights"), points=12),
)
"""Third terms gain nothing on fewer than some 12 subnets, second ones on fewer than 4."""

P95 = (Form(("p50",)), Form(("tail",)))

MEMORY = (
    Form(("memory",)),
    Form(("memory", "blocks"), points=4, signed=frozenset(["blocks"])),
    Form(("memory", "one"), points=4, signed=_ONE, small=_ONE),
)
"""Each block that is measured alone is a session with tables of its own; the whole has one."""

ENERGY = (
    Form(("energy",)),
    Form(("energy", "one"), points=4, signed=_ONE, small=_ONE),
)

_WORDS = {
    "warm": "sum of warm runs",
    "penalty": "sum of cold penalties",
    "weights": "MB of weights",
    "tail": "sum of p95",
    "p50": "predicted p50",
    "memory": "sum of loads and highest run",
    "blocks": "number of blocks",
    "energy": "sum of blocks' energy",
}

_WHY = {
    "p50": "a block timed alone finds its weights in the cache, within a network it does not",
    "memory": "each block timed alone is a session of its own, the whole is one",
}


def describe(metric: str, fit: Fit, unit: str) -> str:
    """One line for people: terms, cross-validated error, points, and why it is no plain sum."""
    if not fit.points:
        return "plain sum of blocks, not calibrated"
    text = f"calibrated on {fit.points} whole subnet{'s' if fit.points > 1 else ''}: "
    text += _formula(fit, unit)
    if fit.points > len(fit.weights):
        text += f"; each predicted from the others within {fit.error:.1%} on average"
    text += f"; {LEVEL:.0%} of new ones within {student(fit.freedom) * fit.sigma:.1%}"
    if metric in _WHY:
        text += f"; no plain sum, since {_WHY[metric]}"
    return text


def _formula(fit: Fit, unit: str) -> str:
    parts = [_WORDS[fit.form.base]] if fit.form.base else []
    for name, weight in zip(fit.form.terms, fit.weights, strict=True):
        if name == "one":
            part = f"{abs(weight):.4g} {unit}"
        elif name in ("weights", "blocks"):
            part = f"{abs(weight):.3g} {unit} x {_WORDS[name]}"
        else:
            part = f"{abs(weight):.3f} x {_WORDS[name]}"
        parts.append(f"{'- ' if weight < 0 else '+ '}{part}" if parts else part)
    return " ".join(parts)
