"""Plug-ins of a stranger."""
