import json
from pathlib import Path

import pytest

from tests import toy
from vidjax import cli, models
from vidjax.cli import benchmark
from vidjax.config.preparation import prepare

ROOT = Path(__file__).resolve().parents[2]
MORE = {**toy.NET, "evaluate.crop": 40}  # views are larger than the clips that are trained on


def words(root, *more, **overrides):
    keys = toy.overrides(root, train__log_every=2, **MORE, **overrides)
    given = [f"--config.{key}={value}" for key, value in keys.items()]
    return ["benchmark", f"--config={ROOT / 'configs' / 'early_fusion.py'}:folder", *given, *more]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """In an empty folder, with a short measurement of the peak."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "_PEAK_SECONDS", 0.01)


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_the_numbers_fit_each_other(parallel, toy_folder, tmp_path, capsys):
    assert cli.main(words(toy_folder, "--steps=5", "--json", parallel=parallel)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 5 and found["parallel"] == parallel
    assert found["devices"] == {"jit": 1, "pmap": 8}[parallel]
    assert ("since pmap is used" in found["convolutions"]) == (parallel == "pmap")
    assert sum(found["loop"].values()) == pytest.approx(found["seconds"] / 5)
    assert 0 <= found["loop"]["other"] < found["seconds"] / 5
    assert found["steps_per_second"] == pytest.approx(5 / found["seconds"])
    assert found["clips_per_second"] == pytest.approx(8 * found["steps_per_second"])
    assert min(found["parts"].values()) >= 0 and found["parts"]["step"] > 0
    profiled = found["step_time"]
    of_parts = profiled["parts"].values()
    assert sum(times["seconds"] for times in of_parts) == pytest.approx(profiled["seconds"])
    assert all(times["forward"] + times["backward"] <= times["seconds"] * 1.001 for times in of_parts)
    expected = {"preprocessing", "convolutions", "normalization", "pooling", "recurrent layers", "optimizer"}
    assert expected <= {*profiled["parts"]} and {"conv1", "norm1"} <= {*profiled["layers"]}
    assert profiled["parts"]["convolutions"]["backward"] > 0 and profiled["parts"]["starting the step"]["seconds"] > 0
    first = found["first_step"]
    assert 0 < first["trace"] + first["lower"] + first["compile"] <= first["total"]
    # Counted at the size that training sees, not at that of the views.
    config = toy.config(toy_folder, **MORE)
    macs = models.summary(prepare(config, ("train",)).model, rgb=(1, 2, 36, 36, 3)).macs
    assert found["flops_per_step"] == 3 * 2 * macs * 8
    assert found["mfu"] == pytest.approx(found["flops_per_step"] * found["steps_per_second"] / found["peak"]["float32"])
    assert found["memory"] == {"bytes": found["memory"]["bytes"], "of": "process"}
    assert 1e8 < found["memory"]["bytes"] < 1e11
    assert not list(tmp_path.iterdir())


def test_the_table_and_a_profile(toy_folder, tmp_path, capsys):
    assert cli.main(words(toy_folder, "--steps=2", "--profile=shown", parallel="jit", native_convolutions=True)) == 0
    printed = capsys.readouterr().out
    for part in (
        "clips/s",
        "waiting for data",
        "host to device",
        "where a step goes",
        "slowest layers: ",
        "first step",
        "convolutions: XLA's own\n",
        "peak memory",
        "MFU",
        "1 device(s) (CPU",
    ):
        assert part in printed
    assert "https://ui.perfetto.dev" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["shown"]
    assert list(tmp_path.glob("shown/plugins/profile/*/perfetto_trace.json.gz"))


@pytest.mark.parametrize(
    "more, message",
    [
        (["--steps=0"], "--steps=0: give at least 1"),
        (["--config.train.batch_size=0"], "train.batch_size=0: give at least 1"),
        (["--config.train.bach_size=8"], "unknown config key 'train.bach_size'"),
        (["--profile=file/in"], "--profile=file/in"),
    ],
)
def test_errors_are_one_line(more, message, toy_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(words(toy_folder, *more)) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"error: {message}")
