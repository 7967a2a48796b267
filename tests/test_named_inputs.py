"""Networks of other inputs than RGB alone, from files to the result row: trained, resumed, evaluated, in every form."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tests import named_inputs, toy
from vidjax import benchmark, configuration, evaluate
from vidjax.building import bind
from vidjax.checks import check_config
from vidjax.data.inputs import RGB
from vidjax.data.packing import pack
from vidjax.errors import ConfigError
from vidjax.preparation import prepare
from vidjax.train import train_and_evaluate
from vidjax.training import parallel

# name -> source, model, the result row's inputs.
NETWORKS = {
    "flow": ("flow", "FlowNet", "flow 4x32x32"),
    "two_stream": ("rgb_and_flow", "TwoStream", "rgb 4x32x32 + flow 4x32x32"),
    "pose": ("rgb_and_pose", "PoseNet", "rgb 4x32x32 + pose 4x2"),
    "pair": ("pair", "Pair", "rgb 4x32x32 + rgb_2 4x32x32"),
}
AUGMENTED = {"preprocessing.flip": True, "preprocessing.rotation": 5.0, "preprocessing.zoom": 0.1}

networks = pytest.mark.parametrize("name", NETWORKS)


def config_of(name, root, **more):
    source, model, _ = NETWORKS[name]
    overrides = {
        "data.factory": f"tests.named_inputs:{source}",
        "data.root": str(root),
        "model.factory": f"tests.named_inputs:{model}",
        "data.frames": 4,
        "data.short_side": 40,
        "data.crop": 36,
        "data.crop_position": "random",
        "preprocessing.crop": 32,
        "preprocessing.mean": 100.0,
        "train.batch_size": 8,
        "train.steps": 4,
        "train.log_every": 1,
        "train.validate_every": 4,
        "checkpoint.every": 2,
        "evaluate.batch_size": 8,
        "evaluate.samples": 2,
        "parallel": "jit",
        **AUGMENTED,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    given = {key: value for key, value in overrides.items() if value is not ...}
    return configuration.load(f"{toy.ROOT}/configs/default.py", given)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


def losses_of(run, steps=2):
    state, found = run.form.put_state(run.new_state()), []
    step = run.train_step()
    with run.training_batches(0) as batches:
        for _ in range(steps):
            state, metrics = step(state, run.form.put_batch(next(batches)))
            total, count = jax.device_get(metrics["loss"])
            found.append(float(total / count))
    return found


@networks
def test_trains_resumes_and_is_evaluated(name, root, tmp_path):
    config = config_of(name, root, evaluate__flip=True, evaluate__crops="three", evaluate__crop=20)
    workdir = tmp_path / "run"
    result = train_and_evaluate(config, workdir)
    assert result["finished"] and result["inputs"] == NETWORKS[name][2].replace("32x32", "20x20") + ", stride 2"
    assert result["views"] == 3 * 3 * 2 and (workdir / "report.html").is_file()
    before = json.loads((workdir / "predictions" / "test.json").read_text())
    assert len(before["videos"]) == 4 and not before["failed"]

    shutil.rmtree(workdir / "checkpoints" / "4")  # as if it had been killed after step 2
    for path in ("result.json", "predictions/test.json"):
        (workdir / path).unlink()
    lines = (workdir / "metrics.jsonl").read_text()
    train_and_evaluate(config, workdir)
    assert (workdir / "metrics.jsonl").read_text() == lines
    assert json.loads((workdir / "predictions" / "test.json").read_text()) == before

    again = evaluate.evaluate(config, workdir)
    assert (again["video_top1"], again["inputs"]) == (result["video_top1"], result["inputs"])


@networks
def test_learns(name, root):
    """Mirrored, warped and cropped, each input still tells the two motions apart."""
    run = prepare(config_of(name, root, train__steps=80, optimizer__learning_rate=3e-3))
    losses = losses_of(run, 80)
    assert np.mean(losses[-10:]) < 0.5 < 0.6 < losses[0]


@networks
def test_gives_the_same_in_every_form(name, root):
    run = prepare(config_of(name, root))
    expected = losses_of(run)
    for form in (parallel.Pmap, parallel.Sharded):
        other = dataclasses.replace(run, form=form(jax.devices()[:4]))
        np.testing.assert_allclose(losses_of(other), expected, rtol=1e-4)


@networks
def test_gives_the_same_from_every_place(name, root, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    run = prepare(config_of(name, root, data__cache="none"))
    expected = losses_of(run)
    for options in ({"data__cache": "memory"}, {"data__cache": "disk"}, {"data__cache": "disk"}, {"data__workers": 2}):
        assert losses_of(prepare(config_of(name, root, **options))) == expected
    pack(run.source, tmp_path / "packed")
    packed = config_of(name, tmp_path / "packed", data__factory=..., data__name="packed")
    found = prepare(packed)
    assert found.source.fingerprint() == run.source.fingerprint() and found.inputs == run.inputs
    assert losses_of(found) == expected


@pytest.mark.slow
def test_i3d_learns_from_flow(root, tmp_path):
    """`model.in_channels=2` is the network of flow; the published one has no other difference."""
    overrides = {
        **{"data.factory": "tests.named_inputs:flow", "data.root": str(root), "model.in_channels": 2},
        **{"data.frames": 8, "data.stride": 1, "data.short_side": 40, "data.crop": 36, "preprocessing.crop": 32},
        **{"train.steps": 2, "train.batch_size": 4, "train.validate_every": 2, "checkpoint.every": 1},
        **{"evaluate.batch_size": 4, "evaluate.clips": 1, "parallel": "jit", "preprocessing.flip": True},
    }
    config = configuration.load(f"{toy.ROOT}/configs/i3d.py", overrides)
    result = train_and_evaluate(config, tmp_path / "run")
    assert result["finished"] and result["inputs"] == "flow 8x32x32, stride 1"
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
    (tmp_path / "run" / "result.json").unlink()
    train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == lines
    assert evaluate.evaluate(config, tmp_path / "run")["video_top1"] == result["video_top1"]


def test_is_measured(root):
    measured = benchmark.measure(config_of("pose", root), steps=2)
    assert measured["flops_per_step"] > 0


def test_an_input_that_the_data_do_not_have(root):
    with pytest.raises(
        ConfigError, match="takes 'rgb', and the videos of toy have no 'rgb' .they have: flow.*NAME|rgb=STR"
    ):
        prepare(config_of("flow", root, model__factory="tests.toy:Net"))
    run = prepare(config_of("flow", root, model__factory="tests.toy:Net", data__inputs="flow"))
    assert run.shapes(32) == {"rgb": (4, 32, 32, 2)} and run.describe_inputs(32) == "flow 4x32x32"
    with pytest.raises(ConfigError, match="mix images, and pose is none"):
        prepare(config_of("pose", root, preprocessing__mixup=0.2))


def test_each_argument_is_bound_to_a_stream():
    flow = named_inputs.FLOW
    (same,) = bind(["rgb"], [RGB, flow], None, model="m", source="s")
    assert same == RGB
    (bound,) = bind(["rgb"], [RGB, flow], "flow", model="m", source="s")
    assert (bound.name, bound.stream_name, bound.shape) == ("rgb", "flow", (2,))
    one, two = bind(["rgb", "rgb_2"], [RGB, flow], "rgb_2=rgb", model="m", source="s")
    assert (one.name, one.stream_name, two.name, two.stream_name) == ("rgb", "rgb", "rgb_2", "rgb")
    with pytest.raises(ConfigError, match="takes no 'flo'; did you mean 'flow'"):
        bind(["rgb", "flow"], [RGB, flow], "flo=rgb", model="m", source="s")
    with pytest.raises(ConfigError, match="have no 'flwo'; did you mean 'flow'"):
        bind(["rgb"], [RGB, flow], "flwo", model="m", source="s")


def test_a_flip_that_an_input_forbids_is_refused(root, monkeypatch):
    fixed = dataclasses.replace(named_inputs.FLOW, mirror="forbidden")
    monkeypatch.setattr(named_inputs, "FLOW", fixed)
    with pytest.raises(ConfigError, match="preprocessing.flip=True, but flow must not be mirrored"):
        prepare(config_of("flow", root))
    with pytest.raises(ConfigError, match="evaluate.flip=True, but flow must not be mirrored"):
        prepare(config_of("flow", root, preprocessing__flip=False, evaluate__flip=True))


def test_moments_of_each_channel_come_from_the_config(root):
    config = config_of("two_stream", root)
    check_config(config)
    run = prepare(config)
    batch = next(iter(run.training_batches(0)))
    seen, _ = run.preprocessing.training(batch, jax.random.key(0))
    assert abs(np.asarray(seen["flow"])).max() <= 2.0 + 1e-6 and np.asarray(seen["rgb"]).min() < -1
