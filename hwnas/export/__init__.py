"""Exporting: a plan's subnets as a switchable bundle or as ordinary ONNX files."""

from hwnas.export.bundle import export_bundle, export_finalised
from hwnas.export.onnx import export_onnx
from hwnas.export.request import Wanted
from hwnas.export.verify import Runner, Verification, verify

__all__ = [
    "Runner",
    "Verification",
    "Wanted",
    "export_bundle",
    "export_finalised",
    "export_onnx",
    "verify",
]
