from __future__ import annotations

import io
from pathlib import Path

import pytest

from hwnas.errors import ProfileError, UnknownName, UsageError
from hwnas.profile import Settings
from hwnas.profile.wire import (
    Done,
    Failed,
    Loaded,
    Request,
    Samples,
    encode_request,
    parse_event,
    read_request,
    rebuild_error,
)
from hwnas.testing.conformance import example_job


def test_requests_round_trip(tmp_path: Path) -> None:
    for job in (None, example_job(tmp_path)):
        request = Request("measure", "null", Settings(affinity=(1,)), job)
        assert read_request(io.BytesIO(encode_request(request) + b"more")) == request


@pytest.mark.parametrize("cut", [0, 5])
def test_a_request_cut_off_is_none(cut: int) -> None:
    data = encode_request(Request("describe", "null", Settings()))
    assert read_request(io.BytesIO(data[:cut])) is None


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"event": "loaded", "load_bytes": null}', Loaded(None)),
        (b'{"event": "loaded", "load_bytes": -4096}', Loaded(-4096)),
        (b'{"event": "samples", "ns": [1, 2]}', Samples((1, 2))),
        (b'{"event": "error", "error": "no"}', Failed("no")),
        (
            b'{"event": "done", "stopped_by": "time", "warmup_runs": 3, '
            b'"warmup_stopped_by": "steady", "run_bytes": 5}',
            Done("time", 3, "steady", 5),
        ),
    ],
)
def test_events(line: bytes, event: object) -> None:
    assert parse_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"event": "reboot"}',
        b'{"event": ["loaded"]}',
        b'{"event": "samples", "ns": [0]}',
        b'{"event": "samples", "ns": [1.5]}',
        b'{"event": "samples", "ns": [true]}',
        b'{"event": "samples", "ns": "12"}',
        b'{"event": "samples", "ns": [99999999999999999999]}',
        b'{"event": "loaded", "load_bytes": "many"}',
        b'{"event": "loaded", "load_bytes": 1, "sudo": 1}',
        b'{"event": "error", "error": ""}',
        b'{"event": "done", "stopped_by": "time"}',
        b'{"event": "fingerprint", "fingerprint": []}',
    ],
)
def test_what_is_not_an_event_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_event(line)


def test_errors_keep_their_type_and_nothing_else_is_made() -> None:
    error = rebuild_error(Failed("no core 7", "choose 0", "UsageError"))
    assert type(error) is UsageError and (error.cause, error.fix) == ("no core 7", "choose 0")
    assert type(rebuild_error(Failed("x", "", "UnknownName"))) is UnknownName
    for name in ("", "shorten", "Exception", "os", "__builtins__"):
        assert type(rebuild_error(Failed("x", "", name))) is ProfileError
