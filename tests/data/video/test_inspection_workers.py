"""A file that hangs, crashes or eats memory takes no other down with it, and is not condemned for good."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.refusals import refused, unnamed
from vidjax.data.video import index, inspection_workers
from vidjax.errors import VidjaxError


@pytest.fixture
def unruly(monkeypatch, tmp_path):
    """Children whose inspection does what the name of a file says."""
    program = tmp_path / "unruly.py"
    program.write_text(
        textwrap.dedent(
            """
            import ctypes, os, sys, time
            from vidjax.data.video import inspection_workers
            from vidjax.data.video.inspection import FileRecord

            def inspect(path):
                name = os.path.basename(path)
                if name.startswith("busy") and not os.path.exists(path + ".seen"):
                    open(path + ".seen", "w").close()
                    os.kill(os.getpid(), 9)
                if name.startswith("late"):
                    yield FileRecord(path, 1, 1, "slow", frames=3)
                if name.startswith(("hangs", "late")):
                    time.sleep(60)
                if name.startswith("crashes"):
                    ctypes.string_at(0)
                if name.startswith("eats"):
                    bytearray(4 * 10**9)
                if name.startswith("long"):
                    for _ in range(300):
                        time.sleep(0.01)
                        yield None
                print("noise")
                for _ in range(3):
                    yield None
                yield FileRecord(path, 1, 1, "ok", frames=5)

            inspection_workers.inspect, inspection_workers._HEARTBEAT_SECONDS = inspect, 0.2
            inspection_workers._serve()
            """
        )
    )
    start = subprocess.Popen

    def started(command, **options):
        return start([sys.executable, str(program)], **options)

    monkeypatch.setattr(inspection_workers.subprocess, "Popen", started)
    monkeypatch.setattr(inspection_workers, "_HEARTBEAT_TIMEOUT", 2.0)


def test_each_file_is_answered(unruly, tmp_path):
    names = ["sound1", "hangs", "sound2", "crashes", "eats", "late", "busy", "sound3"]
    paths = [str(tmp_path / name) for name in names]
    found = {os.path.basename(record.path): record for record in inspection_workers.inspect_in_subprocesses(paths, 2)}
    assert found.keys() == set(names)
    for name in ("sound1", "sound2", "sound3", "busy"):
        assert (found[name].verdict, found[name].frames, found[name].lasting) == ("ok", 5, True), name
    assert found["hangs"].verdict == "refused" and found["hangs"].reason
    assert not unnamed(found["crashes"].reason, "SIGSEGV")
    assert found["eats"].verdict == "refused" and "2 GB of memory" in found["eats"].reason
    assert (found["late"].verdict, found["late"].frames) == ("slow", 3), "what is known before it hangs holds"
    assert [found[name].lasting for name in ("hangs", "late", "crashes", "eats")] == [False, False, True, True]


def test_what_may_be_the_machines_fault_is_not_kept(unruly, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "hangs"
    path.write_bytes(b"x")
    asked = []
    for _ in range(2):
        index.inspect_files([str(path)], progress=lambda records, total: (asked.append(total), records)[1])
    assert asked == [1, 1]


def test_a_child_that_dies_between_two_files_is_replaced(unruly, tmp_path):
    child = inspection_workers._Worker()
    assert child.inspect(str(tmp_path / "first")).verdict == "ok"
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    assert child.inspect(str(tmp_path / "second")).verdict == "ok"
    child.close()
    with refused(VidjaxError) as caught:
        child.inspect(str(tmp_path / "third"))
    assert type(caught.value) is VidjaxError, "or the file would be at fault"
    child.kill()


def test_children_that_cannot_start_condemn_no_file(monkeypatch, tmp_path):
    start = subprocess.Popen
    monkeypatch.setattr(
        inspection_workers.subprocess,
        "Popen",
        lambda command, **options: start([sys.executable, "-c", "exit(3)"], **options),
    )
    with refused(VidjaxError, "3"):
        list(inspection_workers.inspect_in_subprocesses([str(tmp_path / "a")], 1))


def test_children_end_with_their_parent(tmp_path):
    """Killed in the middle, a run leaves no process behind."""
    program = (
        "import sys; from vidjax.data.video import inspection_workers\n"
        "child = inspection_workers._Worker(); print(child._started().pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for pipe in (parent.stdin, parent.stdout):
        pipe.close()
    for _ in range(100):
        time.sleep(0.1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # ended; nobody waits for it here
            return
    pytest.fail("a child outlives its parent")


@pytest.mark.parametrize("pace, verdict", [(20.0, "ok"), (10_000.0, "refused")])
def test_a_long_video_gets_more_time_than_a_slow_one(unruly, tmp_path, monkeypatch, pace, verdict):
    monkeypatch.setattr(inspection_workers, "_BASE_TIMEOUT", 1.0)
    monkeypatch.setattr(inspection_workers, "_MIN_DECODE_FPS", pace)
    (record,) = inspection_workers.inspect_in_subprocesses([str(tmp_path / "long")], 1)
    assert record.verdict == verdict
