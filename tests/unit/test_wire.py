"""Events as lines: what an agent says comes back as it was, and nothing else is an event."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.agent.events import (
    AgentError,
    Described,
    End,
    Energy,
    Event,
    ItemDone,
    ItemFailed,
    Loaded,
    Probe,
    Round,
    Sat,
    Sit,
    Start,
    Stopped,
    Turn,
    Warm,
)
from hwnas.agent.wire import LONGEST_LINE, encode_event, parse_event
from hwnas.errors import ProfileError, UnknownName, UsageError
from hwnas.profile.failures import rebuild_error

EVENTS: list[Event] = [
    Start(1, "ab" * 32, "python", "0.2.0", "2026-01-01T00:00:00Z", {"cpu": "x"}),
    Probe(0),
    Loaded(1, 4096, -4096, 12, 1e-7, True),
    Loaded(1, None, None, 12, None, None),
    Loaded(1, None, None, 12, None, False),
    Sit(3, (1, 2)),
    Warm(3, 1, 40, "steady"),
    Round(
        3,
        0,
        (4.0, 4.1),
        None,
        {"temperature_c": -3.5},
        (Turn(1, None, (5, 6), 11, 11, None), Turn(2, 9, (7,), 7, 0, 0)),
    ),
    Stopped(3, 1, "converged"),
    Energy(1, 0.5, 20, 1.5, "rapl:package-0"),
    Sat(3),
    ItemDone(1),
    ItemFailed(2, "no", "so", "InputError"),
    Described({"cpu": "x"}),
    AgentError("cannot"),
    End(),
]


def line(**values: Any) -> bytes:
    return json.dumps(values).encode()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_said_comes_back(event: Event) -> None:
    encoded = encode_event(event)
    assert encoded.endswith(b"\n") and encoded.count(b"\n") == 1
    assert parse_event(encoded) == event


def test_fix_and_type_may_be_left_out() -> None:
    assert parse_event(b'{"event": "error", "error": "no"}') == AgentError("no", "", "")
    assert parse_event(b'{"event":"failed","item":1,"error":"no"}') == ItemFailed(1, "no")


def test_texts_cannot_move_a_cursor() -> None:
    event = parse_event(line(event="error", error="a\x1b[2Jb\nc\u202e", fix="", type=""))
    assert event == AgentError("a [2Jb c ")


TURN = {"item": 1, "cold": None, "ns": [5], "wall": 5, "cpu": 5, "switches": None}
ROUND = {
    "event": "round",
    "sitting": 1,
    "round": 0,
    "canary": [1.0, 1.0],
    "throttled": None,
    "readings": {},
    "turns": [TURN],
}
LOADED = {
    "event": "loaded",
    "item": 0,
    "load_bytes": None,
    "run_bytes": None,
    "first_ns": 1,
    "error": None,
    "outputs_ok": None,
}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"event": "reboot"}',
        b'{"event": ["loaded"]}',
        b'{"event": "probe"}',
        b'{"event": "probe", "item": 0, "sudo": 1}',
        b'{"event": "probe", "item": -1}',
        b'{"event": "probe", "item": true}',
        b'{"event": "probe", "item": 1.0}',
        b'{"event": "probe", "item": 99999999999999999999}',
        b'{"event": "probe", "item": NaN}',
        b'{"event": "probe", "item": ' + b"9" * 5000 + b"}",
        b'{"event": "end"} {"event": "end"}',
        line(event="error", error=""),
        line(event="error", error=" \n "),
        line(event="error", error="x" * 5000),
        line(event="fingerprint", fingerprint=[]),
        line(event="stopped", sitting=0, item=0, stopped_by="rm -rf /"),
        line(event="start", schema_version=2, job="x", agent="a", version="1", time="t"),
        line(
            event="start",
            schema_version=2,
            job="x",
            agent="a",
            version="1",
            time="t",
            fingerprint={},
        ),
        line(**{**LOADED, "load_bytes": "many"}),
        line(**{**LOADED, "first_ns": 0}),
        line(**{**LOADED, "outputs_ok": 1}),
        line(**{**LOADED, "error": "none"}),
        b'{"event": "loaded", "item": 0, "load_bytes": 1e999}',
        line(**{**ROUND, "canary": [1.0]}),
        line(**{**ROUND, "canary": [1.0, 0.0]}),
        line(**{**ROUND, "canary": [1.0, 1e301]}),
        line(**{**ROUND, "readings": {"a b": 1}}),
        line(**{**ROUND, "readings": {"a": "hot"}}),
        line(**{**ROUND, "readings": {f"a{i}": 1 for i in range(65)}}),
        line(**{**ROUND, "turns": {}}),
        line(**{**ROUND, "turns": [1]}),
        line(**{**ROUND, "turns": [{**TURN, "ns": []}]}),
        line(**{**ROUND, "turns": [{**TURN, "ns": [0]}]}),
        line(**{**ROUND, "turns": [{**TURN, "ns": [1.5]}]}),
        line(**{**ROUND, "turns": [{**TURN, "wall": 0}]}),
        line(**{**ROUND, "turns": [{**TURN, "more": 0}]}),
        line(event="sit", sitting=0, items=[0] * 65_537),
        b" " * LONGEST_LINE + b'{"event": "end"}',
    ],
)
def test_what_is_not_an_event_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_event(data)


def test_nesting_of_any_depth_is_refused() -> None:
    for depth in (*range(900, 1010), 100_000):
        nested = b"[" * depth + b"]" * depth
        for text in (nested, b'{"event": "probe", "item": ' + nested + b"}"):
            with pytest.raises(ValueError):
                parse_event(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_a_value_error_comes_of_any_bytes(data: bytes) -> None:
    with suppress(ValueError):
        parse_event(data)


@given(st.data())
def test_an_altered_event_is_an_event_or_a_value_error(data: st.DataObject) -> None:
    values = json.loads(encode_event(data.draw(st.sampled_from(EVENTS))))
    key = data.draw(st.sampled_from([*values, "other"]))
    if data.draw(st.booleans()):
        values[key] = data.draw(json_values)
    else:
        values.pop(key, None)
    with suppress(ValueError):
        event = parse_event(json.dumps(values).encode())
        assert parse_event(encode_event(event)) == event


def test_errors_keep_their_type_and_nothing_else_is_made() -> None:
    error = rebuild_error(AgentError("no core 7", "choose 0", "UsageError"))
    assert type(error) is UsageError and (error.cause, error.fix) == ("no core 7", "choose 0")
    assert type(rebuild_error(ItemFailed(0, "x", "", "UnknownName"))) is UnknownName
    for name in ("", "shorten", "Exception", "os", "__builtins__"):
        assert type(rebuild_error(AgentError("x", "", name))) is ProfileError
