"""Latency tables of Once-for-All (arXiv:1908.09791): YAML, one mapping for each layer, in ms.

    expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:0-se:1-hs:0:
      {count: 50, mean: 1.84, std: 0.05}

The file is read event by event: nothing but this form is taken, and nothing is constructed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas.errors import MissingExtra
from hwnas.table.importing.entries import Entry, number, read_bounded, unusable, whole_number

__all__ = ["read_ofa_yaml"]

_FIELDS = ("count", "mean", "std")


def read_ofa_yaml(path: Path) -> dict[str, Entry]:
    """The entries of one file, by key, in order.

    Raises:
        MissingExtra: PyYAML is not installed.
        TableError: the file is no such table; names the line and the key.
    """
    yaml = _yaml()
    text = read_bounded(path)
    found: dict[str, Entry] = {}
    events = _events(yaml, text, path)
    opening = next(events, None)
    if not isinstance(opening, yaml.MappingStartEvent):
        raise unusable(f"{path} is no mapping of layers to latencies")
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        where = f"{path}, line {event.start_mark.line + 1}"
        if not isinstance(event, yaml.ScalarEvent):
            raise unusable(f"{where}: the name of a layer is no text")
        key = str(event.value)
        if not key.isprintable():
            raise unusable(f"{where}: the name of a layer holds what cannot be shown")
        if key in found:
            raise unusable(f"{where}: {key} is there twice")
        found[key] = _entry(yaml, events, key, where, path.name)
    if not found:
        raise unusable(f"{path} holds no layer")
    if next(events, None) is not None:
        raise unusable(f"{path} holds more than one document")
    return found


def _yaml() -> ModuleType:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtra("PyYAML", "ofa") from error
    return yaml


def _events(yaml: Any, text: str, path: Path) -> Iterator[Any]:
    """The events between those of streams and documents; no aliases, anchors or tags."""
    skipped = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)
    # Where it is there, the reader in C is ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, (*skipped, yaml.DocumentStartEvent)):
                continue
            where = f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise unusable(f"{where}: aliases and anchors are not read")
            if getattr(event, "tag", None) is not None:
                raise unusable(f"{where}: the tag {event.tag!r} is not read")
            yield event
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise unusable(f"{path}{where} is no YAML: {problem}") from error


def _entry(yaml: Any, events: Iterator[Any], key: str, where: str, file: str) -> Entry:
    opening = next(events, None)
    if not isinstance(opening, yaml.MappingStartEvent):
        raise unusable(f"{where}: {key} is not a mapping with mean, std and count")
    values: dict[str, str] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        value = next(events, None)
        if not isinstance(event, yaml.ScalarEvent) or not isinstance(value, yaml.ScalarEvent):
            raise unusable(f"{where}: {key} is not a mapping of numbers")
        if event.value not in _FIELDS or event.value in values:
            again = "twice" if event.value in values else f"not one of {', '.join(_FIELDS)}"
            raise unusable(f"{where}: {key}: the field {event.value!r} is {again}")
        values[event.value] = value.value
    if "mean" not in values:
        raise unusable(f"{where}: {key} has no mean")
    count = values.get("count")
    return Entry(
        key,
        number(values["mean"], where, f"the mean of {key}"),
        number(values["std"], where, f"the std of {key}", zero=True) if "std" in values else None,
        None if count is None else whole_number(count, where, f"the count of {key}"),
        file,
    )
