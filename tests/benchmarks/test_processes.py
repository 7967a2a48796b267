"""Measurements in separate processes."""

import time

import pytest

from benchmarks import processes, worker
from benchmarks.processes import Task

PROBE = """
import os, subprocess, sys, time
def echo(mark, **arguments):
    print("a library says something")
    mark("begun_s")
    return {**arguments, "cache": os.environ.get("A_CACHE")}
def fail(mark):
    print("a hint", file=sys.stderr)
    raise ValueError("it does not work")
def begin(mark):
    mark("begun_s")
    raise MemoryError("too much")
def crash(mark):
    os._exit(3)
def wait(mark):
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def probe(tmp_path, monkeypatch):
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("A_CACHE", "filled")


def test_a_process_gives_its_result_and_its_marks():
    started = time.monotonic()
    outcome = processes.run(Task("probe:echo", {"model": "net"}, "net"))
    assert 0 < outcome.pop("begun_s") < time.monotonic() - started
    assert outcome == {"model": "net", "cache": "filled"}
    assert processes.run(Task("probe:echo", {}, "net", environment={"A_CACHE": None}))["cache"] is None


def test_failures_are_told_in_one_line(monkeypatch):
    assert processes.run(Task("probe:fail", {}, "net")) == {"error": "ValueError: it does not work"}
    assert processes.run(Task("probe:crash", {}, "net")) == {"error": "ended with status 3"}
    started = time.monotonic()
    assert processes.run(Task("probe:wait", {}, "net"), timeout=0.5) == {"error": "timed out after 0:00"}
    assert time.monotonic() - started < 20


def test_a_failure_tells_how_far_it_came_and_leaves_a_log(tmp_path):
    log = tmp_path / "log"
    outcome = processes.run(Task("probe:begin", {}, "net"), log=log)
    assert outcome.keys() == {"error", "begun_s"} and outcome["error"] == "MemoryError: too much"
    processes.run(Task("probe:fail", {}, "another"), log=log)
    text = log.read_text()
    assert text.startswith("== net\n") and "Traceback" in text and "== another\na hint\n" in text


def test_what_has_failed_is_not_tried_again(capsys):
    tasks = [Task("probe:fail", {}, "a", "a"), Task("probe:echo", {}, "b", "b"), Task("probe:echo", {}, "a", "a")]
    outcomes = [outcome for _, outcome in processes.run_all(tasks)]
    assert outcomes[0] == outcomes[2] == {"error": "ValueError: it does not work"} and "begun_s" in outcomes[1]
    said = capsys.readouterr()
    assert not said.out and "[1/3] a  ETA -\n  failed: ValueError" in said.err and "[3/3]" not in said.err


def test_calls_are_timed():
    calls = []
    timed = worker.timed(lambda: calls.append(time.sleep(0.01)), 0.0, at_least=4)
    assert len(timed["wall_ms"]) == 4 and len(calls) == 5 and min(timed["wall_ms"]) >= 10 > timed["cpu_ms"]
    assert len(worker.timed(lambda: time.sleep(0.01), 0.1, at_least=1)["wall_ms"]) > 4
    assert worker.peak_megabytes() > 10
