"""The native part of hwnas.runtime."""

from collections.abc import Mapping
import os
from typing import Any


def version() -> str:
    """Return the version that the extension was built from."""

has_switcher: bool = True

class Switcher:
    """An open bundle; see hwnas.runtime.Switcher."""

    def __init__(self, path: str | os.PathLike[str], runtime_library: str | os.PathLike[str] | None = None, subnet: str | None = None, threads: int = 1, verify: bool = True) -> None: ...

    def run(self, inputs: Mapping[str, Any], subnet: str | int | None = None, out: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run one subnet once, with Python's lock released."""

    @property
    def subnets(self) -> tuple[str, ...]:
        """Names of the subnets, in the order of the manifest."""

    @property
    def current(self) -> str:
        """Name of the current subnet; set by name or by number."""

    @current.setter
    def current(self, subnet: str | int) -> None: ...

    @property
    def runtime_version(self) -> str:
        """Version of the ONNX Runtime that runs."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def close(self) -> None:
        """Release everything; runs under way end well."""
