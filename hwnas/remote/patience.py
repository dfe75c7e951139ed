"""Trying again while a link is lost, for as long as that makes sense."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from hwnas.errors import LinkLost, NoSuchDevice, UnreachableDevice

__all__ = ["Patience"]

_T = TypeVar("_T")
_LONGEST_WAIT_S = 20.0


class Patience:
    """Repeats what can be repeated until the device answers again.

    A device that has never answered is not waited for: its address is probably wrong. After it
    has, any loss counts, since a board that boots again refuses connections for a while.

    Args:
        name: of the device.
        tell: told once when the link is lost, and once when it is back.
        limit_s: how long a device may be silent.
    """

    def __init__(self, name: str, tell: Callable[[str], None], limit_s: float = 600.0) -> None:
        self._name, self._tell, self._limit_s = name, tell, limit_s
        self._answered = False
        self.begun = False
        """Whether an agent is at work there, which goes on without us."""

    def keep(self, do: Callable[[], _T]) -> _T:
        """Do ``do``, which must be fit to be done again, until no link is lost in it.

        Raises:
            LinkLost: the device has been silent for too long.
            HwnasError: whatever else ``do`` raises.
        """
        since: float | None = None
        wait_s = 0.5
        while True:
            try:
                found = do()
            except (LinkLost, NoSuchDevice) as error:
                if not self._answered:
                    raise
                now = time.monotonic()
                if since is None:
                    since = now
                    self._tell(f"{error.cause}; trying again for {self._limit_s / 60:g} minutes")
                if now - since + wait_s > self._limit_s:
                    raise self._give_up(error) from error
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                self._answered = True
                if since is not None:
                    self._tell(f"{self._name} answers again")
                return found

    def _give_up(self, error: UnreachableDevice) -> LinkLost:
        goes_on = "; the agent goes on there" if self.begun else ""
        return LinkLost(
            f"{self._name} has not answered for {self._limit_s / 60:g} minutes "
            f"({error.cause}){goes_on}",
            "the same command with --resume goes on" + (", and collects" if self.begun else ""),
        )
