"""Running a shipped bundle: all its subnets in memory at once, one of them active.

Imports neither torch nor click nor any plug-in.
"""

from hwnas.runtime.switcher import Switcher

__all__ = ["Switcher"]
