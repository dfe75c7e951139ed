"""Comparing a switchable bundle with each subnet's own monolithic export, side by side."""

from hwnas.bench.compare import Comparison, compare
from hwnas.bench.memory import Memory, memory_ratio
from hwnas.bench.report import Report, compare_all

__all__ = ["Comparison", "Memory", "Report", "compare", "compare_all", "memory_ratio"]
