"""Names of tensors in the authors' checkpoints of once-for-all networks. Needs no torch.

Four layouts are about, and any mix of them: ``mobile_inverted_conv`` for what is now ``conv`` in
a block, and single or doubled ``bn``, ``conv`` and ``linear`` (the elastic layers hold ordinary
ones). The single one without ``mobile_inverted_conv`` is the one that networks here have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hwnas.errors import SupernetError

__all__ = ["TRACKED", "renamed"]

TRACKED = ".num_batches_tracked"
"""Ends the name of a batch norm's counter, which nothing that runs depends on."""

_DOUBLED = (
    (".bn.bn.", ".bn."),
    (".conv.conv.weight", ".conv.weight"),
    (".linear.linear.", ".linear."),
)


def renamed(given: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Every name in ``given`` to the one that it has among ``known``, or would have.

    Raises:
        SupernetError: two names mean the same tensor.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in given:
        new = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.")
        if new not in known:
            for doubled, single in _DOUBLED:
                new = new.replace(doubled, single)
        if new in taken:
            raise SupernetError(
                f"{taken[new]} and {name} are two names of one tensor", "keep one of them"
            )
        taken[new] = name
        found[name] = new
    return found
