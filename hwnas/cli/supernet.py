"""Which network a bundle was compiled from, where a command has to run it in torch."""

from __future__ import annotations

from hwnas import plugins
from hwnas.bundle import Bundle
from hwnas.errors import UsageError

__all__ = ["supernet_of"]


def supernet_of(bundle: Bundle, given: str | None, otherwise: str = "") -> str:
    """What the user names; of what the bundle names, a registered family alone.

    Anything else would be imported and called, and a bundle must not run code.

    Args:
        bundle: of form ``space``.
        given: as the user named it, if so.
        otherwise: what else would do, for the error.

    Raises:
        UsageError: neither names one.
    """
    if given is not None:
        return given
    recorded = bundle.manifest.provenance.get("supernet")
    families = plugins.names(plugins.SUPERNETS)
    if isinstance(recorded, str) and recorded.partition(":")[0] in families:
        return recorded
    named = f" ({recorded!r})" if isinstance(recorded, str) else ""
    raise UsageError(
        f"torch has to run the subnets: say which network {bundle.path} was compiled from{named}",
        f"give --supernet path/net.py:attr or module:attr{otherwise}",
    )
