"""Cutting: segments that compute, for every subnet, what its own graph computes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto

from hwnas.link.clusters import find_clusters, order
from hwnas.link.emit import Segments, covered
from hwnas.link.keys import KeyedGraph, KeyedNode, Source
from hwnas.program import Program


def node(key: str, *reads: Source) -> KeyedNode:
    names = [f"{producer}.{index}" for producer, index in reads]
    outputs = [f"{key}.0", f"{key}.1"]
    return KeyedNode(
        key,
        NodeProto(op_type="Op", input=names, output=outputs),
        f"slot/{key}",
        dict(zip(names, reads, strict=True)),
        {},
    )


def graph(nodes: list[KeyedNode], output: Source) -> KeyedGraph:
    return KeyedGraph(("x",), tuple(nodes), {"y": output})


def chain(*keys: str) -> KeyedGraph:
    """Nodes one after the other, the first on the network's input."""
    reads: Source = ("x", -1)
    nodes = []
    for key in keys:
        nodes.append(node(key, reads))
        reads = (key, 0)
    return graph(nodes, reads)


def computed(of: KeyedGraph) -> dict[str, object]:
    """What a graph computes, as an expression."""
    values: dict[Source, object] = {("x", -1): "x"}
    for found in of.nodes:
        reads = tuple(values[source] for source in found.reads.values())
        for i in range(2):
            values[found.key, i] = hash((found.key, i, reads))
    return {public: values[source] for public, source in of.outputs.items()}


def run(segments: Segments, program: Program) -> dict[str, object]:
    """What a program over segments computes, as the same expression."""
    values: dict[str, object] = {"x": "x"}
    for call in program.calls:
        cluster = segments.clusters[call.unit]
        local: dict[Source, object] = {}
        for found in cluster.nodes:
            reads = tuple(
                values[call.inputs[entry]]
                if (entry := cluster.entries.get((found.key, i))) is not None
                else local[source]
                for i, source in enumerate(found.reads.values())
            )
            for i in range(2):
                local[found.key, i] = hash((found.key, i, reads))
        values.update(zip(call.outputs, (local[s] for s in cluster.outputs), strict=True))
    return {public: values[name] for public, name in program.outputs.items()}


@st.composite
def subnets(draw: st.DrawFn) -> dict[str, KeyedGraph]:
    """Graphs over common keys; each leaves nodes out and wires those that stay in its own way."""
    keys = [f"n{i}" for i in range(draw(st.integers(1, 9)))]
    arity = {key: draw(st.integers(1, 2)) for key in keys}
    found = {}
    for name in [f"s{i}" for i in range(draw(st.integers(1, 4)))]:
        there: list[Source] = [("x", -1)]
        nodes = []
        for key in keys:
            if not draw(st.booleans()):
                continue
            reads = [draw(st.sampled_from(there[-4:])) for _ in range(arity[key])]
            if len(set(reads)) < arity[key]:
                continue
            nodes.append(node(key, *reads))
            there += [(key, 0), (key, 1)]
        if not nodes:
            nodes = [node(keys[0], *[("x", -1)])] if arity[keys[0]] == 1 else []
        if nodes:
            found[name] = graph(nodes, (nodes[-1].key, 0))
    return found


@settings(max_examples=400, deadline=None)
@given(subnets())
def test_segments_compute_what_each_graph_computes(graphs: dict[str, KeyedGraph]) -> None:
    clusters = find_clusters(graphs)
    keys = [found.key for cluster in clusters for found in cluster.nodes]
    assert len(keys) == len(set(keys))
    segments = Segments.named(clusters)
    for name, of in graphs.items():
        program = segments.program(name, of)
        assert run(segments, program) == computed(of)
        assert run(segments, covered(segments, of)) == computed(of)
        inside = {found.key for c in order(of, clusters) for found in c.nodes}
        assert inside == {found.key for found in of.nodes}  # a segment is used whole


@settings(max_examples=200, deadline=None)
@given(subnets())
def test_a_further_subnet_is_right_or_refused(graphs: dict[str, KeyedGraph]) -> None:
    names = list(graphs)
    if len(names) < 2:
        return
    segments = Segments.named(find_clusters({n: graphs[n] for n in names[:-1]}))
    try:
        program = covered(segments, graphs[names[-1]])
    except ValueError:
        return
    assert run(segments, program) == computed(graphs[names[-1]])


def test_depths_are_cut_where_they_part() -> None:
    deep = ["stem", *(f"l{i}" for i in range(6)), "head"]
    graphs = {
        "d6": chain(*deep),
        "d3": chain("stem", "l0", "l1", "l2", "head"),
    }
    cut = [[found.key for found in cluster.nodes] for cluster in find_clusters(graphs)]
    assert sorted(cut) == [["head"], ["l3", "l4", "l5"], ["stem", "l0", "l1", "l2"]]


def test_every_combination_of_stages_is_covered_by_its_extremes() -> None:
    stages = [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]

    def at(*depths: int) -> KeyedGraph:
        return chain(*(key for s, d in zip(stages, depths, strict=True) for key in s[:d]))

    segments = Segments.named(find_clusters({f"{d}": at(d, d, d) for d in (1, 2, 3)}))
    assert len(segments.clusters) == 9
    for depths in [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 3, 1)]:
        of = at(*depths)
        assert run(segments, covered(segments, of)) == computed(of)


def test_a_part_of_a_segment_is_not_covered() -> None:
    segments = Segments.named(
        find_clusters({"d3": chain("a", "b", "c", "head"), "d1": chain("a", "head")})
    )
    try:
        covered(segments, chain("a", "b", "head"))
    except ValueError as error:
        assert "a part of segment" in str(error)
    else:
        raise AssertionError("it was taken for covered")


def test_two_values_that_cross_stay_two_ports() -> None:
    first, second = node("a", ("x", -1)), node("b", ("x", -1))
    one = graph([first, second, node("add", ("a", 0), ("b", 0))], ("add", 0))
    other = graph([first, second, node("add", ("a", 0), ("a", 1))], ("add", 0))
    graphs = {"one": one, "other": other}
    segments = Segments.named(find_clusters(graphs))
    for name, of in graphs.items():
        assert run(segments, segments.program(name, of)) == computed(of)
