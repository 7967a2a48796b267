"""Keeps freed memory in the process for training on CPUs (glibc's malloc settings).

XLA asks for the buffer of a step's intermediate results anew at each step (SlowFast small: 150 MB), and glibc gives
such a large one back to the kernel at once: a page fault for each 4 KiB of it, at every step.
"""

import ctypes
import importlib.util
import os
import platform
import sys

# <malloc.h>: parameters of mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
# One heap for all threads, since others cannot hold a large buffer; nothing apart from it, nothing given back, and
# grown by so much that it is not grown at every step.
_SETTINGS = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: 64 << 20}


def retain_freed_memory() -> bool:
    """Has glibc keep what the process frees, for what it allocates next. To be called before threads are started.

    A thread that has a heap of its own by then keeps it, as any thread does after some eight of them.

    Peak memory changes little (measured: -15 to +14%). Nothing is changed with another C library, where an accelerator
    may be used (then the buffers are there, and many threads that decode would share one lock), or where the
    environment says how memory is to be allocated.

    Returns:
      Whether freed memory is kept from now on.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    if _is_chosen_by_user() or _may_use_accelerator():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) for parameter, value in _SETTINGS.items()])


def _is_chosen_by_user() -> bool:
    """Whether the environment names another allocator, or settings of glibc's."""
    preloaded = os.environ.get("LD_PRELOAD", "")
    return (
        "malloc" in preloaded  # jemalloc, tcmalloc, mimalloc
        or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
        or any(name.startswith("MALLOC_") for name in os.environ)
    )


def _may_use_accelerator() -> bool:
    """Whether JAX has a plug-in for one and is not told to leave it alone; asks without starting any."""
    wanted = os.environ.get("JAX_PLATFORMS", "")
    has_plugin = any(importlib.util.find_spec(name) is not None for name in ("jax_plugins", "libtpu"))
    return has_plugin if not wanted else wanted != "cpu"
