"""Finding what can be computed in rings: the regions of a graph, and what is left out, with why."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto

from hwnas.link.axes import Lost, Region, View
from hwnas.link.axis_rules import step
from hwnas.link.rename import captured

__all__ = ["find_regions"]


class _Groups:
    """Regions while they are being found: they join where their values meet."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.regions: list[Region] = []
        self.lost: dict[int, str] = {}
        self._joined: list[int] = []

    def add(self, region: Region) -> int:
        self.regions.append(region)
        self._joined.append(len(self._joined))
        return len(self._joined) - 1

    def root(self, group: int) -> int:
        while self._joined[group] != group:
            group = self._joined[group]
        return group

    def join(self, groups: Iterable[int]) -> int:
        first, *others = sorted({self.root(group) for group in groups})
        for other in others:
            self._joined[other] = first
            self.regions[first].steps.update(self.regions[other].steps)
            if other in self.lost:
                self.lost.setdefault(first, self.lost[other])
        return first

    def lose(self, groups: Iterable[int], reason: str) -> None:
        for group in groups:
            self.lost.setdefault(self.root(group), reason)


def find_regions(graph: GraphProto, view: View) -> tuple[list[Region], dict[str, str]]:
    """The regions of ``graph``, and the elastic weights left alone, each with the reason.

    Args:
        graph: in topological order.
        view: of that graph; its axes are set anew.
    """
    view.axes.clear()
    groups = _Groups()
    alone: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        inner = view.axes.keys() & captured(node)
        members = {groups.of[name] for name in (*node.input, *inner) if name in groups.of}
        try:
            if inner:
                raise Lost(f"{node.op_type} takes an elastic value into a graph of its own")
            found = step(node, view)
        except Lost as lost:
            groups.lose(members, str(lost))
            if not members:
                alone |= {name: str(lost) for name in node.input if name in view.elastic}
            continue
        if found is None:
            continue
        if members:
            group = groups.join(members)
        else:
            weight = next(node.input[i] for i in found.cut if node.input[i] in view.elastic)
            group = groups.add(Region(weight, view.elastic[weight]))
        groups.regions[group].steps[index] = found
        if found.out is not None:
            for name in filter(None, node.output):
                view.axes[name] = found.out
                groups.of[name] = group
    for value in graph.output:
        if value.name in groups.of:
            groups.lose([groups.of[value.name]], f"the network returns {value.name}")
    regions = []
    for number, region in enumerate(groups.regions):
        if groups.root(number) != number:
            continue
        if all(one.out is not None for one in region.steps.values()):
            groups.lose([number], "nothing sums over it")
        if number in groups.lost:
            alone[region.weight] = groups.lost[number]
        else:
            regions.append(region)
    return regions, alone
