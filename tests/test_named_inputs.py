"""Networks of other inputs than RGB alone, from files to the result row: trained, resumed, evaluated, in every form."""

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from tests import named_inputs, toy
from tests.refusals import refused
from vidjax import evaluate
from vidjax.cli import benchmark
from vidjax.config import flat, loading, stored
from vidjax.config.building import bind_inputs
from vidjax.config.preparation import prepare
from vidjax.config.validation import check_config
from vidjax.data.inputs import RGB, Input
from vidjax.data.packed.packing import pack
from vidjax.errors import ConfigError, DataError
from vidjax.models import i3d
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
    return loading.load(f"{toy.ROOT}/configs/default.py", given)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


def losses_of(run, steps=2):
    state, found = run.strategy.put_state(run.new_state()), []
    step = run.train_step()
    with run.training_batches(0) as batches:
        for _ in range(steps):
            state, metrics = step(state, run.strategy.put_batch(next(batches)))
            total, count = jax.device_get(metrics["loss"])
            found.append(float(total / count))
    return found


def batches_of(run):
    with run.training_batches(0) as batches:
        return list(itertools.islice(batches, 2))


@networks
def test_trains_resumes_and_is_evaluated(name, root, tmp_path):
    config = config_of(name, root, evaluate__flip=True, evaluate__crops="three", evaluate__crop=20)
    workdir = tmp_path / "run"
    result = train_and_evaluate(config, workdir)
    assert result.finished and result.inputs == NETWORKS[name][2].replace("32x32", "20x20") + ", stride 2"
    assert result.views == 3 * 3 * 2 and (workdir / "report.html").is_file()
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
    assert (again.video_top1, again.inputs) == (result.video_top1, result.inputs)


def blanked(batches, name):
    """Batches without one of the inputs."""
    for batch in batches:
        inputs = {key: np.zeros_like(value) if key.startswith(name) else value for key, value in batch.inputs.items()}
        yield batch._replace(inputs=inputs)


@pytest.mark.parametrize(
    "name, without", [("flow", "none"), ("two_stream", "rgb"), ("pose", "rgb"), ("pair", "rgb_2"), ("flow", "flow")]
)
def test_each_input_tells_the_motions_apart(name, without, root):
    """Mirrored, warped and cropped; of two inputs one alone suffices, and without the only one nothing is learned."""
    run = prepare(config_of(name, root, train__steps=80, optimizer__learning_rate=3e-3))
    state, step, losses = run.strategy.put_state(run.new_state()), run.train_step(), []
    with run.training_batches(0) as batches:
        for batch in itertools.islice(blanked(batches, without), 80):
            state, metrics = step(state, run.strategy.put_batch(batch))
            losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    learned = np.mean(losses[-10:]) < 0.55
    assert learned == (name != without)


@pytest.mark.parametrize("name", ["two_stream", "pose"])  # pictures, flow and points with a mask
def test_gives_the_same_in_every_form(name, root):
    run = prepare(config_of(name, root))
    expected = losses_of(run)
    for strategy in (parallel.PmapStrategy, parallel.ShardedStrategy):
        other = dataclasses.replace(run, strategy=strategy(jax.devices()[:4]))
        np.testing.assert_allclose(losses_of(other), expected, rtol=1e-4)


@networks
def test_gives_the_same_from_every_place(name, root, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    run = prepare(config_of(name, root, data__cache="none"))
    expected = batches_of(run)
    for options in ({"data__cache": "memory"}, {"data__cache": "disk"}, {"data__cache": "disk"}, {"data__workers": 2}):
        other = prepare(config_of(name, root, **options))
        assert other.inputs == run.inputs
        jax.tree.map(np.testing.assert_array_equal, batches_of(other), expected)
    pack(run.source, tmp_path / "packed")
    packed = config_of(name, tmp_path / "packed", data__factory=..., data__name="packed")
    found = prepare(packed)
    assert found.source.fingerprint() == run.source.fingerprint() and found.inputs == run.inputs
    jax.tree.map(np.testing.assert_array_equal, batches_of(found), expected)
    assert losses_of(found) == losses_of(run)


@pytest.mark.slow
def test_i3d_learns_from_flow(root, tmp_path, monkeypatch):
    """`model.in_channels=2` is the network of flow; the published one has no other difference. Of two modules."""
    monkeypatch.setattr(i3d, "_MIXED", {name: i3d._MIXED[name] for name in ("Mixed_3b", "Mixed_5c")})
    overrides = {
        **{"data.factory": "tests.named_inputs:flow", "data.root": str(root), "model.in_channels": 2},
        **{"data.frames": 8, "data.stride": 1, "data.short_side": 40, "data.crop": 36, "preprocessing.crop": 32},
        **{"train.steps": 2, "train.batch_size": 4, "train.validate_every": 2, "checkpoint.every": 1},
        **{"evaluate.batch_size": 4, "evaluate.clips": 1, "parallel": "jit", "preprocessing.flip": True},
    }
    config = loading.load(f"{toy.ROOT}/configs/i3d.py", overrides)
    result = train_and_evaluate(config, tmp_path / "run")
    assert result.finished and result.inputs == "flow 8x32x32, stride 1"
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
    (tmp_path / "run" / "result.json").unlink()
    train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == lines
    assert evaluate.evaluate(config, tmp_path / "run").video_top1 == result.video_top1


def test_is_measured(root):
    measured = benchmark.measure(config_of("pose", root), steps=2)
    assert measured["flops_per_step"] > 0


def test_an_input_that_the_data_do_not_have(root):
    with refused(ConfigError, "'tests.toy:Net'", "'rgb'", "toy", "flow", "--config.data.inputs=rgb=STREAM"):
        prepare(config_of("flow", root, model__factory="tests.toy:Net"))
    run = prepare(config_of("flow", root, model__factory="tests.toy:Net", data__inputs="flow"))
    assert run.shapes(32) == {"rgb": (4, 32, 32, 2)} and run.describe_inputs(32) == "flow 4x32x32"
    with refused(ConfigError, "preprocessing.mixup", "preprocessing.cutmix", "pose"):
        prepare(config_of("pose", root, preprocessing__mixup=0.2))


def test_a_mask_that_there_is_none_of(root, monkeypatch):
    class NeedsMask(named_inputs.FlowNet):
        def __call__(self, flow, *, flow_mask, train=False):
            return super().__call__(flow)

    monkeypatch.setattr(named_inputs, "FlowNet", NeedsMask)
    with refused(ConfigError, "'tests.named_inputs:FlowNet'", "'flow_mask'"):
        prepare(config_of("flow", root))


def test_each_argument_is_bound_to_a_stream():
    flow = named_inputs.FLOW
    (same,) = bind_inputs(["rgb"], [RGB, flow], None, model="m", source="s")
    assert same == RGB
    (bound,) = bind_inputs(["rgb"], [RGB, flow], "flow", model="m", source="s")
    assert (bound.name, bound.stream_name, bound.shape) == ("rgb", "flow", (2,))
    one, two = bind_inputs(["rgb", "rgb_2"], [RGB, flow], "rgb_2=rgb", model="m", source="s")
    assert (one.name, one.stream_name, two.name, two.stream_name) == ("rgb", "rgb", "rgb_2", "rgb")
    with refused(ConfigError, "data.inputs='flo=rgb'", "'flo'", "'flow'", "rgb, flow"):
        bind_inputs(["rgb", "flow"], [RGB, flow], "flo=rgb", model="m", source="s")
    with refused(ConfigError, "'rgb'", "'flwo'", "'flow'", "rgb, flow"):
        bind_inputs(["rgb"], [RGB, flow], "flwo", model="m", source="s")


def test_a_flip_that_an_input_forbids_is_refused(root, monkeypatch):
    fixed = dataclasses.replace(named_inputs.FLOW, mirror="forbidden")
    monkeypatch.setattr(named_inputs, "FLOW", fixed)
    with refused(ConfigError, "preprocessing.flip=True", "flow"):
        prepare(config_of("flow", root))
    with refused(ConfigError, "evaluate.flip=True", "flow"):
        prepare(config_of("flow", root, preprocessing__flip=False, evaluate__flip=True))


def test_moments_of_each_channel_come_from_the_config_where_the_record_has_none(root):
    overrides = {"preprocessing__mean": (100.0, 110.0, 120.0), "preprocessing__std": "(1,2,4)"}
    config = config_of("two_stream", root, **overrides)
    check_config(config)
    assert config.preprocessing.std == (1.0, 2.0, 4.0)
    again = stored.load_stored(json.loads(flat.to_json(config)), factories_of(config))
    run = prepare(again)
    with run.training_batches(0) as batches:
        batch = next(batches)._replace(mirrored=None)
    seen = run.preprocessing.evaluation(batch)
    rgb, flow = (batch.inputs[name][:, :, 2:34, 2:34].astype(np.float32) for name in ("rgb", "flow"))
    np.testing.assert_allclose(seen["rgb"], (rgb - [100, 110, 120]) / [1, 2, 4], rtol=1e-6)
    np.testing.assert_allclose(seen["flow"], (flow - 128) / 16, rtol=1e-6)
    with refused(ConfigError, "preprocessing.mean=(1.0, 2.0)", "3", "rgb"):
        prepare(config_of("two_stream", root, preprocessing__mean=(1.0, 2.0)))


def factories_of(config):
    return {"model.factory": config.model.factory, "data.factory": config.data.factory}


def test_files_that_cannot_be_read_are_named_with_their_place(root, tmp_path):
    for name in ("flow", "two_stream"):
        config = config_of(name, tmp_path / name)
        prepare(config)  # makes the files
        for path in (tmp_path / name).glob("*.flow.npy"):
            path.write_bytes(b"no longer an array")
        with refused(DataError, "8", "train0", tmp_path / name / "train0.flow.npy"):
            prepare(config)


def test_an_evaluation_reads_no_training_file(root, tmp_path):
    place = tmp_path / "streams"
    shutil.copytree(root, place) if any(root.iterdir()) else None
    config = config_of("flow", place)
    prepare(config)  # makes what is missing
    named_inputs_made = list(place.glob("train*"))
    for path in named_inputs_made:
        path.write_bytes(b"no longer an array")
    run = prepare(config, ("test",))
    assert named_inputs_made and not run.source.refused


def test_a_run_goes_on_with_its_data_packed(root, tmp_path):
    config = config_of("two_stream", root)
    train_and_evaluate(config, tmp_path / "run")
    pack(prepare(config).source, tmp_path / "packed")
    packed = config_of("two_stream", tmp_path / "packed", data__factory=..., data__name="packed")
    assert evaluate.evaluate(packed, tmp_path / "run").inputs.startswith("rgb 4x32x32 + flow")


def test_a_run_does_not_go_on_with_another_record(root, tmp_path, monkeypatch):
    config = config_of("flow", root)
    train_and_evaluate(config, tmp_path / "run")
    monkeypatch.setattr(named_inputs, "FLOW", dataclasses.replace(named_inputs.FLOW, std=(8.0, 8.0)))
    with refused(DataError, tmp_path / "run", "'flow'", "std", "--workdir"):
        evaluate.evaluate(config, tmp_path / "run")


def test_key_points_alone(root, tmp_path):
    """No image anywhere: nothing is cut, and the report has no pictures."""
    config = config_of(
        "pose", root, model__factory="tests.named_inputs:PointsNet", data__factory="tests.named_inputs:pose"
    )
    result = train_and_evaluate(config, tmp_path / "run")
    assert result.inputs == "pose 4x2, stride 2" and result.resolution == "4x2"
    assert (tmp_path / "run" / "report.html").read_text().rstrip().endswith("</html>")


def test_other_pictures_of_the_same_frames_have_names():
    (gray,) = bind_inputs(["rgb"], [RGB], "gray", model="m", source="s")
    assert (gray.name, gray.stream_name, gray.seen) == ("rgb", "rgb", "gray")
    assert gray.model_shape(5, 8) == (5, 8, 8, 1) and gray.example_shape(5, 8) == (5, 8, 8, 3)
    rgb, flow = bind_inputs(["rgb", "flow"], [RGB], "flow=gradient", model="m", source="s")
    assert rgb == RGB and (flow.name, flow.stream_name, flow.seen) == ("flow", "rgb", "gradient")
    assert flow.model_shape(1, 8) == (1, 8, 8, 2)
    (difference,) = bind_inputs(["rgb"], [RGB], "difference", model="m", source="s")
    assert difference.example_shape(5, 8) == (10, 8, 8, 3) and difference.model_shape(5, 8) == (5, 8, 8, 3)
    assert Input.from_json(difference.to_json()) == difference and "seen" not in RGB.to_json()
    with refused(ConfigError, "gray", "flow"):
        bind_inputs(["rgb"], [dataclasses.replace(RGB, name="flow")], "gray", model="m", source="s")
