"""Tables of layers onto the blocks of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwnas.bundle import Bundle
from hwnas.errors import MissingMeasurements, TableError, shorten
from hwnas.graphs import parse_model
from hwnas.table.importing.entries import Entry, pooled_entry
from hwnas.table.importing.layers import read_layers
from hwnas.table.importing.names import dialect_of, entry_names
from hwnas.table.importing.ofa_yaml import read_ofa_yaml
from hwnas.table.importing.write import ImportedRow
from hwnas.table.records import Imported

__all__ = ["import_ofa"]

_APART = 1.05
"""Entries of several files for one layer that differ by more are worth a note."""


def import_ofa(bundle: Bundle, files: Sequence[Path]) -> list[ImportedRow]:
    """What Once-for-All's latency tables say of each kind of block.

    A block costs the sum of its layers' means. What several files say of the same layer, as those
    of several resolutions do of the classifier, is the mean over all runs.

    Args:
        bundle: of form ``space``, of the networks that the tables are of.
        files: one for each resolution, in any order.

    Raises:
        MissingExtra: PyYAML is not installed.
        TableError: a file is no such table, or a block is made of other layers.
        MissingMeasurements: layers that no file has; each is named, with its block.
    """
    entries: dict[str, list[Entry]] = {}
    for file in files:
        for key, entry in read_ofa_yaml(file).items():
            entries.setdefault(key, []).append(entry)
    units = bundle.kinds()
    layers = {
        unit: read_layers(parse_model(bundle.model(unit), unit), unit) for unit in units.values()
    }
    _refuse_batches(bundle)
    names = entry_names(layers, dialect_of(entries))
    _refuse_missing(names, entries)
    return [
        ImportedRow(kind, "block", unit, *_sum(names[unit], entries, files))
        for kind, unit in units.items()
    ]


def _refuse_batches(bundle: Bundle) -> None:
    for spec in bundle.manifest.inputs:
        if spec.shape and spec.shape[0] != 1:
            raise TableError(
                f"{bundle.path} takes {spec.shape[0]} images at once, and these tables are of one",
                "compile the network with a batch of one",
            )


def _refuse_missing(names: Mapping[str, Sequence[str]], entries: Mapping[str, object]) -> None:
    lacking = [
        f"{unit}: {key}" for unit, keys in names.items() for key in keys if key not in entries
    ]
    if lacking:
        raise MissingMeasurements(
            f"the tables lack {len(lacking)} layers: {shorten(lacking)}",
            "give a table for each resolution of the bundle, or compile it with those that there "
            "are: hwnas compile --resolution",
        )


def _sum(
    names: Sequence[str], entries: Mapping[str, Sequence[Entry]], files: Sequence[Path]
) -> tuple[Imported, str]:
    """One block's cost, and what to know of it."""
    if not names:
        everywhere = ", ".join(file.name for file in files)
        within = "its time is in another block's entry, Logits"
        return Imported(0.0, None, None, everywhere, "-"), within
    found = [pooled_entry(entries[name]) for name in names]
    spreads = [one.std_ms for one in found if one.std_ms is not None]
    counts = [one.count for one in found if one.count is not None]
    notes = []
    for name in names:
        means = [one.mean_ms for one in entries[name]]
        if max(means) > _APART * min(means):
            files_say = f"{len(means)} files say {min(means):.4g} to {max(means):.4g} ms"
            notes.append(f"{name}: {files_say}, and the mean counts")
    value = Imported(
        mean_ms=math.fsum(one.mean_ms for one in found),
        # Of a sum of what was timed apart.
        std_ms=math.hypot(*spreads) if len(spreads) == len(found) else None,
        count=min(counts) if len(counts) == len(found) else None,
        file=", ".join(dict.fromkeys(part for one in found for part in one.file.split(", "))),
        entry=" + ".join(names),
    )
    return value, "; ".join(notes)
