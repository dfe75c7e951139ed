"""Probing a target before measuring on it: what would make its figures worse, and what to do."""

from hwnas.doctor.examine import Examination, examine
from hwnas.doctor.finding import Finding
from hwnas.doctor.governor import hold_governor

__all__ = ["Examination", "Finding", "examine", "hold_governor"]
