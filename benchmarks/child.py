"""A process that measures, and what it measures with; only the standard library, since its imports are timed, too.

A measurement is a function in some module, called as `function(mark, **arguments)`; it returns what it measured, as
JSON has it, and calls `mark(name)` where the time since the start of the process is wanted, which the parent takes.
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
    """The cores that this process may use: both frameworks get as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_megabytes() -> float:
    """The most memory that this process has held, children aside."""
    try:
        # Of this program alone: what getrusage gives includes the parent's, at the time of the fork.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 1024)


def timed_once(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def timed(call: Callable[[], Any], seconds: float, *, at_least: int, warm_up: float = 0.1) -> dict[str, Any]:
    """Calls a function again and again.

    Args:
      call: returns when all is computed.
      seconds: for how long.
      at_least: so many times.
      warm_up: share of these seconds that it is called before.

    Returns:
      "wall_ms" of each call; per call the CPU time of all threads, "cpu_ms", and that of the kernel in it,
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
    """`python -m benchmarks.child MODULE:FUNCTION ARGUMENTS`, as `benchmarks.processes` calls it."""
    target, arguments = sys.argv[1:]
    # Whatever libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    module, _, function = target.partition(":")
    result = getattr(importlib.import_module(module), function)(lambda name: say(mark=name), **json.loads(arguments))
    say(result=result)


if __name__ == "__main__":
    main()
