"""The version's single source: pyproject.toml and CMakeLists.txt read it from this file."""

__all__ = ["__version__"]

__version__ = "0.1.0"
