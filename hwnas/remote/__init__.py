"""Measuring on a device that is not this machine.

A transport runs scripts there (``shell``); on it files are sent (``upload``), jobs are made and
their agents started (``jobs``), and journals are read (``follow``). ``target`` puts this together;
``offline`` does the same by way of a file that is carried there and back.
"""

from hwnas.remote.shell import LocalTransport, ShellTransport
from hwnas.remote.target import RemoteTarget

__all__ = ["LocalTransport", "RemoteTarget", "ShellTransport"]
