"""Calling a function in a process of its own, which may crash or hang."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_ROOT = Path(__file__).parents[2]  # of the checkout; in an installation, of all packages


def run_in_child(
    function: Callable[..., Iterator[Any]], arguments: list[Any], seconds: float
) -> tuple[list[Any], str | None]:
    """Calls a function in a process of its own.

    Args:
      function: of a module; it takes and yields what JSON can hold.
      arguments: of the call.
      seconds: after which the process is killed.

    Returns:
      What it yielded, and why it did not come to its end; None if it did.
    """
    words = (function.__module__, function.__qualname__, json.dumps(arguments))
    call = f"from vidjax.doctor import child; child.answer{words!r}"
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    # Another program may be computing on the same GPU, of which JAX would take three quarters.
    environment = {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-c", call],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            env=environment,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0)  # a process that hangs in a driver may not end at all
        answers = [json.loads(line) for line in _lines(said) if line.startswith("{")]
        complaint = next((line for line in reversed(_lines(complaints)) if line.strip()), "")
    results = [each["result"] for each in answers if "result" in each]
    error = next((each["error"] for each in answers if "error" in each), None)
    if status is None:
        error = f"no answer within {seconds:g} s"
    elif status < 0:
        error = f"crashed with signal {-status} ({signal.strsignal(-status)})"
    elif status > 0 and error is None:
        error = first_line(complaint) or f"exit status {status}"
    return results, error


def answer(module: str, function: str, arguments: str) -> None:
    """Runs in the child: calls the function and prints each result that it yields as a line of JSON."""
    # Libraries may print anything; only the answers go to the original stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        for result in getattr(importlib.import_module(module), function)(*json.loads(arguments)):
            print(json.dumps({"result": result}), file=answers, flush=True)
    except Exception as error:
        print(json.dumps({"error": describe_error(error)}), file=answers, flush=True)
        answers.flush()
        os._exit(1)
    os._exit(0)  # skips exit handlers of libraries, which may hang or crash


def _lines(file: BinaryIO) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").splitlines()


def describe_error(error: BaseException) -> str:
    return ": ".join(filter(None, [type(error).__name__, first_line(str(error))]))


def first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]
