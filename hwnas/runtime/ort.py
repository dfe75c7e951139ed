"""ONNX Runtime, imported in the one place that turns its telemetry off first.

Version 1.29 and newer send telemetry by default, and start and run slower with it.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
