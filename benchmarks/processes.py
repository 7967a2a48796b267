"""Measurements in processes of their own, one after the other.

A measurement is a function in some module, called as `function(mark, **arguments)` in a fresh process; it returns what
it measured, as JSON has it, and calls `mark(name)` where the time since the start of the process is wanted, which the
parent takes: imports count.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidjax import termination
from vidjax.reporting.tables import duration

Mark = Callable[[str], None]
TIMEOUT = 1800.0  # seconds after which a process is given up


@dataclasses.dataclass(frozen=True)
class Task:
    """A process to be.

    Attributes:
      target: "module:function".
      arguments: of the function, as JSON has them.
      kind: what is measured; tasks of one kind take about as long.
      subject: tasks of one subject are left out when one of them has failed.
      environment: variables of the process; None removes one.
    """

    target: str
    arguments: Mapping[str, Any]
    kind: str
    subject: str = ""
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


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
      "wall_ms" of each call, and "cpu_ms": the CPU time of all threads, per call.
    """
    deadline = time.perf_counter() + warm_up * seconds
    call()
    while time.perf_counter() < deadline:
        call()
    wall, cpu = [], time.process_time()
    started = before = time.perf_counter()
    while len(wall) < at_least or before < started + seconds:
        call()
        now = time.perf_counter()
        wall.append(1000 * (now - before))
        before = now
    cpu_ms = 1000 * (time.process_time() - cpu) / len(wall)
    return {"wall_ms": [float(f"{ms:.4g}") for ms in wall], "cpu_ms": float(f"{cpu_ms:.4g}")}


def run(task: Task, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Runs a task.

    Returns:
      What it measured, and for each mark the seconds from the start of the process; or {"error": why, in one line}.
    """
    cores = str(threads())
    environment = os.environ | {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores, "JAX_PLATFORMS": "cpu"}
    for name, value in task.environment.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [sys.executable, "-m", "benchmarks.processes", task.target, json.dumps(task.arguments)]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        try:
            return _listen(process, started, timeout) or {"error": _reason(process.wait(), errors)}
        except queue.Empty:
            return {"error": f"gave nothing for {duration(timeout)}"}
        finally:
            # With what it started itself: compilers, for instance.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listen(process: subprocess.Popen, started: float, timeout: float) -> dict[str, Any] | None:
    lines: queue.Queue[tuple[float, str]] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put((time.monotonic() - started, line))
        lines.put((0.0, ""))

    threading.Thread(target=read, daemon=True).start()
    marks: dict[str, float] = {}
    while True:
        seconds, line = lines.get(timeout=timeout)
        if not line:
            return None
        said = json.loads(line)
        if "result" in said:
            return said["result"] | marks
        marks[said["mark"]] = round(seconds, 3)


def _reason(status: int, errors: Any) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
    raised = [line for line in lines if line.split(":")[0].split(".")[-1].endswith(("Error", "Exception", "Failed"))]
    why = (raised or lines or [f"ended with status {status}"])[-1]
    return why if len(why) <= 120 else why[:117] + "..."


def run_all(tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Runs tasks in this order, and says on stderr which, and how long all will take."""
    took: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    with termination.terminate_as_exit():
        for number, task in enumerate(tasks):
            if task.subject in failed:
                yield task, {"error": failed[task.subject]}
                continue
            eta = _remaining(tasks[number:], took, failed)
            print(f"[{number + 1}/{len(tasks)}] {task.kind}  ETA {eta}", file=sys.stderr, flush=True)
            started = time.monotonic()
            outcome = run(task)
            took.setdefault(task.kind, []).append(time.monotonic() - started)
            if "error" in outcome:
                print(f"  failed: {outcome['error']}", file=sys.stderr, flush=True)
                failed[task.subject] = outcome["error"]
            yield task, outcome


def _remaining(tasks: Sequence[Task], took: Mapping[str, Sequence[float]], failed: Mapping[str, str]) -> str:
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
    if not means:
        return "-"
    typical = sum(means.values()) / len(means)
    return duration(sum(means.get(task.kind, typical) for task in tasks if task.subject not in failed))


def main() -> None:
    """The other end: `python -m benchmarks.processes MODULE:FUNCTION ARGUMENTS`."""
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
