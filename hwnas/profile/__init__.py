"""Measuring: jobs run in killable children, raw samples go to a sink as they come.

``protocol`` says what profilers and targets are; ``run.profile`` is the whole loop.
"""

from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.isolation import describe
from hwnas.profile.jobs import block_jobs, subnet_job
from hwnas.profile.protocol import (
    Job,
    Profiler,
    Runner,
    RuntimeInfo,
    Scope,
    Target,
    load_profiler,
    load_target,
)
from hwnas.profile.run import Failure, Progress, Sink, Summary, profile
from hwnas.profile.settings import Settings

__all__ = [
    "Failure",
    "Fingerprint",
    "Job",
    "Profiler",
    "Progress",
    "Runner",
    "RuntimeInfo",
    "Scope",
    "Settings",
    "Sink",
    "Summary",
    "Target",
    "block_jobs",
    "describe",
    "load_profiler",
    "load_target",
    "profile",
    "subnet_job",
]
