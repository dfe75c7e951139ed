"""What runs on a device: reads a job folder, measures its items, and writes a journal.

Runs on Python 3.10 and imports only the standard library, NumPy and the few light modules of hwnas
that travel with it, so that a board needs nothing but NumPy and a runtime.
"""

from __future__ import annotations

__all__: list[str] = []
