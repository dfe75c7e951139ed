"""The agent's command line: ``python3 agent.pyz run JOB --blobs BLOBS`` on a device.

Also ``python -P -m hwnas.agent``, which is what measures on this machine. ``run`` measures a job
into its journal, or with ``--stdout`` to its standard output; then it ends with its parent.
``describe`` reads ``{"profiler", "settings"}`` and says what the device is. Native libraries print
to file descriptor 1 as they like, so events go through a duplicate of it.
"""

from __future__ import annotations

import os

# Before any import that could bring ONNX Runtime, or NumPy's threads, with it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hwnas.agent.energy import find_meter
from hwnas.agent.events import AgentError, Described, Event
from hwnas.agent.fingerprint import collect, pin
from hwnas.agent.job import Document, verify
from hwnas.agent.journal import Journal, lock
from hwnas.agent.measure import failure
from hwnas.agent.protocol import load_profiler
from hwnas.agent.sensors import find, read_all
from hwnas.agent.settings import Settings
from hwnas.agent.supervise import Supervisor
from hwnas.agent.wire import encode_event
from hwnas.errors import HwnasError, ProfileError
from hwnas.processes import die_with_parent, interrupt_on_term

__all__ = ["main"]

_LONGEST_REQUEST = 1 << 16


def main(arguments: list[str] | None = None) -> int:
    """Do what ``arguments`` say; 0 if all that there was to say was said."""
    parser = argparse.ArgumentParser(prog="hwnas agent", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure a job")
    run.add_argument("job", type=Path, help="its folder")
    run.add_argument("--blobs", type=Path, required=True, help="folder of files by content")
    run.add_argument("--data", type=Path, help="folder of the files that models name")
    run.add_argument("--stdout", action="store_true", help="events to standard output")
    commands.add_parser("describe", help="say what this device is; the request comes on stdin")
    chosen = parser.parse_args(arguments)
    interrupt_on_term()
    own = os.dup(1)
    os.dup2(2, 1)

    def say(event: Event) -> None:
        left = memoryview(encode_event(event))
        while left:
            left = left[os.write(own, left) :]

    if chosen.command == "describe":
        return _guarded(say, lambda: _describe(say))
    data = chosen.data or chosen.job / "data"
    if chosen.stdout:
        die_with_parent()
        return _guarded(say, lambda: _run(chosen.job, chosen.blobs, data, say, None))
    return _keep(chosen.job, chosen.blobs, data, say)


def _keep(job: Path, blobs: Path, data: Path, say: Callable[[Event], None]) -> int:
    """Run with a journal; what keeps that from being written is said on standard output."""

    def work() -> None:
        with lock(job / "lock"):
            journal = Journal(job / "journal.jsonl")
            try:
                status = _guarded(journal.append, lambda: _run(job, blobs, data, None, journal))
            finally:
                journal.close()
            if status:
                raise SystemExit(status)

    return _guarded(say, work)


def _guarded(say: Callable[[Event], None], work: Callable[[], None]) -> int:
    try:
        work()
    except SystemExit as ended:
        return int(ended.code or 0)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except Exception as error:
        found = failure(0, error)
        print(f"{found.error}\n  fix: {found.fix}" if found.fix else found.error, file=sys.stderr)
        say(AgentError(found.error, found.fix, found.type))
        return 1
    return 0


def _describe(say: Callable[[Event], None]) -> None:
    try:
        request = json.loads(sys.stdin.buffer.read(_LONGEST_REQUEST))
        name, values = str(request["profiler"]), request["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProfileError(f"this is no request to describe: {error}") from error
    settings = Settings.from_dict(values)
    with pin(settings):
        say(Described(collect(load_profiler(name).runtime(settings), settings)))


def _run(
    job: Path,
    blobs: Path,
    data: Path,
    say: Callable[[Event], None] | None,
    journal: Journal | None,
) -> None:
    try:
        text = (job / "job.json").read_bytes()
    except OSError as error:
        raise ProfileError(f"{job / 'job.json'} cannot be read: {error.strerror}") from error
    document = Document.decode(text)
    verify(document, blobs, data)
    emit = say if journal is None else journal.append
    assert emit is not None
    sensors, _ = find()
    supervisor = Supervisor(
        document,
        hashlib.sha256(text).hexdigest(),
        load_profiler(document.profiler),
        blobs,
        data,
        emit,
        partial(read_all, sensors),
        find_meter(sensors) if document.settings.energy else None,
    )
    supervisor.run(() if journal is None else journal.replay())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwnasError as error:
        sys.exit(str(error))
