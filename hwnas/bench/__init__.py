"""Comparing a switchable bundle with each subnet's own static export, side by side.

The contenders: the native chain, the Python chain, N separate sessions, and the single-file
``If`` model of ``--to onnx-switch``. Nothing here imports a runtime before it is needed, so that
each measuring process holds only what it measures.
"""

from hwnas.bench.footprint import Footprint
from hwnas.bench.report import Report, compare_all
from hwnas.profile.interleave import Ratio, Rounds

__all__ = ["Footprint", "Ratio", "Report", "Rounds", "compare_all"]
