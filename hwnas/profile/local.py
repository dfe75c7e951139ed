"""The agent as a child of this process: how this machine measures itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from hwnas.agent.events import AgentError, Described, End, Event
from hwnas.agent.settings import Settings
from hwnas.agent.wire import LONGEST_LINE, parse_event
from hwnas.errors import ProfileError
from hwnas.profile.failures import rebuild_error
from hwnas.profile.fingerprint import Fingerprint, read_fingerprint
from hwnas.profile.package import Package

__all__ = ["describe_locally", "measure_locally"]

_EXIT_S = 5.0
_STDERR_LINES = 20
_LONGEST_STDERR = 4096
_LONGEST_SHOWN = 300
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure_locally(package: Package, prefix: Sequence[str] = ()) -> Generator[Event]:
    """Run a job in a child; its events as they come.

    The child and all that it has started are gone when the iterator has ended or was closed.

    Args:
        package: the job.
        prefix: words before the agent's command, such as ``nice``.

    Raises:
        HwnasError: what the agent could not go on for.
        ProfileError: it cannot be started, crashed, or talks nonsense.
    """
    with _unpacked(package) as (job, blobs, data):
        words = ["run", str(job), "--blobs", str(blobs), "--data", str(data), "--stdout"]
        with _agent([*prefix, *_PYTHON, *words]) as agent:
            for event in agent.events():
                if isinstance(event, AgentError):
                    raise rebuild_error(event)
                yield event
                if isinstance(event, End):
                    return
            raise agent.died()


def describe_locally(profiler: str, settings: Settings, prefix: Sequence[str] = ()) -> Fingerprint:
    """This machine's fingerprint under ``settings``, read by an agent.

    Raises:
        HwnasError: what the agent raised: an unknown profiler or provider, no such core.
        ProfileError: the agent cannot be started, crashed, or talks nonsense.
    """
    request = json.dumps({"profiler": profiler, "settings": settings.to_dict()}).encode()
    with _agent([*prefix, *_PYTHON, "describe"], request) as agent:
        for event in agent.events():
            if isinstance(event, AgentError):
                raise rebuild_error(event)
            if isinstance(event, Described):
                return read_fingerprint(event.fingerprint)
        raise agent.died()


# -P: the installed package measures, not a folder that happens to be the current one.
_PYTHON = (sys.executable, "-P", "-m", "hwnas.agent")


@contextmanager
def _unpacked(package: Package) -> Iterator[tuple[Path, Path, Path]]:
    """Folders of the job, of its models by content and of its data, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as name:
        folder = Path(name)
        blobs, data = folder / "blobs", folder / "data"
        with _own_words(folder):
            blobs.mkdir()
            data.mkdir()
            (folder / "job.json").write_bytes(package.document)
            for sha256, content in package.blobs.items():
                if isinstance(content, bytes):
                    (blobs / sha256).write_bytes(content)
            data = _data(package, data)
        yield folder, blobs, data


@contextmanager
def _own_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProfileError(
            f"the job cannot be written to {folder}: {error.strerror}",
            "free space there, or name another folder for temporary files with TMPDIR",
        ) from error


def _data(package: Package, folder: Path) -> Path:
    """The folder where models find their files: where they are, or copies in ``folder``."""
    contents = {name: package.blobs[sha256] for name, sha256 in package.data.items()}
    paths = {name: path for name, path in contents.items() if isinstance(path, Path)}
    folders = {path.resolve().parent for path in paths.values()}
    named = all(path.name == name for name, path in paths.items())
    if len(folders) == 1 and named and len(paths) == len(contents):
        # Weights are read where they are: a copy would take time, space and cache.
        return folders.pop()
    for name, content in contents.items():
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_bytes(content)
    return folder


class _Agent:
    """The parent's side of one agent process."""

    def __init__(self, words: Sequence[str], request: bytes | None) -> None:
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        environment |= dict.fromkeys(_THREAD_VARIABLES, "1")
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL if request is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ProfileError(
                f"the agent cannot be started: {words[0]}: {error.strerror}", "reinstall hwnas"
            ) from error
        self._said: deque[bytes] = deque(maxlen=_STDERR_LINES)
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        if self._process.stdin is not None and request is not None:
            with suppress(OSError):
                self._process.stdin.write(request)
                self._process.stdin.close()

    def events(self) -> Iterator[Event]:
        """What the agent says, until it has closed its output."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(LONGEST_LINE + 1):
            try:
                yield parse_event(line)
            except ValueError as error:
                raise ProfileError(
                    f"the agent does not speak the protocol: {error}", "reinstall hwnas"
                ) from error

    def died(self) -> ProfileError:
        """The error for an agent that ended without saying why."""
        try:
            status = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            how = "closed its output and went on"
        else:
            how = f"killed by {_signal(-status)}" if status < 0 else f"exit code {status}"
        self._listener.join(1.0)
        last = next((line for line in reversed(self._said) if line.strip()), b"")
        text = last.decode(errors="replace").strip()[:_LONGEST_SHOWN]
        return ProfileError(
            f"the agent ended before its work did ({how}){': ' if text else ''}{text}",
            "go on with --resume",
        )

    def stop(self) -> None:
        """End the agent, with all that it and what it measures have started."""
        self._process.terminate()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            # What it has forked dies with it.
            self._process.kill()
            self._process.wait()
        self._listener.join(1.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not (
                stream is self._process.stderr and self._listener.is_alive()
            ):
                with suppress(OSError):
                    stream.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError):
            while line := self._process.stderr.readline(_LONGEST_STDERR):
                self._said.append(line)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _agent(words: Sequence[str], request: bytes | None = None) -> Iterator[_Agent]:
    agent = _Agent(words, request)
    try:
        yield agent
    finally:
        agent.stop()
