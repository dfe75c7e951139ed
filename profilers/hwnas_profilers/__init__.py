"""Profilers that come with hwnas: one way of measuring per file."""

__all__: list[str] = []
