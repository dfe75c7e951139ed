"""One subnet as one complete graph: what a monolithic export of it would be."""

from __future__ import annotations

from onnx import ModelProto

from hwnas.bundle import Bundle
from hwnas.link.load import load_graphs
from hwnas.link.merge import merge
from hwnas.link.norms import OwnNorms, apply_norms
from hwnas.program import Program, check
from hwnas.space import Subnet

__all__ = ["whole"]


def whole(bundle: Bundle, subnet: Subnet | str, norms: OwnNorms | None = None) -> ModelProto:
    """The complete graph of ``subnet``, its weights external in ``bundle.path``.

    Args:
        bundle: of either form: blocks or segments are joined.
        subnet: of the space (form ``space``), or the name of one that ships (form ``subnets``).
        norms: normalisation statistics of its own; they become part of the graph.

    Raises:
        UnknownName: there is no such subnet.
        InputError: statistics that fit no batch norm.
    """
    found = bundle.subnet(subnet) if isinstance(subnet, str) else subnet
    return _join(bundle, bundle.program(found), found.name, norms)


def _join(bundle: Bundle, program: Program, name: str, norms: OwnNorms | None) -> ModelProto:
    units = dict.fromkeys(call.unit for call in program.calls)
    models = load_graphs(bundle, units)
    if norms is not None:
        models = apply_norms(bundle, models, norms, name)
    inputs = {value: value for value in program.inputs}
    types = check(program, bundle.graphs, bundle.inputs_of(program))
    return merge(program.calls, models, inputs, program.outputs, types, name)
