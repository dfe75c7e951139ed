"""Compiling: a supernet becomes a bundle of blocks. Needs torch: ``pip install 'hwnas[torch]'``."""

from hwnas.compile.compiler import compile_supernet

__all__ = ["compile_supernet"]
