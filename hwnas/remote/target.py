"""A device at the end of a transport, as a target: what ssh and adb have in common."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar

from hwnas.agent.events import (
    AgentError,
    Described,
    End,
    Event,
    ItemDone,
    ItemFailed,
    Start,
)
from hwnas.agent.settings import Settings
from hwnas.agent.wire import parse_event
from hwnas.errors import DeviceFull, HwnasError, RemoteError, UnreachableDevice
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.failures import rebuild_error
from hwnas.profile.fingerprint import Fingerprint, read_fingerprint
from hwnas.profile.package import Package
from hwnas.profile.transport import Transport
from hwnas.remote.agents import Agent, choose_agent, explain
from hwnas.remote.device import Device
from hwnas.remote.follow import Follower
from hwnas.remote.jobs import (
    check_alone,
    create_job,
    has_job,
    read_ending,
    remove_job,
    start_agent,
    stop_agent,
)
from hwnas.remote.patience import Patience
from hwnas.remote.shell import last_line
from hwnas.remote.upload import Progress, upload

__all__ = ["MOST_RESTARTS", "RemoteTarget"]

MOST_RESTARTS = 3
"""How often an agent that ended too early is started again without an item done in between."""

_T = TypeVar("_T")
_DESCRIBE_S = 300.0

_DAMAGED = re.compile(r"(send|pack) (the job|it) again")
"""How an agent's advice begins where files of the job are not whole."""

_CORES = "cat /proc/self/status"

_DESCRIBE = """b=$1/blobs; shift
p=$1; shift
case $p in
  "~"/*) p=${HOME:-}${p#"~"};;
  "$b"/*) chmod 700 "$p" || exit 1;;
esac
"$p" "$@"
"""


class RemoteTarget:
    """See :class:`hwnas.profile.protocol.Target`. A subclass says how to connect.

    Attributes:
        descriptor: what it was made from.
        tell: told in one line when a link is lost and found, and when an agent is started again.
        uploaded: told how much has been sent; see :data:`hwnas.remote.upload.Progress`.
        patience_s: how long a device that has answered before may be silent, in s.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.tell: Callable[[str], None] = _to_stderr
        self.uploaded: Progress | None = None
        self.patience_s = 600.0
        self._transport: Transport | None = None
        self._device: Device | None = None
        self._agent: Agent | None = None
        self._agent_there = False
        self._patience: Patience | None = None

    def connect(self, descriptor: Descriptor) -> Transport:
        """The way to the device that ``descriptor`` names; does not talk to it yet."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The descriptor's name."""
        return self.descriptor.name

    def shell(self) -> Transport:
        """What runs scripts there; closed with the target."""
        if self._transport is None:
            self._transport = self.connect(self.descriptor)
        return self._transport

    def close(self) -> None:
        """End the connection; it is made again when it is needed."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._device = self._patience = None

    def cores(self) -> tuple[int, ...]:
        """See :meth:`hwnas.profile.protocol.Target.cores`."""
        device = self._open()
        answer = self._keep(lambda: device.run("the cores cannot be read", _CORES))
        said = answer.decode(errors="replace")
        found = re.search(r"^Cpus_allowed_list:\s*([0-9,-]{1,1000})$", said, re.MULTILINE)
        cores: set[int] = set()
        for part in found[1].split(",") if found else ():
            span = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
            if span is None:
                raise RemoteError(f"{self.name} says nonsense of its cores", "check its kernel")
            cores |= set(range(int(span[1]), int(span[2] or span[1]) + 1))
        if not cores:
            raise RemoteError(f"{self.name} does not tell its cores", "check its /proc")
        return tuple(sorted(cores))

    def fingerprint(self, profiler: str, settings: Settings) -> Fingerprint:
        """See :meth:`hwnas.profile.protocol.Target.fingerprint`."""
        self._open()
        return self._keep(lambda: self._describe(profiler, settings))

    def measure(self, package: Package) -> Generator[Event]:
        """See :meth:`hwnas.profile.protocol.Target.measure`."""
        device = self._open()
        if not self._keep(lambda: has_job(device, package.id)):
            self._keep(lambda: check_alone(device, package.id))
            blobs = {**package.blobs, package.id: package.document}
            self._send(blobs)
            self._keep(lambda: create_job(device, package.id, package.data))
        yield from self._follow(package.id, package)

    def resume(self, job_id: str) -> Generator[Event] | None:
        """See :meth:`hwnas.profile.protocol.Target.resume`."""
        device = self._open()
        if not self._keep(lambda: has_job(device, job_id)):
            return None
        return self._follow(job_id, None)

    def forget(self, job_id: str) -> None:
        """See :meth:`hwnas.profile.protocol.Target.forget`.

        All is stored by then: a device that cannot do it, or is gone, is told of in one line, and
        is not waited for.
        """
        work = self.descriptor.transport.work
        try:
            remove_job(self._open(), job_id)
        except HwnasError as error:
            self.tell(
                f"the job was not removed from {self.name} ({error.cause}); its results are "
                f"stored: {work}/jobs/{job_id} may be removed there"
            )

    def _open(self) -> Device:
        """The device, which has answered at least once when this returns."""
        if self._device is None or self._patience is None:
            device = Device(self.shell(), self.descriptor.transport.work)
            patience = Patience(self.name, lambda text: self.tell(text), self.patience_s)
            patience.keep(device.place)
            self._device, self._patience = device, patience
        return self._device

    def _keep(self, do: Callable[[], _T]) -> _T:
        assert self._patience is not None
        return self._patience.keep(do)

    def _send(self, blobs: Mapping[str, bytes | Path]) -> None:
        device = self._open()
        self._keep(lambda: upload(device, blobs, self.uploaded))

    def _ready_agent(self) -> Agent:
        """The agent, with its files there."""
        machine = self.descriptor.device.architecture or self._open().place().machine
        if self._agent is None:
            self._agent = choose_agent(self.descriptor, machine)
        if not self._agent_there:
            self._send(self._agent.blobs)
            self._agent_there = True
        return self._agent

    def _describe(self, profiler: str, settings: Settings) -> Fingerprint:
        device = self._open()
        root = device.place().root
        agent = self._ready_agent()
        request = json.dumps({"profiler": profiler, "settings": settings.to_dict()}).encode()
        command = agent.command(root, "describe")
        result = device.try_run(_DESCRIBE, root, *command, stdin=request, timeout_s=_DESCRIBE_S)
        line = result.stdout.strip().rpartition(b"\n")[2]
        try:
            event = parse_event(line)
        except ValueError:
            raise explain(self.descriptor, result.code, last_line(result.stderr)) from None
        if isinstance(event, Described):
            return read_fingerprint(event.fingerprint)
        if isinstance(event, AgentError):
            raise self._agent_error(event)
        raise RemoteError(f"{self.name} did not say what it is", "install the same hwnas there")

    def _follow(self, job_id: str, package: Package | None) -> Generator[Event]:
        """Events of a job that is there, whose agent is started whenever it does not live.

        The files of ``package`` are sent again before a start if they were damaged meanwhile.
        """
        device = self._open()
        assert self._patience is not None
        follower = Follower(device, job_id)
        starts = 0
        error: AgentError | None = None
        ended = False
        try:
            while True:
                for event in self._keep(follower.poll):
                    if isinstance(event, AgentError):
                        error = event
                        continue
                    if isinstance(event, Start):
                        error = None
                    if isinstance(event, ItemDone | ItemFailed):
                        starts = min(starts, 1)
                    ended = isinstance(event, End)
                    yield event
                if ended:
                    return
                self._patience.begun = follower.alive
                if follower.alive or not follower.whole:
                    continue
                if starts:
                    if error is not None:
                        raise self._agent_error(error, job_id)
                    self._say_or_raise(job_id, starts)
                self._start(job_id, package)
                self._patience.begun = True
                self._agent_there = False  # should it end too early, it is looked at again
                starts += 1
                error = None
        except UnreachableDevice:
            raise
        except BaseException:
            if self.descriptor.policy.governor == "set":
                self._stop(job_id)
            raise
        finally:
            self._patience.begun = False

    def _stop(self, job_id: str) -> None:
        """End the agent before its governor is put back: it would go on at another clock."""
        try:
            stop_agent(self._open(), job_id)
        except HwnasError as error:
            self.tell(
                f"the agent on {self.name} goes on, though its governor is put back "
                f"({error.cause}): do not trust what it measures"
            )

    def _start(self, job_id: str, package: Package | None) -> None:
        device = self._open()
        if package is not None:
            self._send(package.blobs)
            if package.data:
                self._keep(lambda: create_job(device, job_id, package.data))
        agent = self._ready_agent()
        command = agent.run(device.place().root, job_id)
        self._keep(lambda: start_agent(device, job_id, command))

    def _say_or_raise(self, job_id: str, starts: int) -> None:
        """An agent that was started here has ended without a word in its journal."""
        device = self._open()
        ending = self._keep(lambda: read_ending(device, job_id))
        if "No space left" in ending.said:
            raise DeviceFull(
                f"no space is left on {self.name}: the agent cannot go on",
                "free space there, then --resume",
            )
        if ending.code in (126, 127) or "No module named" in ending.said or ending.code == 132:
            raise explain(self.descriptor, ending.code or 1, ending.said)
        if starts > MOST_RESTARTS:
            raise RemoteError(
                f"the agent on {self.name} ended {starts} times before its work did ({ending})",
                f"hwnas doctor {self.name} may say why; --resume tries again",
            )
        self.tell(
            f"the agent on {self.name} ended before its work did ({ending}); it is started again "
            f"({starts} of {MOST_RESTARTS})"
        )

    def _agent_error(self, error: AgentError, job_id: str = "") -> HwnasError:
        """What the agent says, as an error that names the device."""
        if "No module named" in error.error:
            return explain(self.descriptor, 1, error.error)
        if "No space left" in error.error:
            return DeviceFull(
                f"no space is left on {self.name}: {error.error}", "free space there, then --resume"
            )
        found = rebuild_error(error)
        found.cause = f"{self.name}: {found.cause}"
        found.args = (found.cause,)
        if job_id and _DAMAGED.match(error.fix):
            folder = f"{self._open().place().root}/jobs/{job_id}"
            found.fix = (
                f"type there: rm -r {folder}; then --resume measures what is missing anew; if "
                "this comes back, the storage is failing"
            )
        return found


def _to_stderr(text: str) -> None:
    print(f"hwnas: {text}", file=sys.stderr, flush=True)
