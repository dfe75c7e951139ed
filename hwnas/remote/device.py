"""A device with a work folder: where scripts run, and what their failures mean.

    WORK/blobs/SHA256        files by content: models, weights, agents, runtimes
    WORK/blobs/SHA256.part   one that has not arrived whole
    WORK/jobs/ID/            one job, see ``hwnas.agent.job``

Scripts are for any POSIX shell (dash, busybox, Android's mksh); they rely on no Python there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from hwnas.errors import DeviceFull, RemoteError, UsageError
from hwnas.profile.transport import Result, Transport
from hwnas.remote.shell import last_line

__all__ = ["Device", "Place", "check_id", "failure"]

_PRELUDE = """set -u; LC_ALL=C; export LC_ALL; umask 077
digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"
  elif toybox sha256sum </dev/null >/dev/null 2>&1; then toybox sha256sum "$@"
  elif busybox sha256sum </dev/null >/dev/null 2>&1; then busybox sha256sum "$@"
  else echo "neither sha256sum nor busybox nor toybox is there" >&2; return 65; fi
}
flush() { sync "$@" 2>/dev/null || sync; }
own() { stat=${1##*) }; set -- $stat; echo "${20}"; }
live() {
  [ -f "$1" ] || return 1
  read -r pid begun < "$1" || return 1
  case $pid in ""|*[!0-9]*) return 1;; esac
  [ -r "/proc/$pid/stat" ] && read -r stat 2>/dev/null < "/proc/$pid/stat" || return 1
  case ${stat##*) } in Z*) return 1;; esac
  [ "$(own "$stat")" = "$begun" ]
}
"""
"""What every script may use: ``digest FILES``, ``flush FILES`` (onto the disk), and ``live FILE``:
whether the process is there whose number and start time ``FILE`` holds."""

_OPEN = """w=$1
case $w in "~"/*)
  [ -n "${HOME:-}" ] || { echo "HOME is not set there" >&2; exit 1; }
  w=$HOME${w#"~"};;
esac
mkdir -p "$w/blobs" "$w/jobs" || exit 1
[ -O "$w" ] || exit 68
cd "$w" && pwd -P && uname -m
"""
_NO_DIGEST, NOT_OURS = 65, 68
_FULL = re.compile(
    rb"No space left on device|Disk quota exceeded|disk quota|File too large|cannot reserve"
)
_WORK = re.compile(r"(~|)(/[A-Za-z0-9_.+@-]+)+")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Place:
    """The work folder's absolute path there, and the architecture as ``uname -m`` says it."""

    root: str
    machine: str


class Device:
    """Scripts of hwnas on one device. Used by one thread.

    Args:
        transport: how it is reached.
        work: its work folder; ``~`` is the user's home there.

    Raises:
        UsageError: ``work`` is no path that is fit for a shell.
    """

    def __init__(self, transport: Transport, work: str) -> None:
        if not _WORK.fullmatch(work) or ".." in work.split("/"):
            raise UsageError(
                f"the work folder {ascii(work)[:80]} is no absolute path of letters, digits and "
                "_ . + @ -",
                "give a folder such as ~/.cache/hwnas or /data/local/tmp/hwnas",
            )
        self.transport = transport
        self.name = transport.name
        self._work = work
        self._place: Place | None = None

    def place(self) -> Place:
        """Make the work folder, which only this user may enter, if it is not there.

        Raises:
            RemoteError: it cannot be made, or belongs to somebody else.
            UnreachableDevice: the device does not answer.
        """
        if self._place is None:
            result = self.try_run(_OPEN, self._work)
            if result.code == NOT_OURS:
                raise RemoteError(
                    f"the work folder {self._work} on {self.name} belongs to another user",
                    "name another one as `work` in the target's file",
                )
            self.check(result, f"the work folder {self._work} cannot be made")
            self._place = self._read_place(result.stdout)
        return self._place

    def try_run(
        self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
    ) -> Result:
        """Run ``script``, which may use the functions above; its exit code is the caller's."""
        return self.transport.run(_PRELUDE + script, *args, stdin=stdin, timeout_s=timeout_s)

    def run(
        self,
        doing: str,
        script: str,
        *args: str,
        stdin: bytes | BinaryIO = b"",
        timeout_s: float = 60.0,
    ) -> bytes:
        """Run ``script`` and return what it wrote.

        ``doing`` says what failed if it does, as in "the job cannot be removed"; the rest is as
        for :meth:`try_run`.

        Raises:
            DeviceFull: no space is left there.
            RemoteError: its exit code is not 0.
            UnreachableDevice: the device does not answer.
        """
        result = self.try_run(script, *args, stdin=stdin, timeout_s=timeout_s)
        self.check(result, doing)
        return result.stdout

    def check(self, result: Result, doing: str) -> None:
        """Raise as :meth:`run` where the exit code is not 0."""
        if result.code:
            raise failure(self.name, doing, result)

    def _read_place(self, said: bytes) -> Place:
        lines = said.decode(errors="replace").splitlines()
        if len(lines) != 2 or not all(line.isprintable() and len(line) < 4096 for line in lines):
            raise RemoteError(f"{self.name} says nonsense of its work folder", "check its shell")
        root, machine = lines
        if not root.startswith("/") or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", machine):
            raise RemoteError(f"{self.name} says nonsense of its work folder", "check its shell")
        return Place(root, machine)


def failure(name: str, doing: str, result: Result) -> RemoteError:
    """The error for a script that failed on the device ``name``; ``doing``: what it was to do."""
    if _FULL.search(result.stderr):
        return DeviceFull(
            f"no space is left on {name}: {doing}",
            "free space there, or name a `work` folder on another disk in the target's file",
        )
    why = last_line(result.stderr) or f"exit code {result.code}"
    fix = "check the device's storage and permissions"
    if result.code == _NO_DIGEST:
        fix = "install coreutils or busybox there: files are checked before they are used"
    return RemoteError(f"{doing} on {name}: {why}", fix)


def check_id(job_id: str) -> str:
    """``job_id``, if it is the SHA-256 of something in hex; :class:`UsageError` otherwise."""
    if not _ID.fullmatch(job_id):
        raise UsageError(f"{ascii(job_id)[:80]} is not the id of a job")
    return job_id
