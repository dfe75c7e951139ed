"""Hypervolumes of known points, and how they are written down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.select.search import (
    Box,
    SearchResult,
    hypervolumes,
    plot_histories,
    reached,
    write_history,
)
from tests.support.searching import staged

UNIT = Box((0.0, 0.0), (1.0, 1.0))


def test_hypervolumes_of_known_points() -> None:
    points = np.array([[0.5, 0.5], [0.75, 0.25], [0.6, 0.6], [1.0, 0.0], [-1.0, 0.9], [0.0, 0.0]])
    # A quarter; and a sixteenth more; dominated; on the edge; a tenth of the half that is left.
    assert hypervolumes(points, UNIT) == pytest.approx([0.25, 0.3125, 0.3125, 0.3125, 0.3625, 1.0])


def test_a_box_scales_and_what_does_not_count_adds_nothing() -> None:
    box = Box((-80.0, 10.0), (-70.0, 30.0))
    points = np.array([[np.inf, np.inf], [-75.0, 20.0], [-60.0, 5.0]])
    assert hypervolumes(points, box) == pytest.approx([0.0, 0.25, 0.25])
    assert hypervolumes(points[:0], box) == []


def test_three_objectives() -> None:
    points = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.0]])
    assert hypervolumes(points, Box((0.0,) * 3, (1.0,) * 3)) == pytest.approx([0.125, 0.25])


def test_when_a_level_is_reached() -> None:
    assert reached([0.1, 0.5, 0.5, 0.9], 0.5) == 2
    assert reached([0.1], 0.5) is None


def test_the_least_box_around_points() -> None:
    assert Box.around(np.array([[1.0, 5.0], [3.0, 4.0]])) == Box((1.0, 4.0), (3.0, 5.0))
    assert Box.around(np.array([[2.0, 0.5]])) == Box((2.0, 0.5), (4.0, 1.5))
    assert hypervolumes(np.array([[np.inf, np.inf]]), Box.around(np.empty((0, 2)))) == [0.0]


@pytest.fixture
def result() -> SearchResult:
    subnets = tuple(staged().find(name) for name in ("min", "max"))
    return SearchResult(
        method="random",
        seed=3,
        objectives=("p50",),
        subnets=subnets,
        qualities=(70.0, 80.0),
        costs=np.array([[1.0], [2.0]]),
        min_quality=None,
    )


def test_the_front_of_a_result(result: SearchResult) -> None:
    assert result.front == [0, 1]
    assert result.evaluated == [(result.subnets[0], 70.0), (result.subnets[1], 80.0)]
    assert result.box == Box((-80.0, 1.0), (-70.0, 2.0))


def test_history_as_csv(tmp_path: Path, result: SearchResult) -> None:
    write_history(result, tmp_path / "h.csv", Box((-80.0, 0.0), (-60.0, 4.0)))
    first, second = csv.DictReader((tmp_path / "h.csv").read_text().splitlines())
    assert first["subnet"] == result.subnets[0].spec
    assert [float(row["hypervolume"]) for row in (first, second)] == [0.375, 0.625]
    assert (float(first["worst_quality"]), float(first["worst_p50"])) == (60.0, 4.0)
    assert (float(first["best_quality"]), float(first["best_p50"])) == (80.0, 0.0)


def test_history_as_json(tmp_path: Path, result: SearchResult) -> None:
    write_history(result, tmp_path / "h.json")
    written = json.loads((tmp_path / "h.json").read_text())
    assert written["schema_version"] == 1
    assert (written["method"], written["seed"]) == ("random", 3)
    assert written["worst"] == {"quality": 70.0, "p50": 2.0}
    assert written["evaluations"][1]["quality"] == 80.0


def test_history_as_a_plot(tmp_path: Path, result: SearchResult) -> None:
    write_history(result, tmp_path / "h.svg")
    assert "</svg>" in (tmp_path / "h.svg").read_text()
    runs = {"linas": [[0.1, 0.4], [0.2, 0.3]], "random": [[0.1, 0.1]]}
    plot_histories(runs, tmp_path / "h.png", UNIT, ("p50",))
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_another_form_is_refused(tmp_path: Path, result: SearchResult) -> None:
    with pytest.raises(UsageError, match=r"h\.pdf"):
        write_history(result, tmp_path / "h.pdf")
    assert not list(tmp_path.iterdir())
