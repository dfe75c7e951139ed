"""Rows of a lookup table to records and back; what is read is not trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.agent.rounds import Pace
from hwnas.agent.samples import waited
from hwnas.profile import Fingerprint
from hwnas.profile.record import VERDICTS, Energy, Record, Round, Turn
from hwnas.table.file import damaged
from hwnas.table.imports import is_imported
from hwnas.table.records import Imported, Measurement

__all__ = [
    "COLUMNS",
    "measurement_values",
    "read_measurement",
    "read_shown",
    "read_texts",
    "round_values",
    "turn_factors",
    "turn_values",
]

COLUMNS = (
    "key, scope, label, verdict, reasons, stopped_by, warmup_runs, warmup_stopped_by, load_bytes, "
    "run_bytes, output_error, outputs_ok, joules, energy_runs, energy_s, energy_sensor"
)
"""What :func:`measurement_values` gives and :func:`read_measurement` takes, in order."""


def measurement_values(record: Record) -> tuple[Any, ...]:
    """``record`` as the values of :data:`COLUMNS`.

    Raises:
        ValueError: it has no runs.
    """
    if not record.turns or not all(turn.ns for turn in record.turns):
        raise ValueError(f"the measurement of {record.label} has a turn without runs, or no turn")
    energy = record.energy
    return (
        *(record.key, record.scope, record.label, record.verdict),
        json.dumps(list(record.reasons)),
        *(record.stopped_by, record.warmup_runs, record.warmup_stopped_by),
        *(record.load_bytes, record.run_bytes),
        None if record.error is None or not math.isfinite(record.error) else record.error,
        record.outputs_ok,
        *((energy.joules, energy.runs, energy.seconds, energy.sensor) if energy else [None] * 4),
    )


def turn_values(turn: Turn) -> tuple[Any, ...]:
    """``turn`` as the values of a row, after its measurement and position."""
    runs = np.array(turn.ns, dtype="<i8").tobytes()
    return (
        turn.sitting,
        turn.round,
        turn.cold,
        turn.wall,
        turn.cpu,
        turn.switches,
        runs,
    )


def round_values(one: Round) -> tuple[Any, ...]:
    """``one`` as the values of a row, after its measurement."""
    return (one.sitting, one.round, *one.canary, one.throttled, json.dumps(dict(one.readings)))


def read_measurement(
    path: Path,
    device: Fingerprint,
    values: Sequence[Any],
    turns: Sequence[Sequence[Any]],
    rounds: Sequence[Sequence[Any]],
    factors: Sequence[float],
    source: str,
    imported: Sequence[Sequence[Any]] = (),
) -> Measurement:
    """The record of one row and the rows that belong to it.

    Args:
        path: of the table, for the error.
        device: that it is of.
        values: as :data:`COLUMNS`.
        turns: rows as :func:`turn_values` made them.
        rounds: rows as :func:`round_values` made them.
        factors: of the turns' rounds.
        source: see :class:`Measurement`.
        imported: the row of the table ``imported``, if there is one; then there are no turns.

    Raises:
        TableError: they hold something else than was written.
    """
    key, scope, label, verdict, reasons, stopped_by, _, _, load, run, off, outputs_ok = values[:12]
    if bool(turns) == bool(imported):
        raise damaged(path, f"the measurement of {label} has no samples")
    if bool(imported) != is_imported(device):
        raise damaged(path, f"it mixes what was measured with what was imported, as {label}")
    try:
        return Measurement(
            key=_text(key),
            scope="block" if scope == "block" else "subnet",
            label=_text(label),
            turns=tuple(map(_turn, turns)),
            rounds=tuple(map(_round, rounds)),
            factors=tuple(factors),
            threads=device.threads,
            stopped_by=_text(stopped_by or ""),
            verdict=VERDICTS[VERDICTS.index(verdict)],
            reasons=_texts(reasons),
            load_bytes=_optional_int(load),
            run_bytes=_optional_int(run),
            output_error=None if off is None else _number(off),
            outputs_ok=None if outputs_ok is None else bool(_int(outputs_ok)),
            energy=_energy(values[12:]),
            source=source,
            imported=_imported(*imported[0]) if imported else None,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"the measurement of {label}: {error}") from error


def read_texts(path: Path, text: object) -> tuple[str, ...]:
    """A JSON list of strings, such as reasons; :class:`TableError` if it is something else."""
    try:
        return _texts(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"a list of reasons: {error}") from error


def read_shown(path: Path, text: object) -> str:
    """A text that is only shown, with spaces for what would drive a terminal.

    Raises:
        TableError: it is no text.
    """
    if not isinstance(text, str):
        raise damaged(path, "a key, a label or an error is no text")
    return "".join(c if c.isprintable() else " " for c in text)


def turn_factors(path: Path, rows: Sequence[Sequence[Any]]) -> dict[int, list[float]]:
    """Factors of the rounds of each measurement's turns, see :class:`hwnas.agent.rounds.Pace`.

    Args:
        path: of the table, for the error.
        rows: of all turns of a table, by measurement and position: measurement, what its round is
            known by (5 values, the first None where there is none), runs, wall, cpu, threads.
    """
    pace = Pace()
    for measurement, *place, runs, wall, cpu, threads in rows:
        try:
            ns = _runs(runs).tolist()
            if place[0] is not None and not waited(_int(wall), _int(cpu), threads):
                pace.tell(measurement, tuple(place), ns)
        except (ValueError, TypeError) as error:
            raise damaged(path, f"a turn: {error}") from error
    factors = pace.factors()
    given: dict[int, list[float]] = {row[0]: [] for row in rows}
    for measurement, *place, _, _, _, _ in rows:
        given[measurement].append(factors.get(tuple(place), 1.0))
    return given


def _turn(row: Sequence[Any]) -> Turn:
    sitting, number, cold, wall, cpu, switches, runs = row
    ns = _runs(runs)
    if _int(wall) < 0 or _int(cpu) < 0 or (cold is not None and _int(cold) <= 0):
        raise ValueError("it holds something else than ns")
    return Turn(
        sitting=_int(sitting),
        round=_int(number),
        cold=cold,
        ns=tuple(ns.tolist()),
        wall=wall,
        cpu=cpu,
        switches=_optional_int(switches),
    )


def _runs(blob: Any) -> NDArray[np.int64]:
    if not isinstance(blob, bytes) or not blob or len(blob) % 8:
        raise ValueError("it holds something else than ns")
    ns = np.frombuffer(blob, dtype="<i8").astype(np.int64)
    if ns.min() <= 0:
        raise ValueError("it holds something else than ns")
    return ns


def _round(row: Sequence[Any]) -> Round:
    sitting, number, before, after, throttled, text = row
    readings = json.loads(text)
    if not isinstance(readings, dict):
        raise ValueError("readings are not an object")
    return Round(
        sitting=_int(sitting),
        round=_int(number),
        canary=(_number(before), _number(after)),
        throttled=_optional_int(throttled),
        readings={name: _number(value) for name, value in readings.items()},
    )


def _energy(row: Sequence[Any]) -> Energy | None:
    joules, runs, seconds, sensor = row
    if joules is None:
        return None
    if _int(runs) <= 0:
        raise ValueError("energy over no runs")
    return Energy(_number(joules), runs, _number(seconds), _text(sensor))


def _imported(mean: Any, std: Any, count: Any, file: Any, entry: Any) -> Imported:
    if _number(mean) < 0 or (std is not None and _number(std) < 0):
        raise ValueError("a time below 0")
    if count is not None and _int(count) <= 0:
        raise ValueError("a mean over no runs")
    return Imported(mean, std, count, _text(file), _text(entry))


def _texts(text: Any) -> tuple[str, ...]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("reasons are not a list")
    return tuple(map(_text, found))


def _text(value: Any) -> str:
    # Text from a file is printed, so it must not be able to drive a terminal.
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r} is no text")
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _optional_int(value: Any) -> int | None:
    return None if value is None else _int(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
