"""The word in which a Raspberry Pi's firmware says that it holds the clock down, and why.

Bits 0 to 3 are now, 16 to 19 the same since boot, as the Raspberry Pi documentation of
``vcgencmd get_throttled`` lists them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hwnas.agent.sensors.files import read_word
from hwnas.agent.sensors.protocol import not_here

__all__ = ["RaspberryPi", "parse_throttled", "reasons"]

_BITS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SINCE_BOOT = 16
_TIMEOUT_S = 5


def parse_throttled(text: str) -> int | None:
    """The word from ``50000`` (sysfs) or ``throttled=0x50000`` (vcgencmd), both hexadecimal."""
    digits = text.strip().removeprefix("throttled=").removeprefix("0x")
    if not 1 <= len(digits) <= 8 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return None
    return int(digits, 16)


def reasons(word: int, *, since_boot: bool = False) -> list[str]:
    """What the bits of ``word`` say of now, or of the time since boot."""
    shift = _SINCE_BOOT if since_boot else 0
    return [text for bit, text in _BITS.items() if word >> (bit + shift) & 1]


class RaspberryPi:
    """``rpi_throttled``: the firmware's word as a number."""

    name = "rpi"

    def __init__(self, root: Path = Path("/")) -> None:
        found = sorted((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled"))
        self._file = found[0] if found else None
        # The command asks the firmware of this machine, whatever stands below ``root``.
        self._command = shutil.which("vcgencmd") if root == Path("/") else None

    def word(self) -> int | None:
        """The firmware's word; ``None`` where nobody tells."""
        text = None if self._file is None else read_word(self._file)
        if text is None and self._command is not None:
            try:
                done = subprocess.run(
                    [self._command, "get_throttled"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                return None
            text = done.stdout[:64].decode("ascii", "replace")
        return None if text is None else parse_throttled(text)

    def missing(self) -> str:
        """Empty if the word can be read; see :class:`~hwnas.agent.sensors.protocol.Sensor`."""
        if self.word() is not None:
            return ""
        if self._file is None and self._command is None:
            return not_here("no Raspberry Pi firmware, and no command vcgencmd")
        return not_here("the firmware does not tell; add the user to the group video")

    def read(self) -> dict[str, float]:
        """The word."""
        word = self.word()
        return {} if word is None else {"rpi_throttled": float(word)}
