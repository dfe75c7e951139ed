"""Run the tests on the emulated boards; ``make test-board`` calls this.

    python tests/board/run.py [pytest's arguments]

The tests run in name spaces of their own for mounts, processes and the network. All that they
change is in there and ends with them, also after Ctrl-C or a kill: mounts, processes, devices,
the entry in binfmt_misc. What stays is one folder in the user's cache (see ``recipe.py``).

Where a machine cannot run them, the last line is "not run: WHY" and the exit status 0;
with HWNAS_REQUIRE_BOARD=1 that is an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import recipe  # type: ignore[import-not-found]  # beside this script

from hwnas.errors import HwnasError
from hwnas.remote.native_agent import binary

_GRACE_S = 20
_HERE = Path(__file__).parent
_SHARES = (("test_machines.py", "test_doctor.py", "test_profile.py"), ("test_faults.py",))
"""Files with tests, in two shares that take about the same time."""


def main(arguments: list[str]) -> int:
    try:
        why = recipe.missing()
        made = None if why else recipe.prepare()
    except recipe.Unavailable as problem:
        why, made = str(problem), None
    if made is None:
        print(f"not run: {why}")
        return int(os.environ.get("HWNAS_REQUIRE_BOARD") == "1")
    begun = time.monotonic()
    try:
        binary("aarch64")  # built once, and before both shares want it
    except HwnasError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"board: native agent for aarch64: {time.monotonic() - begun:.0f} s", flush=True)
    tools = f"{made}/tools/bin:{os.environ['PATH']}"
    environment = os.environ | {"HWNAS_BOARD": str(made), "PATH": tools}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Two at once: a board, or hwnas, is often waiting for the other.
    shares = [arguments] if arguments else [[str(_HERE / name) for name in s] for s in _SHARES]
    with ExitStack() as stack:
        outputs = [stack.enter_context(TemporaryFile("w+")) for _ in shares[1:]]
        children = []
        for share, output in zip(shares, [None, *outputs], strict=True):
            children.append(_start(share, environment, output))
            stack.callback(children[-1].wait)
            stack.callback(children[-1].kill)
        try:
            codes = [child.wait() for child in children]
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                for child in children:
                    child.wait(_GRACE_S)  # pytest had Ctrl-C too, and says what it was doing
            return 130
        finally:
            for output in outputs:
                output.seek(0)
                print(output.read(), flush=True)
    return max(codes)


def _start(
    arguments: list[str], environment: dict[str, str], output: IO[str] | None
) -> subprocess.Popen[bytes]:
    """Start pytest in name spaces of its own, which end with it, and it with this process."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid"]
    command += ["--fork", "--kill-child", "--mount-proc"]
    # The shell is process 1 in there, which takes in orphans.
    command += ["sh", "-c", 'mount -t tmpfs tmpfs /media && "$@"; exit $?', "sh"]
    command += [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--basetemp=/media/pytest", "--durations=5", *arguments]
    return subprocess.Popen(command, env=environment, cwd=recipe.ROOT, stdout=output, stderr=output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
