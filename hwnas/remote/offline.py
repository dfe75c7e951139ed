"""Measuring without a link: a packed job is carried to the device, and its journal back."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hwnas.agent.events import AgentError, End, Event, Start
from hwnas.agent.job import Document
from hwnas.errors import ProfileError, UsageError
from hwnas.files import disk_errors
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.failures import rebuild_error
from hwnas.profile.package import Package
from hwnas.remote import packed
from hwnas.remote.agents import Agent, choose_agent
from hwnas.remote.follow import read_events
from hwnas.remote.processes import end_group
from hwnas.remote.shell import last_line

__all__ = ["collect", "pack", "run"]

_JOURNAL = "journal.jsonl"
_LARGEST_DOCUMENT = 1 << 30
_PIECE = 1 << 20
_EXIT_S = 5.0

_SCRIPT = """#!/bin/sh
# Measures the job in this folder, into journal.jsonl; after an interruption it goes on.
set -eu
cd "$(dirname "$0")"
here=$(pwd -P)
umask 077
mkdir -p data
while read -r name blob; do
  [ ! -f "data/$name" ] || continue
  ln "blobs/$blob" "data/$name" 2>/dev/null || {{
    cp "blobs/$blob" data/new; mv -f data/new "data/$name"; }}
done <<'END'
{data}END
ORT_DISABLE_TELEMETRY=1
export ORT_DISABLE_TELEMETRY
{prepare}exec {command}
"""


def pack(package: Package, path: Path, descriptor: Descriptor) -> None:
    """Write ``path``, a tar with all that a device like ``descriptor`` needs.

    It holds the job, the agent (and, for the native one, the runtime library), and ``run.sh``,
    which measures without hwnas being installed there.

    Raises:
        UsageError: it needs the native agent, and the architecture or the library is not given.
        HwnasError: it cannot be written.
    """
    machine = descriptor.device.architecture
    if descriptor.runtime.agent == "native" and not machine:
        raise UsageError(
            f"{descriptor.name} does not say for which architecture to pack the native agent",
            'give [device] architecture = "aarch64", or what uname -m says there',
        )
    agent = choose_agent(descriptor, machine)
    script = _script(agent, package)
    packed.write(path, package.document, script, {**package.blobs, **agent.blobs})


def _script(agent: Agent, package: Package) -> str:
    def quote(word: str) -> str:
        if word.startswith("~/"):
            return f'"$HOME"{shlex.quote(word[1:])}'
        return f'"$here"{shlex.quote(word[1:])}' if word.startswith("./") else shlex.quote(word)

    words = agent.command(".", "run", "./", "--blobs", "./blobs")
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(package.data.items()))
    program = quote(words[0])
    return _SCRIPT.format(
        data=lines,
        prepare=f"chmod u+x {program}\n" if agent.kind == "native" else "",
        command=" ".join(quote(word) for word in words),
    )


def run(path: Path, workdir: Path | None = None) -> Path:
    """Measure a packed job here, with this Python's own hwnas; again, to go on after a cut.

    Args:
        path: the tar. Nothing in it is run.
        workdir: where to unpack it; ``None`` for the folder that it is in.

    Returns:
        The journal, for :func:`collect`.

    Raises:
        ProfileError: it is no packed job, or its agent cannot go on.
        HwnasError: the disk is full, or what the agent raised.
    """
    _readable(path)
    folder = packed.unpack(path, path.resolve().parent if workdir is None else workdir)
    document = Document.decode((folder / "job.json").read_bytes())
    with disk_errors(folder):
        (folder / "data").mkdir(exist_ok=True)
        for name, stored in document.data.items():
            _link(folder / "blobs" / stored.sha256, folder / "data" / name)
    _run_agent(folder)
    return folder / _JOURNAL


def _link(blob: Path, path: Path) -> None:
    if path.exists():
        return
    try:
        os.link(blob, path)
    except OSError:  # as on a stick: no links there
        if not blob.exists():
            return  # the agent says which file is missing
        temporary = path.with_name("new")
        shutil.copyfile(blob, temporary)
        temporary.replace(path)


def _run_agent(folder: Path) -> None:
    # -P: the installed package measures, not a folder that happens to be the current one.
    command = [sys.executable, "-P", "-m", "hwnas.agent", "run"]
    command += [str(folder), "--blobs", str(folder / "blobs")]
    with disk_errors(folder), (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        status = process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_S)
        raise
    finally:
        if process.poll() is None:
            end_group(process)
    last: Event | None = None
    if (folder / _JOURNAL).is_file():
        for event in _journal(folder / _JOURNAL):
            last = event
    if isinstance(last, End):
        return
    if isinstance(last, AgentError):
        error = rebuild_error(last)
        if last.fix.startswith("send the job again"):  # as where tar was cut off
            error.fix = f"remove {folder}: the same command unpacks it anew"
        raise error
    said = last_line((folder / "agent.log").read_bytes())
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    raise ProfileError(
        f"the agent ended before its work did ({how}){': ' if said else ''}{said}",
        "the same command goes on where it stopped",
    )


def collect(path: Path) -> tuple[bytes, Iterator[Event]]:
    """What was measured elsewhere.

    Args:
        path: the job's folder, the journal in it, or the packed job with that folder beside it.

    Returns:
        The document, and the journal's events.

    Raises:
        ProfileError: there is no journal, it is of another job, or a line is no event (this also
            from the iterator).
    """
    _readable(path)
    try:
        if path.is_dir():
            document, journal = _read(path / "job.json"), path / _JOURNAL
        elif packed.is_packed(path):
            document = packed.read_document(path)
            folder = packed.folder_name(hashlib.sha256(document).hexdigest())
            journal = path.parent / folder / _JOURNAL
        else:
            document, journal = _read(path.parent / "job.json"), path
    except OSError as error:
        raise ProfileError(
            f"{error.filename} cannot be read: {error.strerror}",
            "name the job's folder as it came from the device, or the packed job beside it",
        ) from error
    if not journal.is_file():
        raise ProfileError(
            f"there is no journal {journal}: nothing was measured yet",
            "run the job on the device, and bring its folder back",
        )
    return document, _of_job(_journal(journal), journal, hashlib.sha256(document).hexdigest())


def _of_job(events: Iterator[Event], journal: Path, job_id: str) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Start) and event.job != job_id:
            raise ProfileError(
                f"{journal} is of another job ({event.job[:12]}, not {job_id[:12]})",
                "name the folder that the journal came from",
            )
        yield event


def _journal(path: Path) -> Iterator[Event]:
    with path.open("rb") as stream:
        yield from read_events(iter(lambda: stream.read(_PIECE), b""), str(path))


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(_LARGEST_DOCUMENT + 1)
    if len(data) > _LARGEST_DOCUMENT:
        raise ProfileError(f"{path} is larger than any job's document", "pack the job again")
    return data


def _readable(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist", "check its spelling")
