"""Inspects files in killable subprocesses, so that a decoder that hangs or crashes cannot end the run.

Each child process (this file, run as a program) inspects one file after the other. It reads a path per line, and writes
each record as a line of JSON and, about once a second, a heartbeat with the number of frames decoded. It is killed if
it is silent for too long, is slow, needs too much memory or crashes; the file is then tried once more in a new process,
since a busy machine must not decide about a file. A child ends by itself when its parent is gone.
"""

import contextlib
import dataclasses
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidjax.data.video.file import as_file
from vidjax.data.video.inspection import FileRecord, inspect, signature_or_zero
from vidjax.errors import VidjaxError

MEMORY_LIMIT_BYTES = 2 * 10**9  # bytes of data that a child may allocate
_HEARTBEAT_TIMEOUT = 8.0  # seconds without a new frame
_BASE_TIMEOUT = 15.0  # seconds for each of the two passes, for a file of up to
_SMALL_FILE_BYTES = 500_000  # bytes,
_BYTES_PER_SECOND = 5_000  # and one second more for each of these above that: enough for an hour of a still picture
_MIN_DECODE_FPS = 100.0  # a file that decodes faster is long, not stuck, and gets more time,
_MAX_TIMEOUT = 300.0  # up to this for each pass
_START = 60.0  # seconds for a child to start
_HEARTBEAT_SECONDS = 1.0  # between two heartbeats
_CRASH_SIGNALS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
_READY, _HEARTBEAT, _DONE = "ready", "goes on", "done"


def inspect_in_subprocesses(paths: Sequence[str], jobs: int) -> Iterator[FileRecord]:
    """Inspects files in child processes, several at once; yields their records in the order of completion.

    Args:
      paths: of the files.
      jobs: child processes.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    found: queue.SimpleQueue[FileRecord | BaseException] = queue.SimpleQueue()
    for path in paths:
        waiting.put(path)
    stopped = threading.Event()
    children = [_Worker() for _ in range(min(jobs, len(paths)))]

    def work(child: _Worker) -> None:
        while not stopped.is_set():
            try:
                path = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                found.put(child.inspect(path))
            except BaseException as error:  # the thread that waits raises it
                found.put(error)
                return

    threads = [threading.Thread(target=work, args=(child,), daemon=True) for child in children]
    for thread in threads:
        thread.start()
    try:
        for _ in paths:
            record = found.get()
            if isinstance(record, BaseException):
                raise record
            yield record
    finally:
        stopped.set()
        for child in children:
            child.close()
        for thread, child in zip(threads, children):
            thread.join(timeout=5)
            child.kill()


class _WorkerDiedError(Exception):
    """A child has died or was killed; says why, and whether the file must be the cause."""

    def __init__(self, why: str, *, own_fault: bool = False):
        super().__init__(why)
        self.own_fault = own_fault


class _Worker:
    """A child process that inspects, started when it is first needed and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._closed = False

    def inspect(self, path: str) -> FileRecord:
        """The record of a file, whatever it does to the child.

        Raises:
          VidjaxError: if no child can be started.
        """
        record, lost = self._try(path)
        if lost is not None:
            record, again = self._try(path)
            # A decoder that crashes by its own fault twice always does; for anything else the machine may be the cause.
            lasting = again is not None and lost.own_fault and again.own_fault
            if again is not None and record is None:
                return FileRecord(path, *_signature(path), "refused", str(again), lasting=lasting)
            if again is not None and record is not None:
                return dataclasses.replace(record, reason=f"seeking: {again}", lasting=lasting)
        assert record is not None
        return record

    def close(self) -> None:
        """Ends the child for good; may be called while another thread waits for it."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def kill(self) -> None:
        """Ends the child at once."""
        process, self._process, self._unread = self._process, None, b""
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # flushing what could not be written
                    if pipe is not None:
                        pipe.close()
            # Blocked in a system call, it ends only after that.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)

    def _try(self, path: str) -> tuple[FileRecord | None, "_WorkerDiedError | None"]:
        """The last record of a file, and why the child was lost; None if it finished."""
        patience = _BASE_TIMEOUT + max(_signature(path)[0] - _SMALL_FILE_BYTES, 0) / _BYTES_PER_SECOND
        record: FileRecord | None = None
        process = self._started()
        try:
            self._ask(process, path)
            started, allowed = time.monotonic(), patience
            while True:
                line = self._line(process, min(started + allowed - time.monotonic(), _HEARTBEAT_TIMEOUT))
                if line == _DONE:
                    return record, None
                if line.startswith(_HEARTBEAT):
                    frames = int(line.removeprefix(_HEARTBEAT))
                    allowed = max(patience, min(patience + frames / _MIN_DECODE_FPS, _MAX_TIMEOUT))
                else:
                    record = FileRecord(**json.loads(line))
                    started, allowed = time.monotonic(), patience
        except _WorkerDiedError as lost:
            self.kill()
            return record, lost

    def _started(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise VidjaxError("the check of videos was stopped")
        if self._process is None:
            self._process = _start()
            try:
                ready = self._line(self._process, _START)
            except _WorkerDiedError as lost:
                self.kill()
                raise VidjaxError(f"no process that checks videos can be started: {lost}") from lost
            assert ready == _READY, ready
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], path: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(path).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # reading its answer tells how it ended

    def _line(self, process: subprocess.Popen[bytes], patience: float) -> str:
        """The next line that the child writes.

        Raises:
          _WorkerDiedError: if it takes too long or has died.
        """
        assert process.stdout is not None
        deadline = time.monotonic() + patience
        while b"\n" not in self._unread:
            ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise _WorkerDiedError("takes too long to decode")
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                code = process.wait()
                name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                raise _WorkerDiedError(f"its decoder crashed ({name})", own_fault=name in _CRASH_SIGNALS)
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    root = str(Path(__file__).resolve().parents[3])  # of the package, wherever this process was started
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "vidjax.data.video.inspection_workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _signature(path: str) -> tuple[int, int]:
    return signature_or_zero(as_file(path).load())


def _serve() -> None:
    """The child's side."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts the parent, too, which ends this process
    # What libraries print must not get between the records.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def say(line: str) -> None:
        print(line, file=answers, flush=True)

    parent = os.getppid()
    say(_READY)
    for line in sys.stdin:
        path, beat = json.loads(line), time.monotonic()
        # Should the decoder hang after the parent is gone, the system ends this process.
        signal.alarm(int(_MAX_TIMEOUT + _signature(path)[0] / _BYTES_PER_SECOND) * 2 + 60)
        answered, frames = False, 0
        try:
            for record in inspect(path):
                if record is not None:
                    answered, frames = True, 0
                    say(json.dumps(dataclasses.asdict(record)))
                    continue
                frames += 1
                if time.monotonic() - beat > _HEARTBEAT_SECONDS:
                    beat = time.monotonic()
                    if os.getppid() != parent:
                        return
                    say(f"{_HEARTBEAT} {frames}")
        except MemoryError:
            if not answered:  # otherwise the first record is valid
                why = f"needs more than {MEMORY_LIMIT_BYTES / 1e9:.0f} GB of memory"
                say(json.dumps(dataclasses.asdict(FileRecord(path, *_signature(path), "refused", why))))
        say(_DONE)


if __name__ == "__main__":
    _serve()
