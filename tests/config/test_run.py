"""From a config to the parts of a run: nothing that a key says is lost on the way."""

import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.refusals import refused
from vidjax.config import loading, run_validation
from vidjax.config.preparation import prepare
from vidjax.config.validation import check_config
from vidjax.data.records import Batch, Source, Video
from vidjax.data.sources.partition import check_source
from vidjax.errors import ConfigError, DataError, DuplicateError, EmptyPartError, UnknownKeyError
from vidjax.models import Output
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.preprocessing.warp import Warp

ROOT = Path(__file__).resolve().parents[2]


def constant(root, **overrides):
    """A config whose model has nothing to compile."""
    return toy.config(root, **{**toy.CONSTANT, **overrides})


def prepared(root, **overrides):
    """A run on the toy folder; an override that is ... is not given."""
    return prepare(constant(root, **overrides))


def test_statistics_of_groups_are_the_same_in_every_form(toy_folder):
    """`batch_norm.*` from the config to the state that is evaluated."""
    keys = {**toy.NET, "optimizer.freeze": "norm1", "batch_norm.group_size": 2, "batch_norm.precise_batches": 2}
    stats = {}
    for form in ("jit", "pmap"):
        run = prepared(toy_folder, **keys, parallel=form)
        assert run.model.group_size == 2
        state = run.strategy.put_state(run.new_state())
        state, _ = run.train_step()(state, run.strategy.put_batch(next(run.training_batches(0))))
        before = jax.device_get(state.model_state["batch_stats"])
        stats[form] = jax.device_get(run.with_precise_statistics(state).model_state["batch_stats"])
        jax.tree.map(np.testing.assert_array_equal, stats[form]["norm1"], before["norm1"])
        assert abs(stats[form]["norm2"]["mean"] - before["norm2"]["mean"]).max() > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), stats["jit"], stats["pmap"])


def test_views_that_the_weights_do_not_fit_are_refused(toy_folder):
    keys = {"model.factory": ..., "model.name": "c3d_small", "model.width_multiplier": 0.04, "preprocessing.crop": 16}
    with refused(ConfigError, "'c3d_small'", "(2, 40, 40, 3)", "evaluate.crop", "(2, 16, 16, 3)"):
        run_validation.check_run(prepared(toy_folder, **keys, **{"evaluate.crop": 40, "model.normalization": "batch"}))


# Of each key of config.preprocessing a value that no default has.
PREPROCESSING = {
    "crop": 34,
    "flip": True,
    "rotation": 7.0,
    "zoom": 0.11,
    "shift": 0.12,
    "brightness": 0.13,
    "contrast": 0.14,
    "saturation": 0.15,
    "erasing": 0.16,
    "erasing_area_min": 0.17,
    "erasing_area_max": 0.18,
    "erasing_aspect_min": 0.19,
    "mixup": 0.21,
    "cutmix": 0.22,
    "mean": 23.0,
    "std": 24.0,
}


def test_every_preprocessing_key_arrives(toy_folder):
    keys = {f"preprocessing.{name}": value for name, value in PREPROCESSING.items()}
    run = prepared(toy_folder, **keys, **{"data.mirror": "invariant"})
    assert set(run.config.preprocessing) == set(PREPROCESSING), "a key is new: give it a value above"
    assert run.preprocessing == Preprocessing(
        crop=34,
        flip=True,
        mirror="invariant",
        warp=Warp(7.0, 0.11, 0.12),
        color=ColorJitter(0.13, 0.14, 0.15),
        erasing=Erasing(probability=0.16, area_min=0.17, area_max=0.18, aspect_min=0.19),
        mixing=Mixing(0.21, 0.22),
        mean=23.0,
        std=24.0,
    )


@pytest.mark.parametrize("key", ["evaluate.crops=ten", "evaluate.flip=True"])
@pytest.mark.parametrize("mirror, tokens", [(..., ("data.mirror=invariant",)), ("forbidden", ())])
def test_mirrored_test_views_need_the_sources_leave(toy_folder, key, mirror, tokens):
    name, value = key.split("=")
    override = {name: value == "True" or value, "data.mirror": mirror, "preprocessing.crop": 30}
    with refused(ConfigError, key, *tokens):
        prepared(toy_folder, **override)
    assert prepared(toy_folder, **{**override, "data.mirror": "invariant"})


@pytest.mark.parametrize(
    "overrides",
    [
        {"evaluate.crops": "three", "data.resize": "squash"},
        {"evaluate.crops": "three", "data.resize": "letterbox"},
        {"evaluate.crops": "ten", "data.resize": "squash", "data.crop_position": "random", "data.mirror": "invariant"},
    ],
)
def test_crops_that_would_all_be_the_same_are_refused(toy_folder, overrides):
    square = {"data.size": 40, "data.short_side": None, "preprocessing.crop": 40}
    with refused(
        ConfigError,
        f"evaluate.crops={overrides['evaluate.crops']}",
        "40x40",
        "evaluate.crops=center",
        "preprocessing.crop",
    ):
        prepared(toy_folder, **{**square, **overrides})
    prepared(toy_folder, **{**square, **overrides, "preprocessing.crop": 36})


def test_ten_crops_of_a_center_that_is_seen_whole_are_refused(toy_folder):
    with refused(ConfigError, "evaluate.crops=ten", "data.crop=40", "preprocessing.crop", "data.crop_position=random"):
        prepared(toy_folder, **{"evaluate.crops": "ten", "data.mirror": "invariant", "preprocessing.crop": 40})


def test_mixing_needs_pairs_in_every_part(toy_folder):
    mixing = {"preprocessing.mixup": 0.2, "train.batch_size": 6}
    assert prepared(toy_folder, **mixing)
    with refused(ConfigError, "train.batch_size=6", "preprocessing.mixup", "4"):
        prepared(toy_folder, **mixing, **{"train.grad_accum_steps": 2})
    with refused(ConfigError, "train.batch_size=7", "preprocessing.mixup", "2"):
        prepared(toy_folder, **{**mixing, "train.batch_size": 7})


@pytest.mark.parametrize("key, value", [("crop", 0), ("crop", -3), ("mean", float("nan")), ("std", 0.0)])
def test_values_out_of_range_are_named(key, value):
    with refused(ConfigError, f"preprocessing.{key}={value}"):
        check_config(constant("nowhere", **{f"preprocessing.{key}": value}))


class Pixels(nn.Module):
    """Scores are sums of pixels."""

    num_classes: int

    @nn.compact
    def __call__(self, rgb, train=False):
        return Output(nn.Dense(self.num_classes)(rgb[:, :, ::4, ::4].reshape(len(rgb), -1))[:, None])


def test_accumulation_mixes_the_same_pairs(toy_folder):
    """Without batch statistics, the mean gradient over the parts is that of the batch, mixtures included."""
    rng = np.random.default_rng(0)
    batch = Batch(
        inputs={"rgb": rng.integers(0, 256, (8, 2, 40, 40, 3), dtype=np.uint8)},
        label=rng.integers(0, 2, 8).astype(np.int32),
        index=np.arange(8, dtype=np.int32),
        mask=np.ones(8, bool),
    )
    after = []
    for parts in (1, 4):
        run = prepared(
            toy_folder,
            **{
                "model.factory": "tests.config.test_run:Pixels",
                "preprocessing.mixup": 1.0,
                "preprocessing.cutmix": 1.0,
                "train.batch_size": 8,
                "train.grad_accum_steps": parts,
                "optimizer.name": "sgd",
                "optimizer.learning_rate": 1.0,
                "optimizer.weight_decay": 0.0,
                "schedule.name": "constant",
                "schedule.warmup_fraction": 0.0,
            },
        )
        start = run.strategy.put_state(run.new_state())
        before = jax.tree.map(jnp.copy, start.params)
        state, _ = run.train_step()(start, run.strategy.put_batch(batch))
        after.append(jax.tree.map(lambda new, old: np.asarray(new - old), state.params, before))
    for expected, moved in zip(*map(jax.tree.leaves, after), strict=True):
        assert np.abs(moved - expected).max() <= 1e-4 * np.abs(expected).max()
        assert np.abs(expected).max() > 0


@pytest.mark.parametrize(
    "kind, tokens",
    [
        ("flat", ("(3, 2)", "3", "2", "[batch, positions, classes]")),
        ("more classes", ("(3, 1, 3)", "3", "2", "[batch, positions, classes]")),
        ("tuple", ("tuple", "vidjax.models.Output")),
        ("none", ("NoneType", "flax.linen.Module")),
        ("no train", ("rgb", "(2, 36, 36, 3)", "'train'")),
    ],
)
def test_a_model_of_ones_own_is_held_to_the_interface(toy_folder, monkeypatch, kind, tokens):
    from tests.evaluation import constant_model

    monkeypatch.setattr(
        constant_model, "Constant", lambda num_classes: _Own(kind, num_classes) if kind != "none" else None
    )
    with refused(ConfigError, *tokens):
        prepared(toy_folder)


def test_a_loss_of_ones_own_is_held_to_one_number_for_each_example(toy_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"loss_{tmp_path.name}"
    code = "def one(output, label):\n    return output.logits.mean(axis=(1, 2))\n"
    Path(f"{name}.py").write_text(code + "def mean(output, label):\n    return one(output, label).mean()\n")
    assert prepared(toy_folder, loss__factory=f"{name}:one").loss.func.__name__ == "one"
    with refused(ConfigError, f"{name}:mean", 3):
        prepared(toy_folder, loss__factory=f"{name}:mean")


def test_plain_logits_will_do(toy_folder, monkeypatch):
    from tests.evaluation import constant_model

    monkeypatch.setattr(constant_model, "Constant", lambda num_classes: _Own("array", num_classes))
    run = prepared(toy_folder)
    state = run.strategy.put_state(run.new_state())
    batch = run.strategy.put_batch(next(run.training_batches(0)))
    assert run.eval_step()(state, batch).scores.shape == (8, 2)
    state, metrics = run.train_step()(state, batch)
    assert np.isfinite(metrics["loss"][0])


class _Own(nn.Module):
    kind: str
    classes: int

    @nn.compact
    def __call__(self, rgb, **options):
        if self.kind == "no train" and options:
            raise TypeError("__call__() got an unexpected keyword argument 'train'")
        scores = nn.Dense(self.classes + (self.kind == "more classes"))(rgb.mean(axis=(1, 2, 3)))
        if self.kind in ("array", "tuple"):
            return scores if self.kind == "array" else (scores, scores)
        return Output(scores if self.kind == "flat" else scores[:, None])


def _videos(part, labels):
    return tuple(Video.of(f"{part}{i}", f"{part}{i}.avi", label, f"{part}{i}") for i, label in enumerate(labels))


@pytest.mark.parametrize(
    "parts, error, tokens",
    [
        ({"test": _videos("train", [0, 1])}, DuplicateError, ("train0",)),
        ({"train": _videos("train", [0, 1, 2])}, DataError, ("train2", "train", "2")),
        ({"test": ()}, EmptyPartError, ("test",)),
        ({"classes": ("a",), "train": _videos("train", [0]), "test": _videos("test", [0])}, DataError, ("a",)),
        (None, DataError, ("NoneType", "vidjax.data.Source")),
    ],
)
def test_a_source_of_ones_own_is_checked(parts, error, tokens):
    sound = {"train": _videos("train", [0, 1]), "validation": (), "test": _videos("test", [0, 1])}
    given = {"name": "own", "split": "1", "classes": ("a", "b"), **sound}
    check_source("own:load", Source(**given))
    with refused(error, "'own:load'", *tokens):
        check_source("own:load", Source(**{**given, **parts}) if parts is not None else None)


@pytest.mark.parametrize(
    "videos, bad, limit, told",
    [
        (62, 1, None, None),
        (62, 2, None, "0.033"),
        (62, 1, 0.0, "0.017"),
        (62, 1, 0.001, None),
        (13320, 133, None, None),
        (13320, 134, None, "0.011"),
        (100, 29, 0.28, "0.29"),  # 0.29 * 100 is less than 29 in floating point
        (100_000, 3, 0.00002, "0.00003"),
        (2, 1, None, None),
        (1, 1, 1.0, ""),
        (3, 3, 1.0, ""),
    ],
)
def test_how_many_videos_may_be_unreadable(videos, bad, limit, told):
    source = Source("own", "1", ("a", "b"), _videos("train", [0] * videos), (), _videos("test", [0]))
    reasons = {f"train{number}": "unreadable" for number in range(bad)}
    config = loading.load("configs/early_fusion.py", {"data.max_bad_fraction": limit})
    if told is None:
        run_validation.check_readable(source, reasons, config.data.max_bad_fraction)
        return
    advice = (bad, "data.max_bad_fraction=", f"--config.data.max_bad_fraction={told}") if told else ()
    with refused(DataError, videos, "train0", "unreadable", *advice) as caught:
        run_validation.check_readable(source, reasons, config.data.max_bad_fraction)
    if not told:
        assert "max_bad_fraction" not in str(caught.value)
        return
    enough = loading.load("configs/early_fusion.py", {"data.max_bad_fraction": told})
    run_validation.check_readable(source, reasons, enough.data.max_bad_fraction)


@pytest.mark.parametrize(
    "preset, overrides, error, tokens",
    [
        ("", {"train.steps": 5, "train.epochs": 2}, ConfigError, ("train.steps", "train.epochs")),
        ("", {"data.stride": 2, "data.fps": 12}, ConfigError, ("data.stride=2", "data.fps=12.0")),
        (
            "",
            {"schedule.warmup_steps": 9, "schedule.warmup_epochs": 1},
            ConfigError,
            ("schedule.warmup_steps", "schedule.warmup_epochs"),
        ),
        (
            "",
            {"schedule.warmup_steps": 9, "train.steps": 8},
            ConfigError,
            ("schedule.warmup_steps=9", "train.steps=8"),
        ),
        (
            "",
            {"schedule.warmup_epochs": 9, "train.epochs": 8},
            ConfigError,
            ("schedule.warmup_epochs=9", "train.epochs=8"),
        ),
        (
            "",
            {"schedule.name": "step", "schedule.boundaries": "(0.5,)", "schedule.decay_every_steps": 3},
            ConfigError,
            ("'step'", "schedule.boundaries", "schedule.decay_every_steps"),
        ),
        (
            "",
            {"schedule.name": "step", "schedule.boundaries": "(2.0,)"},
            ConfigError,
            ("schedule.boundaries=(2.0,)", "0", "1"),
        ),
        ("", {"schedule.name": "cosin"}, ConfigError, ("'cosin'", "'cosine'")),
        ("", {"schedule.power": 2}, UnknownKeyError, ("'cosine'", "'power'", "polynomial")),
        (
            "",
            {"model.name": "erly_fusion", "optimizer.name": "adamw"},
            ConfigError,
            ("'erly_fusion'", "'early_fusion'"),
        ),
        ("", {"model.alpha": 8}, UnknownKeyError, ("'early_fusion'", "'alpha'")),
        ("", {"optimizer.momentum": 0.9}, UnknownKeyError, ("'adamw'", "'momentum'")),
        ("", {"parallel": "pmp"}, ConfigError, ("parallel='pmp'", "auto, jit, pmap, sharded", "'pmap'")),
        (
            "",
            {"train.batch_size": 10, "train.grad_accum_steps": 4},
            ConfigError,
            ("train.batch_size=10", "train.grad_accum_steps=4"),
        ),
        ("", {"preprocessing.crop": 57}, ConfigError, ("preprocessing.crop=57", "data.crop=56")),
        ("", {"evaluate.crop": 57}, ConfigError, ("evaluate.crop=57", "data.crop=56")),
        ("", {"evaluate.weights": "ema"}, ConfigError, ("evaluate.weights=ema", "train.ema_decay")),
        (
            "",
            {"train.early_stopping_patience": 2, "train.validate_every": 0},
            ConfigError,
            ("train.early_stopping_patience=2", "train.validate_every"),
        ),
        ("", {"preprocessing.erasing_area_min": 0.1}, ConfigError, ("erasing_*", "preprocessing.erasing")),
        ("", {"loss.average": "logit"}, ConfigError, ("loss.average='logit'", "loss, logits", "'logits'")),
        ("", {"loss.reconstruction": 0.1}, UnknownKeyError, ("'cross_entropy'", "'reconstruction'", "margin")),
        ("", {"loss.name": "margin"}, ConfigError, ("loss.name=margin", "evaluate.average=probabilities")),
        ("", {"data.splits": "x"}, UnknownKeyError, ("'motion'", "'splits'", "ucf101")),
        ("", {"data.name": "ufc101"}, ConfigError, ("'ufc101'", "'ucf101'")),
        ("folder", {}, ConfigError, ("'folder'", "--config.data.root=")),
        ("", {"train.epochs": 0}, ConfigError, ("train.epochs=0.0", "0")),
    ],
)
def test_what_a_config_alone_gets_wrong(preset, overrides, error, tokens):
    with refused(error, *tokens):
        check_config(loading.load(f"configs/early_fusion.py:{preset}", overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        {"schedule.warmup_steps": 500, "train.epochs": 0.001},  # nobody knows how long that is
        {"schedule.warmup_epochs": 500, "train.steps": 1},
        {"schedule.warmup_epochs": 0.01, "schedule.warmup_from": 0.1, "train.steps": 1},
        {"schedule.warmup_epochs": 2, "train.epochs": 2},
    ],
)
def test_durations_that_depend_on_the_data_are_not_refused_before(overrides):
    check_config(loading.load("configs/early_fusion.py", overrides))


def test_checking_a_config_starts_no_back_end():
    """An experiment checks those of all its runs, and must leave the device to them."""
    program = """
from vidjax.config import loading, validation
from vidjax.training.optimizers import OPTIMIZERS
presets = ["early_fusion.py", "slowfast.py:motion_hard", "capsnet.py", "capsule_video.py:motion_hard", "i3d.py"]
configs = [loading.load(f"configs/{name}") for name in presets]
configs += [loading.load("configs/early_fusion.py", {"optimizer.name": name}) for name in OPTIMIZERS]
for config in configs:
    validation.check_config(config)
"""
    environment = {**os.environ, "JAX_PLATFORMS": "nonsense"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_model_cannot_be_applied_to_is_told_before_errors_of_the_data():
    overrides = {"data.root": "/nowhere", "preprocessing.crop": 8}
    config = loading.load("configs/early_fusion.py:folder", overrides)
    with refused(ConfigError, "'early_fusion'", "(10, 8, 8, 3)"):
        prepare(config)
