"""hwnas: a hardware-aware deployment compiler for elastic neural networks."""

from hwnas._version import __version__

__all__ = ["__version__"]
