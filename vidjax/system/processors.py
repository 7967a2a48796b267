"""How many processor cores this process may use."""

import os


def available() -> int:
    """The number of cores: those that this process is bound to, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
