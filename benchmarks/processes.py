"""Measurements in processes of their own, one after the other.

What such a process does is in `benchmarks.child`.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.child import threads
from vidjax.system import termination
from vidjax.system.terminal import duration

_ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 1800.0  # seconds after which a process is given up
_LOG_LINES = 200  # that a log keeps of a process, the last ones


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


def run(task: Task, timeout: float = TIMEOUT, log: Path | None = None) -> dict[str, Any]:
    """Runs a task.

    Args:
      task: the process.
      timeout: seconds that it has in all.
      log: a file to which what the process says on stderr is added.

    Returns:
      What it measured, and for each mark the seconds from the start of the process; or "error": why, in one line, and
      the marks that it came to.
    """
    cores = str(threads())
    environment = os.environ | {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    for name, value in task.environment.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [sys.executable, "-m", "benchmarks.child", task.target, json.dumps(task.arguments)]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        marks: dict[str, float] = {}
        try:
            return _listen(process, started, timeout, marks) or {"error": _reason(process.wait(), errors)} | marks
        except queue.Empty:
            return {"error": f"not done after {duration(timeout)}"} | marks
        finally:
            if log is not None:
                _add_to(log, task, errors)
            # With what it started itself: compilers, for instance.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listen(
    process: subprocess.Popen, started: float, timeout: float, marks: dict[str, float]
) -> dict[str, Any] | None:
    lines: queue.Queue[tuple[float, str]] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put((time.monotonic() - started, line))
        lines.put((0.0, ""))

    threading.Thread(target=read, daemon=True).start()
    while True:
        seconds, line = _next(lines, process, started + timeout)
        if not line:
            return None
        said = json.loads(line)
        if "result" in said:
            return said["result"] | marks
        marks[said["mark"]] = round(seconds, 3)


def _next(lines: queue.Queue, process: subprocess.Popen, until: float) -> tuple[float, str]:
    """The next line; an empty one at the end, also where something that the process started still holds its output.

    Raises:
      queue.Empty: if none comes in time.
    """
    while True:
        has_ended = process.poll() is not None
        try:
            return lines.get(timeout=min(1.0, max(0.0, until - time.monotonic())))
        except queue.Empty:
            if has_ended:
                return 0.0, ""
            if time.monotonic() >= until:
                raise


def _reason(status: int, errors: Any) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
    raised = [line for line in lines if line.split(":")[0].split(".")[-1].endswith(("Error", "Exception", "Failed"))]
    why = (raised or lines or [f"ended with status {status}"])[-1]
    return why if len(why) <= 240 else why[:237] + "..."


def _add_to(log: Path, task: Task, errors: Any) -> None:
    errors.seek(0)
    lines = errors.read().splitlines()[-_LOG_LINES:]
    with log.open("a", encoding="utf-8") as file:
        file.write("\n".join([f"== {task.kind}", *lines, ""]))


def run_all(tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Runs tasks in this order, and says on stderr which, and how long all will take."""
    took: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    with termination.sigterm_to_system_exit():
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
