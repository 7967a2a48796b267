"""`benchmarks.growth`: sizes, tables, and a run on tiny clips."""

import json

import pytest

from benchmarks import growth
from vidjax.reporting import readme


def test_frames_and_side_grow_and_each_clip_is_measured_once_a_round(tmp_path):
    measured = growth.sizes(["c3d_small", "mobilenet_v2", "lstm"])
    shapes = {name: {axis: [n.shape for n in each] for axis, each in axes.items()} for name, axes in measured.items()}
    assert shapes["c3d_small"]["frames"] == [(4, 16 * n, 56, 56, 3) for n in (1, 2, 4)]
    assert shapes["c3d_small"]["side"] == [(4, 16, 56 * n, 56 * n, 3) for n in (1, 2, 4)]
    assert shapes["mobilenet_v2"] == {"side": [(16, 56 * n, 56 * n, 3) for n in (1, 2, 4)]}
    assert shapes["lstm"] == {"frames": [(32, 16 * n, 512) for n in (1, 2, 4)]}
    tasks = list(growth.plan(measured, ["vidjax"], 2, 1.0, tmp_path))
    assert len(tasks) == 2 * len({task.kind for task in tasks}) == 2 * (5 + 3 + 3)
    assert [task.kind for task in tasks[:11]] != [task.kind for task in tasks[11:]], "the order changes"


def test_what_is_computed_is_counted_for_every_network():
    ratios = {}
    for name, axes in growth.sizes(list(growth.BASES)).items():
        *_, of_axis = axes.values()
        ratios[name] = growth.macs(of_axis[-1]) / growth.macs(of_axis[0])
    # Products over channels: eight of 512 x 512 for each step, and the classifier.
    assert growth.macs(growth.sizes(["lstm"])["lstm"]["frames"][0]) == 16 * 8 * 512**2 + 512 * 101
    assert ratios.pop("lstm") == pytest.approx(4, rel=0.01)
    assert all(13 < ratio < 18 for ratio in ratios.values()) and len(ratios) == 5  # nearly that of the area


def test_time_is_compared_with_what_is_computed(tmp_path):
    measured = growth.sizes(["lstm"])
    ms = {"32 x 16x512": 10.0, "32 x 32x512": 20.0, "32 x 64x512": 30.0}

    def outcomes():
        for task in growth.plan(measured, ["vidjax", "torch_eager"], 2, 1.0, tmp_path):
            size = growth.Network.of(task.arguments["network"]).size
            is_ours = task.arguments["implementation"] == "vidjax"
            yield task, {"wall_ms": [ms[size]] * 3} if is_ours or size == "32 x 16x512" else {"error": "MemoryError"}

    table = growth.table(growth.gather(outcomes()), measured).set_index(["implementation", "clips"])
    ours = table.loc["vidjax"]
    # Nearly all of it is in proportion to the frames.
    over = [float(text.split()[0]) for text in ours["over MACs (range)"]]
    assert over == pytest.approx([1.0, 1.0, 0.75], abs=0.01)
    assert ours.loc["4x frames", "ms/clip (range)"] == "0.94 (0.94 to 0.94)"
    assert table.loc[("torch eager", "2x frames"), "over MACs (range)"] == "failed"


def test_it_measures_and_writes_what_the_docs_show(tmp_path, capsys):
    out = tmp_path / "growth.json"
    options = ["--tiny", "--rounds", "1", "--seconds", "0.02", "--out", str(out)]
    growth.main(["--models", "lstm", "--implementations", "vidjax", *options])
    assert "4x frames" in capsys.readouterr().out
    of_size = json.loads(out.read_text())["samples"]["growth"]["lstm"]["vidjax"]
    assert {*of_size} == {"4 x 5x8", "4 x 10x8", "4 x 20x8"} and all(len(each) == 1 for each in of_size.values())
    assert "| LSTM, tiny, 4 x 20x8 | 4x frames | vidjax |" in readme.benchmark_block(out)
