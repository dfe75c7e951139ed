"""A transport to any of this machine's shells, so that scripts are tried in more than one."""

from __future__ import annotations

import subprocess
from typing import BinaryIO

from hwnas.profile.transport import Result

__all__ = ["Here"]


class Here:
    """A transport to one of this machine's shells."""

    name = "here"

    def __init__(self, *shell: str) -> None:
        self.shell = shell or ("sh",)

    def run(
        self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
    ) -> Result:
        assert isinstance(stdin, bytes)
        done = subprocess.run(
            [*self.shell, "-c", script, "sh", *args],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        pass
