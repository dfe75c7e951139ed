"""The file of a search: what it keeps, and what it is refused to."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hwnas.errors import HwnasError, NewerSchema, UsageError
from hwnas.select.search.state import State

SETTINGS = {"method": "linas", "seed": 0, "budgets": [["p50", 8.0]]}


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "search.db"
    with State.open(path, SETTINGS) as state:
        assert (state.batches(), state.evaluated()) == ([], {})
        state.begin(0, ["b", "a"])
        state.put("a", 0.1 + 0.2)
        state.begin(1, ["c"])
    with State.open(path, SETTINGS) as state:
        assert state.batches() == [["b", "a"], ["c"]]
        assert state.evaluated() == {"a": 0.1 + 0.2}


def test_other_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    with State.open(path, SETTINGS):
        pass
    with (
        pytest.raises(UsageError, match=r'method "linas" there, "nsga2" here; seed 0 there, 1 her'),
        State.open(path, {**SETTINGS, "method": "nsga2", "seed": 1}),
    ):
        pass
    with (
        pytest.raises(UsageError, match="bundle not given there"),
        State.open(path, {**SETTINGS, "bundle": "ab"}),
    ):
        pass


def test_one_search_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    with (
        State.open(path, SETTINGS),
        pytest.raises(HwnasError, match="another search is at work"),
        State.open(path, SETTINGS),
    ):
        pass


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, other, newer = (tmp_path / name for name in ("text", "other", "newer"))
    text.write_text("not a database, and long enough for its header to be looked at" * 20)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(HwnasError, match="cannot be used"), State.open(path, SETTINGS):
            pass
        assert path.read_bytes() == before
    with State.open(newer, SETTINGS):
        pass
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NewerSchema), State.open(newer, SETTINGS):
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(HwnasError, match="cannot be used"),
        State.open(tmp_path / "file" / "search.db", SETTINGS),
    ):
        pass


def test_without_a_file_nothing_is_kept() -> None:
    with State.open(None, SETTINGS) as state:
        state.begin(0, ["a"])
        assert state.batches() == [["a"]]
    with State.open(None, SETTINGS) as state:
        assert state.batches() == []
