"""Measuring: jobs go to a device, events come back, and become records with a verdict.

``protocol`` says what targets are, ``hwnas.agent`` is what runs on them; ``run.profile`` is the
whole loop.
"""

from hwnas.agent.protocol import Job, Profiler, Runner, RuntimeInfo, Scope, Tensor, load_profiler
from hwnas.agent.settings import Settings
from hwnas.profile.descriptor import Descriptor, load_descriptor
from hwnas.profile.fingerprint import Fingerprint
from hwnas.profile.jobs import block_jobs, subnet_job
from hwnas.profile.package import Package, make_package
from hwnas.profile.protocol import Target, load_target
from hwnas.profile.record import Record
from hwnas.profile.run import Failure, Progress, Sink, Summary, collect, profile

__all__ = [
    "Descriptor",
    "Failure",
    "Fingerprint",
    "Job",
    "Package",
    "Profiler",
    "Progress",
    "Record",
    "Runner",
    "RuntimeInfo",
    "Scope",
    "Settings",
    "Sink",
    "Summary",
    "Target",
    "Tensor",
    "block_jobs",
    "collect",
    "load_descriptor",
    "load_profiler",
    "load_target",
    "make_package",
    "profile",
    "subnet_job",
]
