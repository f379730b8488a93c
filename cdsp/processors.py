"""How many processors there are to use."""

import os


def usable_processors() -> int:
    """The processors that this process may use, which on a cluster are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
