"""`benchmarks.train_step` and `benchmarks.convolutions`, on tiny networks and operations."""

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import convolutions, train_step
from benchmarks.train_step import IMPLEMENTATIONS
from tests.refusals import unnamed
from vidjax.reporting import readme


def outcome(ms, **others):
    times = {"wall_ms": [ms, ms + 1, ms + 2], "cpu_ms": 2 * ms, "system_ms": ms / 4}
    return {**times, "first_step_s": 9.0, "compile_s": 5.0, "peak_mb": 400.0}


def test_all_take_turns(tmp_path):
    measured = train_step.chosen_networks(["lstm", "c3d_small"])
    tasks = list(train_step.plan(measured, list(IMPLEMENTATIONS), 2, 5.0, tmp_path))
    starts = [task.kind.rpartition(", ")[2] for task in tasks]
    assert starts[:8] == ["filling the cache"] * 8 and "filling the cache" not in starts[8:]
    first, second = tasks[8:26], tasks[26:]
    assert {task.kind for task in first} == {task.kind for task in second} and len(second) == 18
    assert [task.kind for task in first] != [task.kind for task in second], "the order changes"
    caches = {}
    for task in tasks:
        if task.arguments["implementation"] == "torch_compile":
            caches.setdefault(task.kind, []).append(task.environment["TORCHINDUCTOR_CACHE_DIR"])
    cold, warm, filled = (caches[f"lstm, torch.compile, {word}"] for word in ("cold", "warm", "filling the cache"))
    assert len({*cold, *warm}) == 3 and set(warm) == set(filled)
    native = {t.kind: t.environment["JAX_COMPILATION_CACHE_DIR"] for t in tasks if "JAX native" in t.kind}
    assert native["lstm, JAX native, cold"] is None
    assert native["lstm, JAX native, warm"] == native["lstm, JAX native, filling the cache"]


def test_the_tables_say_what_was_measured_and_what_failed(tmp_path):
    ms = {"jax_native": 40.0, "vidjax": 12.0, "torch_eager": 10.0}

    measured = train_step.chosen_networks(["lstm"])

    def outcomes():
        for task in train_step.plan(measured, list(IMPLEMENTATIONS), 3, 5.0, tmp_path):
            name = task.arguments["implementation"]
            yield task, outcome(ms[name]) if name in ms else {"error": "InvalidCxxCompiler: No working C++ compiler"}

    samples = train_step.gather(outcomes())
    assert len(samples["lstm"]["vidjax"]["cold"]) == len(samples["lstm"]["vidjax"]["warm"]) == 3
    steps = train_step.step_table(samples, measured).set_index("implementation")
    assert steps.loc["vidjax", "ms/step (quartiles)"] == "13.0 (12.0 to 14.0)"
    assert steps.loc["vidjax", "over the better torch (range)"] == "1.18 (1.18 to 1.18)"
    assert steps.loc["vidjax", "over JAX native (range)"] == "0.32 (0.32 to 0.32)"
    assert steps.loc["vidjax", ["CPU ms/step", "kernel's ms/step"]].tolist() == ["24.0", "3.0"]
    assert "No working C++ compiler" in steps.loc["torch.compile", "ms/step (quartiles)"]
    starts = train_step.start_table(samples, measured).set_index("implementation")
    assert starts.loc["torch eager", "first step s, warm"] == "-" and "torch.compile" not in starts.index


def test_other_batches_are_networks_of_their_own_without_the_native_form(tmp_path):
    measured = train_step.chosen_networks(["c3d_small", "lstm"], [8, 32])
    assert [network.key for network in measured] == ["c3d_small", "lstm", "c3d_small/8", "c3d_small/32", "lstm/8"]
    assert measured[3].shape == (32, 16, 112, 112, 3)
    tasks = list(train_step.plan(measured, ["jax_native", "vidjax", "torch_eager"], 1, 5.0, tmp_path))
    implementations = {task.arguments["implementation"] for task in tasks if "/" in task.kind}
    assert implementations == {"vidjax", "torch_eager"}
    samples = train_step.gather((task, outcome(2.0 if "/" in task.kind else 1.0)) for task in tasks)
    steps = train_step.step_table(samples, measured).set_index(["network, batch", "implementation"])
    assert steps.loc[("LSTM, 8 x 16x512", "vidjax"), "ms/step (quartiles)"] == "3.00 (2.50 to 3.50)"
    assert steps.loc[("LSTM, 32 x 16x512", "vidjax"), "ms/step (quartiles)"] == "2.00 (1.50 to 2.50)"
    starts = train_step.start_table(samples, measured)
    assert {*starts["network"]} == {"C3D small", "LSTM", "C3D small, 8 x 16x112x112", "C3D small, 32 x 16x112x112"} | {
        "LSTM, 8 x 16x512"
    }


def test_it_measures_in_processes_and_writes_what_the_readme_shows(tmp_path, capsys):
    out = tmp_path / "train_step.json"
    options = ["--tiny", "--rounds", "1", "--seconds", "0.05", "--batches", "2", "4", "--out", str(out)]
    train_step.main(["--models", "lstm", "--implementations", "vidjax", *options])
    said = capsys.readouterr()
    assert (
        "[4/6] lstm, vidjax, warm" in said.err
        and "[6/6] lstm/2, vidjax, warm" in said.err
        and "LSTM, tiny" in said.out
        and "[1/6]" not in said.out
    )
    of_this = json.loads(out.read_text())["samples"]["train_step"]["lstm"]["vidjax"]
    ((cold,), (warm,)) = of_this["cold"], of_this["warm"]
    assert 0 < cold["compile_s"] < cold["first_step_s"] and cold["peak_mb"] > 50 and len(cold["wall_ms"]) >= 5
    assert warm["compile_s"] < cold["compile_s"]
    block = readme.benchmark_block(out)
    assert "| LSTM, tiny, 4 x 5x8 | vidjax |" in block and "| LSTM, tiny, 2 x 5x8 | vidjax |" in block


def test_without_torch_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(train_step.processes, "run_all", lambda tasks: iter([]))
    train_step.main(["--implementations", "vidjax", "torch_eager"])
    assert not unnamed(capsys.readouterr().out, "eager", "requirements-bench.txt")
    with pytest.raises(SystemExit):
        train_step.main(["--implementations", "torch_eager"])


@pytest.mark.parametrize("wrong", [["--models", "alexnet"], ["--rounds", "0"], ["--seconds", "-1"], ["--batches", "0"]])
def test_wrong_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        train_step.main(wrong)
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["1x3x3_strided", "depthwise_3x3", "3x1x1"])
def test_all_compute_the_same_convolution(name):
    operation = convolutions.OPERATIONS[name].shrunk()
    wanted = {kind: np.asarray(call()) for kind, call in convolutions.passes(operation, "jax_native").items()}
    assert wanted["forward"].shape == operation.output and wanted["input gradient"].shape == operation.shape
    others = ["vidjax"] + (list(convolutions.TORCH) if importlib.util.find_spec("torch") else [])
    for implementation in others:
        for kind, call in convolutions.passes(operation, implementation).items():
            got = np.asarray(call())
            if implementation in convolutions.TORCH:
                places = ((0, 1), (-1, -2)) if kind == "kernel gradient" else (1, -1)
                got = np.moveaxis(got, *places)
            np.testing.assert_allclose(got, wanted[kind], atol=1e-4 * abs(wanted[kind]).max())


def test_every_convolution_has_a_row_for_each_pass():
    ms = {"vidjax": 2.0, "torch_last": 1.0, "torch_first": 4.0}

    def outcomes():
        for task in convolutions.plan(["3x3", "3x1x1"], list(convolutions.IMPLEMENTATIONS), 2, 1.0):
            name = task.arguments["implementation"]
            timed = {kind: {"wall_ms": [ms.get(name)], "cpu_ms": ms.get(name)} for kind in convolutions.PASSES}
            yield task, timed if name in ms else {"error": "MemoryError: none left"}

    table = convolutions.table(convolutions.gather(outcomes()))
    assert len(table) == 6 and table["vidjax over the better torch (range)"][0] == "2.00 (2.00 to 2.00)"
    assert set(table["JAX native, ms"]) == {"failed"} and set(table["vidjax over JAX native"]) == {"-"}
