"""Runs that begin from the weights of another one, and what they say of it."""

import json
import shutil

import jax
import numpy as np
import pytest

from tests import toy
from tests.refusals import refused
from vidjax import train
from vidjax.config import loading
from vidjax.config.initial_weights import check_preprocessing
from vidjax.config.preparation import prepare
from vidjax.config.pretrained_recipe import BACKBONES
from vidjax.errors import ConfigError, DifferentRunError, VidjaxError
from vidjax.inference.network import load_network
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.sources import GivenWeights

FROZEN = {
    "model.factory": "tests.inference.frozen_model:Frozen",
    "model.width_multiplier": ...,
    "train.epochs": ...,
    "train.steps": 2,
    "evaluate.samples": 0,
    "train.ema_decay": 0.9,
}


def config(root, **more):
    return toy.config(root, **{**FROZEN, **more})


@pytest.fixture(scope="module")
def first(toy_folder, tmp_path_factory):
    """A finished run and its weights."""
    workdir = tmp_path_factory.mktemp("first")
    train.train_and_evaluate(config(toy_folder), workdir)
    return workdir, load_network(workdir, {"model.factory": FROZEN["model.factory"]}).variables


def begun(given):
    """The state with which a run begins."""
    run = prepare(given, given=train._given_weights(given))
    return jax.device_get(run.new_state()), run.initial_weights


def test_a_run_goes_on_from_another(first, toy_folder, tmp_path):
    workdir, variables = first
    state, _ = begun(config(toy_folder, weights__source=str(workdir)))
    for tree, wanted in ((state.params, "params"), (state.model_state["batch_stats"], "batch_stats")):
        jax.tree.map(np.testing.assert_array_equal, tree, variables[wanted])
    jax.tree.map(np.testing.assert_array_equal, state.ema, state.weights)
    train.train_and_evaluate(config(toy_folder, weights__source=str(workdir)), tmp_path)
    record = json.loads((tmp_path / "weights.json").read_text())
    assert record["taken"] == 7 and not record["initial"] and not record["unused"]


def test_a_resumed_run_does_not_read_them_again(first, toy_folder, tmp_path):
    source = shutil.copytree(first[0], tmp_path / "source")
    given = config(toy_folder, weights__source=str(source))
    train.train_and_evaluate(given, tmp_path / "run")
    shutil.rmtree(source)
    (tmp_path / "run" / "result.json").unlink()
    assert train.train_and_evaluate(given, tmp_path / "run").finished


def test_the_head_of_other_classes_is_left_and_said(first, toy_folder, tmp_path):
    root = shutil.copytree(toy_folder, tmp_path / "videos")
    (root / "dark").rename(root / "night")
    state, weights = begun(config(root, weights__source=str(first[0])))
    assert weights.head == ("params/classes/bias", "params/classes/kernel")
    assert any("classes/kernel" in line for line in weights.describe())
    np.testing.assert_array_equal(
        state.params["trunk"]["conv"]["kernel"], first[1]["params"]["trunk"]["conv"]["kernel"]
    )
    assert np.abs(state.params["classes"]["kernel"] - first[1]["params"]["classes"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize(
    "keys, tokens",
    [
        ({"weights__skip": "clases"}, ["weights.skip", "'classes'"]),
        ({"weights__skip": ".*"}, ["weights.skip"]),
        ({"weights__source": ..., "weights__skip": "classes"}, ["weights.skip", "weights.source"]),
        ({"weights__source": ..., "weights__inflate": "center"}, ["weights.inflate", "weights.source"]),
        ({"model__hidden": 4}, ["weights.skip", "'params/more/kernel'"]),
    ],
)
def test_what_does_not_fit_is_named(first, toy_folder, keys, tokens):
    given = {"weights.source": str(first[0]), **{key.replace("__", "."): value for key, value in keys.items()}}
    with refused(VidjaxError, *tokens):
        begun(config(toy_folder, **given))


@pytest.mark.parametrize(
    "name, keys, tokens",
    [
        ("efficientnet-lite0-imagenet", {"model.variant": "torch"}, ["model.variant=keras"]),
        ("mobilenet-v2-imagenet-keras", {"preprocessing.mean": 127.5}, ["model.variant=keras"]),
        ("mobilenet-v2-imagenet", {"model.variant": "keras"}, ["model.variant=torch"]),
        ("mobilenet-v2-imagenet", {"preprocessing.mean": 127.5}, ["--config.preprocessing.mean=123.675,116.28,103.53"]),
        ("i3d-kinetics400", {"preprocessing.std": 58.0}, ["--config.preprocessing.std=127.5"]),
    ],
)
def test_pixels_and_padding_other_than_those_of_the_weights_are_refused(name, keys, tokens):
    given = GivenWeights.published(CATALOG[name], {}, name, "")
    file = f"{toy.ROOT}/configs/pretrained.py:folder,backbone={given.model}"
    with refused(ConfigError, name, *tokens):
        check_preprocessing(loading.load(file, keys), given)


@pytest.mark.parametrize("backbone, name", BACKBONES.items())
def test_the_recipe_shows_each_network_what_its_weights_were_trained_on(backbone, name):
    given = GivenWeights.published(CATALOG[name], {}, name, "")
    check_preprocessing(loading.load(f"{toy.ROOT}/configs/pretrained.py:folder,backbone={backbone}"), given)


def test_an_unknown_name_is_refused(toy_folder):
    with refused(ConfigError, "'i3d-kinetics40'", "'i3d-kinetics400'"):
        begun(config(toy_folder, weights__source="i3d-kinetics40"))


def test_weights_of_another_network_are_named_as_such(first, toy_folder):
    given = toy.config(toy_folder, model__normalization="batch", weights__source="i3d-kinetics400")
    weights = GivenWeights.published(
        CATALOG["i3d-kinetics400"], {"params/x/kernel": np.zeros(1)}, "i3d-kinetics400", ""
    )
    with refused(ConfigError, "weights.source=i3d-kinetics400", "'i3d'", "model.name=early_fusion"):
        prepare(given, given=weights)


def test_pixels_other_than_those_of_the_other_run_are_refused(first, toy_folder):
    with refused(ConfigError, "preprocessing.mean=10.0", "117"):
        begun(config(toy_folder, weights__source=str(first[0]), preprocessing__mean=10.0))


def test_another_length_says_how_to_train_on(first, toy_folder):
    workdir = first[0]
    with refused(DifferentRunError, workdir, "train.steps", f"--config.weights.source={workdir}"):
        train.train_and_evaluate(config(toy_folder, train__steps=3), workdir)
    given = config(toy_folder, weights__source="i3d-kinetics400", weights__skip="pooler")
    assert train._how_to_go_on(["train.steps: 4 -> 6"], given, workdir).endswith(" --config.weights.skip=None")
    assert not train._how_to_go_on(["train.steps: 4 -> 6", "seed: 0 -> 1"], given, workdir)
