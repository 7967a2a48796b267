"""Runs measurements in separate processes, one at a time.

The code of such a process is in `benchmarks.worker`.
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

from benchmarks.worker import threads
from vidjax.system import termination
from vidjax.system.terminal import duration

_ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 1800.0  # seconds until a process is killed
_LOG_LINES = 200  # last lines of a process to keep in the log


@dataclasses.dataclass(frozen=True)
class Task:
    """A process to run.

    Attributes:
      target: "module:function".
      arguments: of the function, as JSON values.
      kind: what is measured; tasks of one kind take about the same time.
      subject: once a task fails, others of the same subject are skipped.
      environment: environment variables of the process; None removes a variable.
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
      timeout: in seconds.
      log: file to append the stderr output of the process to.

    Returns:
      The results, and the seconds from the start of the process to each mark; or "error", a reason in one line, and the
      marks that were reached.
    """
    cores = str(threads())
    environment = os.environ | {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    for name, value in task.environment.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [sys.executable, "-m", "benchmarks.worker", task.target, json.dumps(task.arguments)]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        marks: dict[str, float] = {}
        try:
            return _listen(process, started, timeout, marks) or {"error": _reason(process.wait(), errors)} | marks
        except queue.Empty:
            return {"error": f"timed out after {duration(timeout)}"} | marks
        finally:
            if log is not None:
                _add_to(log, task, errors)
            # Including its own children, e.g. compilers.
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
        message = json.loads(line)
        if "result" in message:
            return message["result"] | marks
        marks[message["mark"]] = round(seconds, 3)


def _next(lines: queue.Queue, process: subprocess.Popen, until: float) -> tuple[float, str]:
    """The next line; an empty one at the end, even if a child of the process still holds its output open.

    Raises:
      queue.Empty: if there is none in time.
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
    """Runs tasks in this order; prints progress and the estimated remaining time to stderr."""
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
