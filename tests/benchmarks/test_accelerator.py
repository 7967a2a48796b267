"""What `benchmarks.accelerator` does with rows: which it measures, what it keeps, and what it makes of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import accelerator, accelerator_rows, processes
from benchmarks.accelerator import BenchmarkSession
from benchmarks.accelerator_rows import Row
from tests.refusals import refused, unnamed
from vidjax.reporting import readme

ROOT = Path(__file__).resolve().parents[2]


def step(ms, device="NVIDIA H100 80GB HBM3", **more):
    times = {"calls": 100, "blocks": 10, "low": 0.9 * ms, "median": ms, "high": 1.1 * ms, "of_blocks": [ms] * 10}
    return {
        "device": device,
        "versions": {"jax": "0.11.2"},
        "shape": [16, 32, 224, 224, 3],
        "ms": times,
        "clips_per_second": 16_000 / ms,
        "first_step_s": 42.0,
        "step_mb": 11_000.0,
        "peak_mb": 14_000.0,
        "first_loss": 6.0,
        "last_loss": 5.9,
        **more,
    }


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(accelerator, "gpu", lambda: None)


class Processes:
    """Replaces `processes.run`, without any waiting."""

    def __init__(self, monkeypatch):
        self.outcomes, self.took, self.now, self.ran = {}, {}, 0.0, []
        monkeypatch.setattr(processes, "run", self.run)
        monkeypatch.setattr(accelerator.time, "monotonic", lambda: self.now)

    def run(self, task, limit, log):
        self.ran.append((task.kind, limit))
        self.now += min(limit, self.took.get(task.kind, 10.0))
        return self.outcomes.get(task.kind, step(20.0))


@pytest.fixture
def fake(monkeypatch):
    return Processes(monkeypatch)


def row(name, seconds=10.0, limit=100.0):
    return Row(f"slowfast/bfloat16/{name}", "m:f", {"size": 16}, seconds, limit)


def ran(fake):
    return [name.removeprefix("slowfast/bfloat16/") for name, _ in fake.ran]


def test_rows_are_told_apart_and_come_in_order_of_value():
    rows = accelerator_rows.rows(tiny=False, seconds=4.0)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert names[:3] == ["device", "slowfast/bfloat16/16/vidjax", "slowfast/bfloat16/16/torch_eager"]
    order = ["r2plus1d/bfloat16/16", "i3d", "c3d", "early", "capsnet", "slowfast/float32", "slowfast/bfloat16/8"]
    order += ["slowfast/bfloat16/32", "pooling", "determinism", "transfer"]
    places = [next(i for i, name in enumerate(names) if name.startswith(start)) for start in order]
    assert places == sorted(places)
    assert [row.name for row in accelerator_rows.rows(tiny=True, seconds=0.1)] == names
    for row_ in rows:
        assert row_.limit > row_.seconds
        is_set = accelerator_rows.DETERMINISTIC in (row_.environment.get("XLA_FLAGS") or "")
        assert is_set == row_.name.startswith("determinism/flag")


def test_the_file_is_whole_after_each_row_and_a_failure_stops_nothing(fake, tmp_path):
    path, seen = tmp_path / "out.json", []
    fake.outcomes["slowfast/bfloat16/b"] = {"error": "RuntimeError: no"}
    original = fake.run

    def look(task, limit, log):
        seen.append(sorted(json.loads(path.read_text())["rows"]) if path.exists() else None)
        return original(task, limit, log)

    processes.run = look
    BenchmarkSession(path, tiny=False).run([row("a"), row("b"), row("c")], None)
    a, b, c = (f"slowfast/bfloat16/{name}" for name in "abc")
    assert seen == [None, [a], [a, b]]
    rows = json.loads(path.read_text())["rows"]
    assert rows[b]["error"] == "RuntimeError: no" and "error" not in rows[c] and rows[c]["process_s"] == 10.0


def test_what_is_there_is_not_measured_again_and_what_failed_comes_last(fake, tmp_path):
    path, rows = tmp_path / "out.json", [row("a"), row("b"), row("c")]
    fake.outcomes["slowfast/bfloat16/a"] = {"error": "MemoryError: too much"}
    BenchmarkSession(path, tiny=False).run(rows[:2], None)
    session = BenchmarkSession(path, tiny=False)
    assert [r.name for r in accelerator.pending(rows, session.done, rerun=False)] == [rows[2].name, rows[0].name]
    assert accelerator.pending(rows, session.done, rerun=True) == rows
    # A failure does not take the place of a measurement.
    fake.outcomes["slowfast/bfloat16/b"] = {"error": "RuntimeError: lost"}
    session.run([rows[1]], None)
    assert "error" not in session.done[rows[1].name]


def test_rows_that_do_not_fit_the_minutes_are_left(fake, tmp_path, capsys):
    rows = [row("a", 40), row("b", 70), row("c", 10), row("d", 15)]
    fake.took = {"slowfast/bfloat16/a": 40.0, "slowfast/bfloat16/c": 60.0}
    path = tmp_path / "out.json"
    BenchmarkSession(path, tiny=False).run(rows, minutes=1.0)
    assert ran(fake) == ["a", "c"], "b is too long after a, and of d there is no time left"
    assert fake.ran[1][1] == pytest.approx(20.0), "no process is given more than what is left"
    said = capsys.readouterr().err
    assert not unnamed(said, "slowfast/bfloat16/b, slowfast/bfloat16/d")
    assert "[1/4] slowfast/bfloat16/a  expected 0:40  ETA 1:00" in said
    assert "slowfast/bfloat16/16/vidjax" in json.loads(path.read_text())["left"]


def test_files_of_others_and_of_other_sizes_are_refused(fake, tmp_path):
    path = tmp_path / "out.json"
    BenchmarkSession(path, tiny=True).run([row("a")], None)
    with refused(SystemExit, "out.json", "tiny", "--out"):
        BenchmarkSession(path, tiny=False)
    path.write_text("[]")
    with refused(SystemExit, "out.json", "--out"):
        BenchmarkSession(path, tiny=True)


def test_rows_are_chosen_by_pattern():
    rows = accelerator_rows.rows(tiny=True, seconds=0.1)
    chosen = accelerator.chosen(rows, ["capsnet/bfloat16/*", "pooling"])
    assert [row.name.rpartition("/")[2] for row in chosen] == ["vidjax", "torch_eager", "torch_compile", "pooling"]
    with refused(SystemExit, "--rows", "'sloth'", "--list"):
        accelerator.chosen(rows, ["sloth"])


def test_tables_of_a_gpu(fake, tmp_path, capsys):
    path, device = tmp_path / "out.json", "NVIDIA H100 80GB HBM3"
    digests = {"10": {"params/a": "1", "params/b": "2"}, "20": {"params/a": "3", "params/b": "4"}}
    other = {**digests, "20": {"params/a": "3", "params/b": "5"}}
    bit_equal = {"device": device, "steps": 20, "repeat": None}
    rate = {"ms": {"low": 1.0, "median": 2.0, "high": 3.0}, "gb_per_second": 38.5, "clips_per_second": 8000.0}
    pool = {"pool": "stem", "shape": [16, 8, 4, 4, 64], "window": [1, 3, 3], "strides": [1, 2, 2]}
    times = {"low": 1.0, "median": 2.0, "high": 3.0}
    pool |= {"native": times, "by_axis": {**times, "median": 1.0}, "largest_difference": {"value": 0, "gradient": 0.5}}
    fake.outcomes = {
        "device": {"device": device, "matmul_tflops": {"bfloat16": 800.0, "float32": 400.0}, "matmul_size": 8192},
        "slowfast/bfloat16/16/vidjax": step(20.0),
        "slowfast/bfloat16/16/torch_eager": step(25.0),
        "slowfast/bfloat16/16/torch_compile": {"error": "not done after 4:46", "device": device},
        "slowfast/bfloat16/16/vidjax_native": step(19.0),
        "pooling": {"device": device, "cases": [pool]},
        "determinism/flag/1": {**bit_equal, "digests": digests},
        "determinism/flag/2": {**bit_equal, "digests": digests},
        "determinism/default/1": {**bit_equal, "digests": digests, "repeat": {"step": 10, "leaf": "params/a"}},
        "determinism/default/2": {**bit_equal, "digests": other},
        "transfer/jax": {"device": device, "shape": [16, 32, 224, 224, 3], "pageable": rate, "pinned": None},
    }
    rows = [row for row in accelerator_rows.rows(tiny=False, seconds=4.0) if row.name in fake.outcomes]
    BenchmarkSession(path, tiny=False).run(rows, None)
    content = json.loads(path.read_text())
    tables = {table["title"].partition(",")[0]: table["rows"] for table in content["tables"]}
    vidjax, eager, compiled, native = tables["Training steps"]
    # 6 x 50.3 GMACs x 800 clips/s = 241.5 TFLOP/s, of 989.4 and of 800.
    head = ["SlowFast R50 8x8, 16 x 32x224x224", "bfloat16", "vidjax", "20.0 (18.0 to 22.0)", "800"]
    assert vidjax == [*head, "0.80", "24.4 (30.2)", "11.0 (14.0)", "42.0"]
    assert native[2:6] == ["vidjax, native operations only", "19.0 (17.1 to 20.9)", "842", "0.76"]
    assert eager[5] == "1.00" and compiled[2:5] == ["torch.compile", "failed: not done after 4:46", "-"]
    assert tables["Max pooling and its gradient"][0][-2:] == ["2.00", "0.5"]
    assert tables["A small network trained twice from the same state"] == [
        ["set", "bit-equal", "bit-equal"],
        ["not set", "differs at step 10: params/a; bit-equal", "differs at step 20: params/b"],
    ]
    assert tables["Host-to-device transfer"] == [
        ["16x32x224x224x3", "jax", "pageable", "2.00 (1.00 to 3.00)", "38.5", "8,000"]
    ]
    accelerator.main(["--show", str(path)])
    shown = capsys.readouterr().out
    block = readme.benchmark_block(path)
    for text in (shown, block):
        assert "| 20.0 (18.0 to 22.0) | 800 | 0.80 | 24.4 (30.2) |" in text
    assert f"hardware: {device}; jax 0.11.2; code: " in block and "Not measured: r2plus1d/bfloat16/16/vidjax" in shown


def test_peaks_of_data_sheets():
    assert accelerator.peak("NVIDIA H100 80GB HBM3", "bfloat16") == accelerator.peak("NVIDIA H200", "bfloat16") == 989.4
    assert accelerator.peak("NVIDIA H100 PCIe", "float32") == 378.0 and accelerator.peak("cpu", "bfloat16") is None


def test_blocks_are_waited_for_at_their_ends():
    calls = []
    timed = accelerator_rows.in_blocks(lambda: calls.append("call"), lambda: calls.append("wait"), 0.0, blocks=4)
    assert timed["calls"] == timed["blocks"] == 4 and calls.count("wait") == 7
    assert "".join(call[0] for call in calls) == "cccw" + "ccw" + "cw" * 5
    assert timed["low"] <= timed["median"] <= timed["high"] and len(timed["of_blocks"]) == 4


# What a GPU machine need not have: everything of requirements.txt but JAX, flax, Optax, NumPy and absl.
ABSENT = """
import sys
NAMES = set('''av decord grain array_record orbax tensorstore treescope pandas matplotlib sklearn scipy tensorboardX
filelock jinja2 PIL ml_collections'''.split())
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def bare(tmp_path, *arguments):
    """Runs Python where these packages cannot be imported, not even in its children."""
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_a_bare_machine_is_enough(tmp_path):
    for name in ("av", "pandas", "ml_collections"):
        assert "ModuleNotFoundError" in bare(tmp_path, "-c", f"import {name}").stderr
    names = ["device", "capsnet/bfloat16/128/vidjax"]
    run = bare(tmp_path, "-m", "benchmarks.accelerator", "--tiny", "--rows", *names, "--out", "out.json")
    assert run.returncode == 0, run.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row.get("error") for row in content["rows"].values()] == [None, None] and content["tiny"]
    found = content["rows"][names[1]]
    assert found["device"] == "cpu" and found["peak_mb"] is None and found["step_mb"] is None
    assert found["ms"]["median"] > 0 and found["versions"]["flax"] and found["first_loss"] != found["last_loss"]
    assert "CapsNet, 2 x 1x20x20" in run.stdout and "ETA" in run.stderr


def test_without_a_gpu_rows_of_full_size_are_refused(tmp_path):
    run = bare(tmp_path, "-m", "benchmarks.accelerator", "--rows", "device", "--out", "out.json", "--log", "log")
    assert run.returncode == 0, run.stderr
    row = json.loads((tmp_path / "out.json").read_text())["rows"]["device"]
    assert not unnamed(row["error"], "JAX", "CPU") and "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_tiny_rows_of_each_kind(tmp_path):
    pytest.importorskip("torch", reason="the peers need PyTorch (requirements-parity.txt)")
    path = tmp_path / "out.json"
    names = ["c3d/bfloat16/32/torch_eager", "capsnet/bfloat16/128/torch_eager", "pooling", "transfer/*"]
    accelerator.main(["--tiny", "--rows", *names, "determinism/flag/*", "initialization", "--out", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 8 and not [row["error"] for row in rows.values() if "error" in row]
    assert rows["determinism/flag/1"]["repeat"] is None
    assert rows["determinism/flag/1"]["digests"] == rows["determinism/flag/2"]["digests"]
    assert rows["transfer/torch"]["pinned"] is None and rows["c3d/bfloat16/32/torch_eager"]["peak_mb"] is None
    for case in rows["pooling"]["cases"]:
        assert case["largest_difference"]["value"] == 0 and case["largest_difference"]["gradient"] < 0.1
