"""Plug-ins of a stranger, and a descriptor for its target."""
