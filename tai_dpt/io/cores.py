"""How many processors there are to work with."""

from __future__ import annotations

import os
import sys


def usable_cores() -> int:
    """The cores that this process may use; where the system cannot say, all it has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
