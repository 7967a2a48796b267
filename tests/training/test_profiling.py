"""Profiles written by hand, in microseconds, of a program whose operations are known."""

import jax
import pytest

from tests.training.test_operation_kinds import MODULES, TEXT
from vidjax.training import profiling

LOOP = [(0, 100, "vidjax measured"), (0, 20, "vidjax: data"), (20, 30, "vidjax: step"), (90, 95, "vidjax: metrics")]


def plane(name, lines):
    """One plane as text: name of a line -> events (start, end, name, program); "name#3" is call 3, ended elsewhere."""
    known, text = {}, ""
    for number, (line, events) in enumerate(lines.items()):
        text += f'lines {{ id: {number} name: "{line}"\n'
        for start, end, event, *program in events:
            event, _, call = event.partition("#")
            key = known.setdefault(event, len(known) + 1)
            text += f"events {{ metadata_id: {key} offset_ps: {start}000000 duration_ps: {end - start}000000\n"
            if call:
                text += f"stats {{ metadata_id: {5 if event.startswith('end: ') else 4} uint64_value: {call} }}"
            if program and program[0]:
                text += f'stats {{ metadata_id: 1 str_value: "{event}" }}'
                text += f'stats {{ metadata_id: 2 str_value: "{program[0]}" }}'
                text += "stats { metadata_id: 3 int64_value: 7 }" if "host" in name else ""
            if event == "MemcpyH2D":
                text += 'stats { metadata_id: 6 str_value: "size:1" }'
            text += "}\n"
        text += "}\n"
    for event, key in known.items():
        text += f'event_metadata {{ key: {key} value {{ id: {key} name: "{event}" }} }}\n'
    for key, stat in enumerate(("hlo_op", "hlo_module", "run_id", "_p", "_c", "memcpy_details"), start=1):
        text += f'stat_metadata {{ key: {key} value {{ id: {key} name: "{stat}" }} }}\n'
    return f'planes {{ name: "{name}"\n{text}}}\n'


def step_time(*planes):
    found = profiling.step_time(jax.profiler.ProfileData.from_text_proto("".join(planes)), TEXT, MODULES)
    seconds = {row: round(1e6 * times["seconds"], 3) for row, times in found.parts.items()}
    assert sum(seconds.values()) == pytest.approx(1e6 * found.seconds) == 100
    return seconds, found


def test_threads_of_a_cpu_share_the_time_and_the_host_tells_why_it_waits():
    ours = "jit_train_step"
    workers = {
        "main": LOOP,
        # A loop with two operations in it, one of them on another thread; a run lasts from 30 to 80.
        "worker 1": [(30, 60, "while.3", ours), (40, 50, "conv.6", ours), (75, 80, "copy.5", ours), (5, 9, "Execute")],
        "worker 2": [(40, 50, "fusion", ours), (55, 60, "dot.7", ours), (80, 85, "dot.7", "jit_other")],
    }
    seconds, found = step_time(plane("/host:CPU", workers))
    assert seconds == {
        "waiting for data": 20,
        "starting the step": 10,
        "fetching metrics": 5,
        "rest of the loop": 10,
        "convolutions": 20,  # 10 and 5 of the loop alone, and half of the 10 that two threads share
        "dense layers": 5,
        "other operations of the network": 5,
        "copies and operations without a name": 5,
        "between operations": 15,
        "not attributed": 5,
    }
    assert found.parts["convolutions"]["forward"] == pytest.approx(15e-6)
    assert found.parts["convolutions"]["backward"] == pytest.approx(5e-6)
    assert found.layers == pytest.approx({"block/conv": 20e-6, "block": 10e-6})


def test_operations_that_outlast_their_call_last_until_their_end():
    ours = "jit_train_step"
    workers = {
        "main": LOOP,
        "worker 1": [(30, 40, "dot.7#3", ours), (70, 80, "copy.5", ours)],
        "worker 2": [(40, 50, "conv.6#4", ours), (50, 51, "end: conv.6#4"), (70, 71, "end: dot.7#3")],
    }
    seconds, _ = step_time(plane("/host:CPU", workers))
    assert seconds["dense layers"] == 35 and seconds["convolutions"] == 5
    assert "between operations" not in seconds and seconds["copies and operations without a name"] == 10


def test_streams_of_devices_are_averaged_and_kernels_without_a_name_are_not_attributed():
    ours = "jit_train_step"
    first = {
        "Stream #1(Compute)": [(25, 60, "conv.6", ours), (60, 80, "gemm")],
        "Stream #2(MemcpyH2D)": [(0, 30, "MemcpyH2D")],
        "Steps": [(0, 100, "1")],
    }
    second = {"Stream #1(Compute)": [(20, 100, "conv.6", ours)]}
    host = plane("/host:CPU", {"main": LOOP, "worker": [(0, 100, "fusion", ours)]})
    seconds, _ = step_time(host, plane("/device:GPU:0", first), plane("/device:GPU:1", second))
    assert seconds == {
        "waiting for data": 20,
        "fetching metrics": 2.5,
        "rest of the loop": 7.5,
        "convolutions": 57.5,
        "between operations": 2.5,
        "not attributed": 10,
    }


def test_only_the_line_of_operations_of_a_tpu_counts():
    lines = {"XLA Ops": [(20, 60, "conv.6", "jit_train_step")], "XLA Modules": [(0, 100, "jit_train_step")]}
    seconds, _ = step_time(plane("/host:CPU", {"main": LOOP}), plane("/device:TPU:0", lines))
    assert seconds["convolutions"] == 40 and "not attributed" not in seconds
