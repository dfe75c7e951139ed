"""Reading the small files in which the kernel shows one value each."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_number", "read_word"]

_LONGEST = 256


def read_word(path: Path) -> str | None:
    """The text of ``path`` without its end of line; ``None`` if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST).decode("ascii", "replace").strip()
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The whole number in ``path``; ``None`` if it cannot be read or is none."""
    word = read_word(path)
    if word is None or len(word) > 20:
        return None
    try:
        return int(word)
    except ValueError:
        return None
