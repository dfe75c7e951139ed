"""What the switchable bundle must reach, and a line on each goal: what was found and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["GOALS", "Goals", "Verdict", "judge"]


@dataclass(frozen=True)
class Goals:
    """Limits for one network; ratios are to its static exports, memory to the largest alone.

    Attributes:
        latency: of every subnet, native chain over static.
        memory: PSS after every subnet has run; None where the network is too small to tell.
    """

    latency: float = 1.01
    memory: float | None = None


GOALS = {
    "t12": Goals(memory=1.03),
    "t24": Goals(memory=1.02),
    "cnn": Goals(memory=1.05),
    "tiny": Goals(latency=1.02),
}

_BYTES = 1.02
_LOAD = 1.0
_SWITCH_US = 1.0


@dataclass(frozen=True)
class Verdict:
    """One goal of one network: met, and what to say of it."""

    net: str
    met: bool
    text: str

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.net:5} {self.text}"


def judge(net: str, report: dict[str, Any], segments: dict[str, int]) -> Iterator[Verdict]:
    """Hold a report of ``hwnas bench`` against the goals of ``net``.

    Args:
        net: a key of :data:`GOALS`.
        report: as ``--report`` wrote it.
        segments: of each subnet's program.
    """
    if report["contender"] != "native":
        yield Verdict(net, False, f"no native chain: {report['native_missing']}")
    goals = GOALS[net]
    yield _latency(net, report, goals.latency, segments)
    yield _bits(net, report)
    if goals.memory is not None:
        yield _memory(net, report, goals.memory)
    took = report["switch_us"][report["contender"]]
    text = f"switch call {took:.2f} us from Python (goal: at most {_SWITCH_US:g} us)"
    yield Verdict(net, took <= _SWITCH_US, text)
    yield _load(net, report)
    yield _bytes(net, report)


def _latency(net: str, report: dict[str, Any], goal: float, segments: dict[str, int]) -> Verdict:
    subnets = report["subnets"]
    over = {name: one for name, one in subnets.items() if one["latency_ratio"] > goal}
    worst = max(subnets, key=lambda name: subnets[name]["latency_ratio"])
    noise = [one["noise"][end] for one in subnets.values() for end in ("low", "high")]
    floor = max(abs(end - 1) for end in noise)
    text = (
        f"latency {subnets[worst]['latency_ratio']:.3f} at {worst}, the worst of {len(subnets)} "
        f"(goal: at most {goal}; two equal static sessions differ by up to {floor:.1%})"
    )
    for name, one in over.items():
        found = one["contenders"][report["contender"]]["ratio"]
        extra = (one["latency_ratio"] - 1) * one["static_latency_ms"] * 1e3
        hops = segments[name] - 1
        text += f"\n{'':13}{name}: {one['latency_ratio'] - goal:.1%} over the goal"
        if found["low"] <= goal:
            text += f", which lies in the 95% interval {found['low']:.3f} to {found['high']:.3f}"
        text += f"; {extra:.1f} us more than static"
        if hops:
            text += f" for {hops} hop{'s' * (hops > 1)}, {extra / hops:.1f} us each"
    return Verdict(net, not over, text)


def _bits(net: str, report: dict[str, Any]) -> Verdict:
    subnets = report["subnets"]
    off = {name: one["max_abs_diff"] for name, one in subnets.items() if not one["equal"]}
    text = f"outputs bit-equal to the static export at {len(subnets) - len(off)} of {len(subnets)}"
    if off:
        worst = max(off, key=lambda name: off[name])
        text += f"; the largest difference is {off[worst]:.2g} at {worst}"
    return Verdict(net, not off, text)


def _memory(net: str, report: dict[str, Any], goal: float) -> Verdict:
    ratio = report["memory_ratio_to_largest"]
    if ratio is None:
        return Verdict(net, False, "memory: not available here (no /proc/self/smaps_rollup)")
    text = f"memory {ratio:.3f} (goal: at most {goal})"
    if ratio > goal:
        extra = report["memory_bytes"] - goal * report["memory_bytes_largest"]
        text += f"; {extra / 1e6:.2f} MB over it: sessions and hop buffers of every segment"
    return Verdict(net, ratio <= goal, text)


def _load(net: str, report: dict[str, Any]) -> Verdict:
    ratio, took = report["load_ratio_to_largest"], report["load_ms"]
    text = f"load {ratio:.2f} ({took:.1f} ms; goal: at most {_LOAD:g}, the largest subnet alone)"
    skipped = report["footprints"].get("native unverified")
    if ratio > _LOAD and skipped is not None:
        text += (
            f"\n{'':13}comparing hashes takes part of it, which no static session does: without, "
            f"{skipped['load_ratio']:.2f}"
        )
    return Verdict(net, ratio <= _LOAD, text)


def _bytes(net: str, report: dict[str, Any]) -> Verdict:
    ratio = report["bytes_ratio_to_largest"]
    text = f"bytes {ratio:.3f} (goal: at most {_BYTES})"
    if ratio > _BYTES:
        extra = report["bytes"] - _BYTES * report["bytes_largest"]
        text += f"; {extra / 1e3:.1f} kB over it: manifest and segments, which do not grow with it"
    return Verdict(net, ratio <= _BYTES, text)
