"""What an agent says has failed, as the error that it was there."""

from __future__ import annotations

from hwnas import errors
from hwnas.agent.events import AgentError, ItemFailed
from hwnas.errors import HwnasError, ProfileError

__all__ = ["rebuild_error"]


def rebuild_error(failed: AgentError | ItemFailed) -> HwnasError:
    """The error, of its own type where that is one of hwnas."""
    kind = getattr(errors, failed.type, None) if failed.type in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, HwnasError)):
        kind = ProfileError
    error: HwnasError = kind.__new__(kind)
    HwnasError.__init__(error, failed.error, failed.fix)
    return error
