"""Cutting keyed graphs: nodes that the same subnets use, and that can run as one, form a cluster.

The cut is by *level*: along an edge the level of a node rises by one where the set of subnets
changes, or where the subnets do not agree on what the edge comes from. Nodes of one set with equal
levels in every subnet are a cluster. No path leaves a cluster and comes back, since leaving it
raises the level; so every cluster can be called as one, and the calls of a subnet can be ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hwnas.link.keys import KeyedGraph, KeyedNode, Source

__all__ = ["Cluster", "Port", "find_clusters", "order"]

Port = tuple[Source, ...]
"""A value that enters a cluster: where it comes from, in each of the cluster's subnets."""


@dataclass(frozen=True)
class Cluster:
    """Nodes that become one segment.

    Attributes:
        subnets: names of those that use it, in order.
        nodes: as in the first of ``subnets``, in topological order.
        inside: keys of ``nodes``.
        ports: the values that enter, in order of use.
        entries: which port the ``i``-th read of a node is; the others are read inside.
        outputs: results of ``nodes`` that are read outside, in order.
    """

    subnets: tuple[str, ...]
    nodes: tuple[KeyedNode, ...]
    inside: frozenset[str]
    ports: tuple[Port, ...]
    entries: dict[tuple[str, int], int]
    outputs: tuple[Source, ...]


def find_clusters(graphs: Mapping[str, KeyedGraph]) -> list[Cluster]:
    """Cut the graphs of all subnets; every node key is in exactly one cluster."""
    users: dict[str, list[str]] = {}
    reads: dict[tuple[str, int], dict[str, Source]] = {}
    for name, graph in graphs.items():
        for node in graph.nodes:
            users.setdefault(node.key, []).append(name)
            for i, source in enumerate(node.reads.values()):
                reads.setdefault((node.key, i), {})[name] = source
    agreed = {place for place, found in reads.items() if len(set(found.values())) == 1}
    levels: dict[str, list[int]] = {}
    for graph in graphs.values():
        own: dict[str, int] = {}
        for node in graph.nodes:
            level = 0
            for i, (producer, index) in enumerate(node.reads.values()):
                if index < 0:
                    continue
                same = users[producer] == users[node.key] and (node.key, i) in agreed
                level = max(level, own[producer] + (not same))
            own[node.key] = level
        _delay(graph, own, lambda p, k, i: users[p] == users[k] and (k, i) in agreed)
        for key, level in own.items():
            levels.setdefault(key, []).append(level)
    cluster_of = {key: (tuple(users[key]), tuple(found)) for key, found in levels.items()}
    members: dict[tuple[tuple[str, ...], tuple[int, ...]], list[KeyedNode]] = {}
    done: set[str] = set()
    for graph in graphs.values():
        for node in graph.nodes:
            if node.key not in done:
                done.add(node.key)
                members.setdefault(cluster_of[node.key], []).append(node)
    leaving = _leaving(graphs, cluster_of)
    return [_cluster(subnets, nodes, reads, leaving) for (subnets, _), nodes in members.items()]


def _delay(
    graph: KeyedGraph, levels: dict[str, int], same: Callable[[str, str, int], bool]
) -> None:
    """Raise nodes to the level of the nodes of their set that they are only needed by.

    What a ring computes from the normalised input could run early, but is read by its sum alone,
    which waits for the ring before it: together they are one cluster, and one hop less.
    """
    latest: dict[str, int] = {}
    joined: dict[str, set[int]] = {}
    for node in reversed(graph.nodes):
        if latest.get(node.key) in joined.get(node.key, ()):
            levels[node.key] = latest[node.key]
        for i, (producer, index) in enumerate(node.reads.values()):
            if index < 0:
                continue
            stays = same(producer, node.key, i)
            limit = levels[node.key] - (not stays)
            latest[producer] = min(latest.get(producer, limit), limit)
            if stays:
                joined.setdefault(producer, set()).add(limit)


def _leaving(graphs: Mapping[str, KeyedGraph], cluster_of: Mapping[str, object]) -> set[Source]:
    """Results that another cluster or the network's output reads, in any subnet."""
    found: set[Source] = set()
    for graph in graphs.values():
        found.update(source for source in graph.outputs.values() if source[1] >= 0)
        for node in graph.nodes:
            found.update(
                source
                for source in node.reads.values()
                if source[1] >= 0 and cluster_of[source[0]] != cluster_of[node.key]
            )
    return found


def _cluster(
    subnets: tuple[str, ...],
    nodes: list[KeyedNode],
    reads: Mapping[tuple[str, int], Mapping[str, Source]],
    leaving: set[Source],
) -> Cluster:
    inside = frozenset(node.key for node in nodes)
    ports: dict[Port, int] = {}
    entries: dict[tuple[str, int], int] = {}
    for node in nodes:
        for i, source in enumerate(node.reads.values()):
            if source[0] not in inside or source[1] < 0:
                port = tuple(reads[node.key, i][name] for name in subnets)
                entries[node.key, i] = ports.setdefault(port, len(ports))
    outputs = tuple(
        (node.key, i)
        for node in nodes
        for i in range(len(node.node.output))
        if (node.key, i) in leaving
    )
    return Cluster(subnets, tuple(nodes), inside, tuple(ports), entries, outputs)


def order(graph: KeyedGraph, clusters: Iterable[Cluster]) -> list[Cluster]:
    """The clusters that one subnet's graph consists of, each after those that it reads from.

    Raises:
        ValueError: they do not fit: a node is in none of them, or they read from each other.
    """
    of = {key: cluster for cluster in clusters for key in cluster.inside}
    waits: dict[int, set[int]] = {}
    found: dict[int, Cluster] = {}
    for node in graph.nodes:
        cluster = of.get(node.key)
        if cluster is None:
            raise ValueError(f"{node.label or node.node.op_type} is in no segment")
        found[id(cluster)] = cluster
        before = waits.setdefault(id(cluster), set())
        before.update(
            id(of[producer])
            for producer, index in node.reads.values()
            if index >= 0 and of[producer] is not cluster
        )
    ordered: list[Cluster] = []
    while waits:
        ready = next((key for key, before in waits.items() if not before), None)
        if ready is None:
            raise ValueError("segments read from each other")
        ordered.append(found[ready])
        del waits[ready]
        for before in waits.values():
            before.discard(ready)
    return ordered
