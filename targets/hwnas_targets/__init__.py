"""Targets that come with hwnas: one kind of place to measure per file."""

__all__: list[str] = []
