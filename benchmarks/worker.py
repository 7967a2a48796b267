"""A process that runs a measurement, with helpers. Only imports the standard library, since imports are timed, too.

A measurement is a function that is called as `function(mark, **arguments)` and returns its results as JSON values. It
may call `mark(name)` to let the parent record the time since the start of the process.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

StatusCallback = Callable[[str], None]


def threads() -> int:
    """The number of cores that this process may use, and of threads that each framework gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_megabytes() -> float:
    """The peak memory of this process, without its children."""
    try:
        # Unlike getrusage, this does not include the memory of the parent at the time of the fork.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 1024)


def timed_once(call: Callable[[], Any]) -> float:
    """The duration of a call in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def timed(call: Callable[[], Any], seconds: float, *, at_least: int, warm_up: float = 0.1) -> dict[str, Any]:
    """Times repeated calls of a function.

    Args:
      call: returns when everything is computed.
      seconds: duration of the measurement.
      at_least: minimum number of calls.
      warm_up: duration of the warmup as a fraction of `seconds`.

    Returns:
      "wall_ms" of each call; mean CPU time per call over all threads, "cpu_ms", including that of the kernel,
      "system_ms".
    """
    deadline = time.perf_counter() + warm_up * seconds
    call()
    while time.perf_counter() < deadline:
        call()
    wall: list[float] = []
    before_cpu = resource.getrusage(resource.RUSAGE_SELF)
    started = before = time.perf_counter()
    while len(wall) < at_least or before < started + seconds:
        call()
        now = time.perf_counter()
        wall.append(1000 * (now - before))
        before = now
    after_cpu = resource.getrusage(resource.RUSAGE_SELF)
    system_ms = 1000 * (after_cpu.ru_stime - before_cpu.ru_stime) / len(wall)
    cpu_ms = 1000 * (after_cpu.ru_utime - before_cpu.ru_utime) / len(wall) + system_ms
    return {
        "wall_ms": [float(f"{ms:.4g}") for ms in wall],
        "cpu_ms": float(f"{cpu_ms:.4g}"),
        "system_ms": float(f"{system_ms:.4g}"),
    }


def main() -> None:
    """`python -m benchmarks.worker MODULE:FUNCTION ARGUMENTS`, as called by `benchmarks.processes`."""
    target, arguments = sys.argv[1:]
    # Output of libraries is redirected to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    module, _, function = target.partition(":")
    result = getattr(importlib.import_module(module), function)(lambda name: send(mark=name), **json.loads(arguments))
    send(result=result)


if __name__ == "__main__":
    main()
