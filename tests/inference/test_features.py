"""Features computed once: the same numbers as without, nothing computed twice, and nothing that would not fit."""

import json
import shutil

import jax
import numpy as np
import pytest

from tests import toy
from tests.inference import frozen_model
from tests.refusals import refused
from vidjax import evaluate, models, train
from vidjax.config.preparation import prepare
from vidjax.data.clips import ClipSpec
from vidjax.errors import ConfigError
from vidjax.inference import features
from vidjax.preprocessing.pipeline import Preprocessing

MODEL = {
    "model.factory": "tests.inference.frozen_model:Frozen",
    "model.width_multiplier": ...,
    "optimizer.train_only": "classes",
    "optimizer.learning_rate": 0.05,
    "batch_norm.frozen": "running",
    "data.crop": 36,
    "data.short_side": 36,
    "data.training_views": 3,
    "preprocessing.brightness": 0.0,
    "preprocessing.contrast": 0.0,
    "preprocessing.saturation": 0.0,
    "train.epochs": ...,
    "train.steps": 12,
    "train.log_every": 1,
    "train.validate_every_fraction": ...,
    "train.validate_every": 4,
    "checkpoint.every": 4,
    "evaluate.clips": 2,
    "evaluate.shuffled": True,
    "train.monitor": "mean_class_accuracy",
    "loss.class_weights": "balanced",
    "data.balanced": True,
    "evaluate.samples": 0,
}


def config(root, **more):
    return toy.config(root, **{**MODEL, **more})


@pytest.fixture(scope="module")
def runs(toy_folder, tmp_path_factory):
    """The same run, on features and on videos: its directory by whether features were computed once."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        for once in (True, False):
            folders[once] = tmp_path_factory.mktemp(f"once{once}")
            train.train_and_evaluate(config(toy_folder, train__features_once=once), folders[once])
    return folders


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def scores(workdir, name="test"):
    return [video["scores"] for video in json.loads((workdir / "predictions" / f"{name}.json").read_text())["videos"]]


def test_the_same_numbers_as_from_videos(runs):
    with_features, without = (lines(runs[once]) for once in (True, False))
    assert [line["step"] for line in with_features] == [line["step"] for line in without]
    for key in ("loss", "top1", "gradient_norm"):
        values = [[line[key] for line in each if key in line] for each in (with_features, without)]
        assert len(values[0]) >= 12
        np.testing.assert_allclose(values[0], values[1], rtol=1e-5, err_msg=key)
    np.testing.assert_allclose(scores(runs[True]), scores(runs[False]), atol=1e-5)
    shuffled = [scores(workdir, "test_shuffled") for workdir in runs.values()]
    np.testing.assert_allclose(*shuffled, atol=1e-5)
    assert np.abs(np.subtract(shuffled[1], scores(runs[False]))).max() < 0.2, "the average over frames knows no order"
    results = [json.loads((runs[once] / "result.json").read_text()) for once in (True, False)]
    described = ("inputs", "resolution", "views_detail", "config_hash")
    for key in ("parameters", "gmacs_per_view", *described, "video_top1", "shuffled_top1"):
        assert results[0][key] == results[1][key], key


def test_every_crop_and_mirror_image_has_features_of_its_own(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    views = {"evaluate.crops": "three", "evaluate.flip": True, "data.mirror": "invariant"}
    found = []
    for once in (True, False):
        given = config(toy_folder, **views, train__features_once=once)
        run = prepare(given)
        state = run.strategy.put_state(run.new_state())
        run = features.reading_features(run, state) if once else run
        scored, _ = evaluate.predict(run, state, run.eval_step(), "test", _test_views(run))
        found.append([video.scores for video in scored.videos])
    np.testing.assert_allclose(*found, atol=1e-6)


def test_precise_statistics_of_the_head_are_those_of_the_features(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    head = {"model.norm_of_head": True, "optimizer.train_only": "classes,head", "batch_norm.frozen": ...}
    found = []
    for once in (True, False):
        run = prepare(config(toy_folder, **head, batch_norm__precise_batches=2, train__features_once=once))
        state = run.strategy.put_state(run.new_state())
        run = features.reading_features(run, state) if once else run
        found.append(jax.device_get(run.with_precise_statistics(state).model_state["batch_stats"]["head"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *found)


@pytest.mark.parametrize("parallel", ["pmap", "sharded"])
def test_several_devices_compute_the_same_features(parallel, toy_folder, tmp_path, monkeypatch):
    rows = []
    for name in ("jit", parallel):
        monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / name))
        run = prepare(config(toy_folder, parallel=name, train__features_once=True))
        state = run.strategy.put_state(run.new_state())
        run = features.reading_features(run, state)
        rows.append([np.load(video.path) for video in run.features.reading("test", _test_views(run)).videos])
        scored, _ = evaluate.predict(run, state, run.eval_step(), "test", _test_views(run))
        assert len(scored.videos) == len(rows[-1])
    np.testing.assert_allclose(*rows, atol=1e-5)


def test_frozen_means_bit_identical(runs, toy_folder):
    for once, workdir in runs.items():
        run = prepare(config(toy_folder, train__features_once=once))
        before = run.new_state()
        with train.Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            after, _ = checkpoints.restore(run.strategy.abstract_state(run.abstract_state))
        old, new = (jax.device_get((state.params, state.model_state)) for state in (before, after))
        for (path, was), now in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
            name = jax.tree_util.keystr(path)
            assert np.array_equal(was, now) == ("trunk" in name), name


def test_nothing_is_computed_twice_and_an_interrupted_computation_goes_on(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    run = prepare(config(toy_folder, train__features_once=True))
    state = run.strategy.put_state(run.new_state())
    written = []
    write = features.FeatureStore.write

    def counted(self, video, values):
        if len(written) == 5:
            raise KeyboardInterrupt
        write(self, video, values)
        written.append(video.id)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features.FeatureStore, "write", counted)
        features.reading_features(run, state)
    first = list(written)
    written.append("")  # counts no longer
    monkeypatch.setattr(features.FeatureStore, "write", counted)
    features.reading_features(run, state)
    source = run.source
    parts = (source.train, source.validation, source.test, source.test)  # at last with shuffled frames
    rest = [video.id for part in parts for video in part]
    assert first and written[len(first) + 1 :] == rest[len(first) :]
    count = len(written)
    features.reading_features(run, state)
    other = run.strategy.put_state(state.replace(params={**state.params, "classes": state.params["classes"]}))
    features.reading_features(run, other)
    assert len(written) == count, "the head changes no features"


def test_what_depends_on_the_weights_is_computed_anew(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    run = prepare(config(toy_folder, train__features_once=True))
    state = run.new_state()
    one = features.reading_features(run, run.strategy.put_state(state))
    other = jax.tree.map(lambda x: x * 2, jax.device_get(state.params))
    two = features.reading_features(run, run.strategy.put_state(state.replace(params=other)))
    rows = [np.load(each.features.reading("test", _test_views(run)).videos[0].path) for each in (one, two)]
    assert rows[0].shape == rows[1].shape == (2, 2, 4) and np.abs(rows[0] - rows[1]).max() > 1e-3


def test_seconds_are_those_of_the_videos_that_are_read(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    run = prepare(config(toy_folder, train__features_once=True))
    reader = features.reading_features(run, run.strategy.put_state(run.new_state())).features
    stores = list((tmp_path / "features").iterdir())
    assert len(stores) == 4, "training, validation, test, and test with shuffled frames, before they are read"
    for store in stores:
        (store / "seconds.json").write_text("10.0")
    assert reader.seconds == pytest.approx(40)
    for store in stores:  # as many videos of another run
        for file in list(store.glob("*.npy")):
            shutil.copy(file, store / f"other_{file.name}")
    assert reader.seconds == pytest.approx(20)


def _test_views(run):
    return evaluate.data.test_views(run.config)


def test_a_video_that_cannot_be_read_is_replaced_alike(toy_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    root = shutil.copytree(toy_folder, tmp_path / "videos")
    broken = sorted((root / "bright").iterdir())[0]
    broken.write_bytes(b"no video")
    losses = []
    for once in (True, False):
        workdir = tmp_path / f"run{once}"
        options = {"train__features_once": once, "data__max_bad_fraction": 0.5, "train__steps": 6}
        train.train_and_evaluate(config(root, **options), workdir)
        losses.append([line["loss"] for line in lines(workdir)])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    "key, value, tokens",
    [
        ("optimizer__train_only", "classes,trunk/norm", ["trunk/norm", "optimizer.train_only"]),
        ("batch_norm__frozen", ..., ["trunk/norm/mean", "batch_norm.frozen"]),
        ("preprocessing__flip", True, ["preprocessing.flip"]),
        ("preprocessing__brightness", 0.3, ["preprocessing.brightness"]),
        ("preprocessing__crop", 32, ["data.crop", "32"]),
        ("data__training_views", ..., ["data.training_views"]),
    ],
)
def test_what_would_change_is_refused(toy_folder, key, value, tokens):
    options = {"train.features_once": True, "data.mirror": "invariant", key.replace("__", "."): value}
    given = config(toy_folder, **options)
    with refused(ConfigError, "train.features_once", *tokens):
        features.check(prepare(given))


def test_a_model_without_features_is_refused(toy_folder):
    given = config(toy_folder, **toy.NET, train__features_once=True, optimizer__train_only="Dense_0")
    with refused(ConfigError, "train.features_once", "'tests.toy:Net'"):
        features.check(prepare(given))


def test_what_a_store_is_named_after():
    def named(model=None, clip=None, **preprocessing):
        specs = {"rgb": jax.ShapeDtypeStruct((1, 2, 36, 36, 3), np.float32)}
        seen = Preprocessing(**preprocessing)
        cut = clip or ClipSpec(frames=2, crop=36)
        model = model or frozen_model.Frozen(2)
        trunk = features.trunk_paths(model, specs, (2, 4))
        return features.settings_of(model, specs, seen, cut, native=False, trunk=trunk)

    class Other(frozen_model.Frozen):
        pass

    same = named()
    assert named(frozen_model.Frozen(5, dropout=0.1)) == same, "the head does not matter"
    assert named(clip=ClipSpec(frames=2, crop=36, training_views=3)) == same == named(flip=True, mirror="invariant")
    others = [named(Other(2)), named(clip=ClipSpec(frames=2, crop=36, stride=2)), named(mean=1.0), named(crop=32)]
    assert all(other != same for other in others) and "0x" not in repr([same, *others])
    sequences = [models.create("cnn_lstm", 2, width_multiplier=0.05, cell=cell) for cell in ("lstm", "gru", "max")]
    first, *others = map(named, sequences)
    assert others == [first, first], "nor what reads the features in turn"
