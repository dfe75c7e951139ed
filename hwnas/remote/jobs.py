"""Jobs on a device: made whole or not at all, started so that they outlive the link, removed.

``job.json`` comes last: a job is there only when all that it needs has reached the disk. An agent
is started in a session of its own; a shell waits for it there and leaves its exit code. Two files
tell whether it lives, each with a process number and that process's start time, since numbers are
used again: ``lock``, which the agent holds, and ``started``, from before the agent is that far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwnas.errors import RemoteError
from hwnas.profile.transport import Result
from hwnas.remote.device import Device, check_id
from hwnas.remote.shell import last_line

__all__ = [
    "Ending",
    "check_alone",
    "create_job",
    "has_job",
    "read_ending",
    "remove_job",
    "start_agent",
    "stop_agent",
]

_NO_JOB, _OCCUPIED = 69, 70

_HAS = '[ -f "$1/jobs/$2/job.json" ] || exit 69'

# Two jobs would disturb each other. One that has just told its end takes a moment to be gone.
_ALONE = """n=0
for o in "$1"/jobs/*; do
  [ "$o" != "$1/jobs/$2" ] || continue
  while live "$o/lock" || live "$o/started"; do
    [ "$n" -lt 3 ] || { echo "${o##*/} $pid"; exit 70; }
    n=$((n+1)); sleep 1
  done
done
"""

# Data is put there again if the job is there: a file may be a link to one that was damaged.
_CREATE = """j=$1/jobs/$2
if live "$j/lock" || live "$j/started"; then exit 0; fi
mkdir -p "$j/data" && cd "$j" || exit 1
put() { rm -f "$2"; ln "$1" "$2" 2>/dev/null || cp "$1" "$2"; }
while read -r n h; do put "$1/blobs/$h" "data/$n" || exit 1; done
[ ! -f job.json ] || { sync data/* data 2>/dev/null || sync; exit 0; }
put "$1/blobs/$2" job.json.new || exit 1
sync job.json.new data/* data . 2>/dev/null || sync
mv -f job.json.new job.json && flush . "$1/jobs"
"""

# The words after the job's id are the agent's command line.
_START = (
    """j=$1/jobs/$2
cd "$j" 2>/dev/null && [ -f job.json ] || exit 69
if live lock || live started; then exit 0; fi
"""
    + _ALONE
    + """b=$1/blobs; shift 2
p=$1; shift
case $p in
  "~"/*) p=${HOME:-}${p#"~"};;
  "$b"/*) chmod 700 "$p" || exit 1;;
esac
rm -f started ended
echo "-- start" >> agent.log
if command -v setsid >/dev/null 2>&1; then s=setsid; else s=nohup; fi
w='own() { shift 19; echo "$$ $1" > started; }
read -r l < "/proc/$$/task/$$/stat"; own ${l##*) } || exit
"$@"; echo "$?" > ended'
$s sh -c "$w" sh "$p" "$@" </dev/null >/dev/null 2>>agent.log &
n=0
until [ -s started ] || [ "$n" -ge 100 ]; do
  n=$((n+1)); sleep 0.1 2>/dev/null || sleep 1
done
[ -s started ] || { echo "the agent's shell did not start" >&2; exit 1; }
"""
)

# The shell that waits for the agent ends after it; before the agent has its lock, it is waited for.
_STOP = """cd "$1/jobs/$2" 2>/dev/null || exit 69
n=0
while live lock || live started; do
  [ "$n" -lt 200 ] || { echo "its agent does not end" >&2; exit 1; }
  s=TERM; [ "$n" -lt 100 ] || s=KILL
  ! live lock || kill -s "$s" "$pid" 2>/dev/null
  n=$((n+1)); sleep 0.1 2>/dev/null || { n=$((n+9)); sleep 1; }
done
"""

_ENDING = """cd "$1/jobs/$2" 2>/dev/null || exit 69
if [ -s ended ]; then read -r c < ended; echo "$c"; else echo "?"; fi
[ ! -f agent.log ] || tail -c 4096 agent.log
"""

_REMOVE = """j=$1/jobs/$2
n=0
while live "$j/lock" || live "$j/started"; do
  [ "$n" -lt 10 ] || { echo "its agent is still at work" >&2; exit 1; }
  n=$((n+1)); sleep 1
done
rm -rf "$j" "$1/blobs/$2"
"""

_SIGNALS = {
    4: "an instruction that this CPU does not have: the runtime was built for another one",
    6: "it aborted",
    7: "a bus error: storage or memory may be failing",
    9: "killed, perhaps because memory ran out",
    11: "a crash in the runtime or the agent",
    15: "it was told to end",
}


@dataclass(frozen=True)
class Ending:
    """How an agent ended: its exit code (``None``: unknown, as after a power cut) and last word."""

    code: int | None
    said: str

    def __str__(self) -> str:
        how = "nobody knows how"
        if self.code is not None:
            meaning = _SIGNALS.get(self.code - 128)
            how = f"exit code {self.code}" + (f", {meaning}" if meaning else "")
        return f"{how}{': ' if self.said else ''}{self.said}"


def has_job(device: Device, job_id: str) -> bool:
    """Whether the device has the job, whole."""
    result = device.try_run(_HAS, device.place().root, check_id(job_id))
    return result.code == 0


def create_job(device: Device, job_id: str, data: Mapping[str, str]) -> None:
    """Make the job from files that are there: its document, and ``data``, name to SHA-256.

    Raises:
        DeviceFull, RemoteError: it cannot be made.

    If the job is there and no agent is at work on it, ``data`` is put there anew.
    """
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(data.items()))
    device.run(
        "the job cannot be made",
        _CREATE,
        device.place().root,
        check_id(job_id),
        stdin=lines.encode(),
        timeout_s=600.0,
    )


def start_agent(device: Device, job_id: str, command: Sequence[str]) -> None:
    """Start ``command``, whose first word is a program there, unless the job's agent lives.

    Raises:
        RemoteError: it cannot be started, the job is not there, or another is being measured.
    """
    root = device.place().root
    result = device.try_run(_START, root, check_id(job_id), *command)
    if result.code == _NO_JOB:
        raise RemoteError(
            f"{device.name} does not have the job {job_id[:12]} any more",
            "profile without --resume",
        )
    _check_alone(device, result)
    device.check(result, "the agent cannot be started")


def check_alone(device: Device, job_id: str) -> None:
    """Do nothing if no other job than ``job_id`` is being measured on the device.

    Raises:
        RemoteError: there is one; says which, and what to do.
    """
    result = device.try_run(_ALONE, device.place().root, check_id(job_id))
    _check_alone(device, result)
    device.check(result, "its jobs cannot be looked at")


def _check_alone(device: Device, result: Result) -> None:
    if result.code != _OCCUPIED:
        return
    job, _, pid = last_line(result.stdout).partition(" ")
    raise RemoteError(
        f"{device.name} is still measuring another job, {job[:12]}: two would disturb each other",
        "repeat the command that began it with --resume, which follows it to its end; or give it "
        f"up, by typing there: kill {pid}",
    )


def stop_agent(device: Device, job_id: str) -> None:
    """End the job's agent, if it lives; its journal stays, and another start goes on from there.

    Raises:
        RemoteError: it does not end.
    """
    result = device.try_run(_STOP, device.place().root, check_id(job_id))
    if result.code != _NO_JOB:
        device.check(result, "the agent cannot be ended")


def read_ending(device: Device, job_id: str) -> Ending:
    """How the job's last agent ended."""
    said = device.run(
        "the agent's last words cannot be read", _ENDING, device.place().root, check_id(job_id)
    )
    code, _, log = said.partition(b"\n")
    known = code.isdigit() and len(code) <= 3
    # Of this start, and what is wrong rather than what to do about it.
    lines = log.rpartition(b"-- start\n")[2].splitlines()
    words = [line for line in lines if not line.lstrip().startswith(b"fix:")]
    return Ending(int(code) if known else None, last_line(b"\n".join(words)))


def remove_job(device: Device, job_id: str) -> None:
    """Remove the job and its document; other files stay, as a cache.

    Raises:
        RemoteError: its agent is still at work, or it cannot be removed.
    """
    device.run("the job cannot be removed", _REMOVE, device.place().root, check_id(job_id))
