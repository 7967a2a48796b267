"""Trained networks are read from a run directory alone, wherever it lies, and from published weights."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tests.golden import snapshot
from tests.refusals import refused
from vidjax import pretrained
from vidjax.data.inputs import RGB
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, VidjaxError
from vidjax.inference.network import load_network, published
from vidjax.models import MODELS
from vidjax.pretrained import CATALOG, Pretrained
from vidjax.training.checkpoints import Checkpoints


def leaves(variables):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def copied(run, folder, **changes):
    """A copy of a run directory whose config says something else: section -> key -> value."""
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    for section, values in changes.items():
        config[section] |= values
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_without_its_data(trained_run):
    network = load_network(trained_run)
    assert (network.classes, network.inputs, network.views) == (("bright", "dark"), (RGB,), ViewSpec(clips=2))
    assert (network.weights, network.step, network.mirror, network.side) == ("ema", 12, "invariant", 36)
    assert (network.average, network.batch_size, network.notes) == ("probabilities", 8, ())
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves(network.variables).values())
    assert network.variables.keys() == {"params", "batch_stats"}
    (spec,) = network.specs(3).values()
    assert spec.shape == (3, 2, 36, 36, 3)
    scores = network.scores(network.variables, {"rgb": np.zeros(spec.shape, np.float32)})
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def test_which_weights(trained_run):
    by_name = {name: load_network(trained_run, {"evaluate.weights": name}) for name in ("last", "ema", "best")}
    assert [network.step for network in by_name.values()][:2] == [12, 12] and by_name["best"].step in (4, 8, 12)
    last, ema = (leaves(by_name[name].variables) for name in ("last", "ema"))
    assert last.keys() == ema.keys() and any((last[name] != ema[name]).any() for name in last)
    with Checkpoints(trained_run / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.latest_step()
    assert step == 12


def test_views_are_those_of_the_run_or_as_asked(trained_run):
    assert load_network(trained_run, {"evaluate.clips": "5", "evaluate.flip": "True"}).views == ViewSpec(5, flip=True)
    with refused(ConfigError, "data.frames"):
        load_network(trained_run, {"data.frames": "5"})
    with refused(ConfigError, "evaluate.crop=41", "data.crop=40", "evaluate.crops=three"):
        load_network(trained_run, {"evaluate.crop": "41"})
    assert load_network(trained_run, {"evaluate.crop": "40"}).side == 40


def test_a_run_of_an_older_version_has_its_classes_from_its_result(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(snapshot.FOLDER / "run", folder)
    network = load_network(folder)
    assert network.classes == tuple(json.loads((folder / "result.json").read_text())["classes"])
    assert network.weights == json.loads((folder / "result.json").read_text())["weights"]
    with refused(ConfigError, "data.json", "evaluate.flip"):
        load_network(folder, {"evaluate.flip": "True"})
    (folder / "result.json").unlink()
    with refused(DataError, "data.json", "result.json"):
        load_network(folder)


def test_a_checkpoint_of_another_network_is_refused_by_the_parameter(trained_run, tmp_path):
    folder = copied(trained_run, tmp_path / "run", model={"width_multiplier": 0.1})
    with refused(VidjaxError, "checkpoints", "params/classifier"):
        load_network(folder)


def test_precise_statistics_are_said_to_be_lost(trained_run, tmp_path):
    folder = copied(trained_run, tmp_path / "run", batch_norm={"precise_batches": 3})
    (note,) = load_network(folder).notes
    assert "batch_norm.precise_batches" in note and "3" in note


def test_a_factory_is_code_and_must_be_typed_again(trained_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {key: value for key, value in config["data"].items() if key not in ("root", "mirror")}
    config["data"] |= {"factory": "my_package.that_is_gone:load", "my_option": 3}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_network(folder).classes == ("bright", "dark"), "the code that made the data is not needed"
    config["model"] = {"name": "early_fusion", "factory": "tests.toy:Net"}
    (folder / "config.json").write_text(json.dumps(config))
    with refused(ConfigError, "model.factory=tests.toy:Net"):
        load_network(folder)


def test_neither_a_run_nor_a_name(tmp_path):
    with refused(ConfigError, "'i3d'", "i3d-kinetics400"):
        load_network("i3d")
    with refused(DataError, "config.json"):
        load_network(tmp_path)


@pytest.mark.parametrize("frames, views", [(64, ViewSpec()), (1, ViewSpec(clips=10))])
def test_published_weights(frames, views):
    info = CATALOG["i3d-kinetics400"]
    info = dataclasses.replace(info, preprocessing=dataclasses.replace(info.preprocessing, frames=frames))
    network = published(Pretrained(MODELS["i3d"](info.num_classes), {}, info))
    assert network.sees_whole_videos == (frames > 1) and network.views == views
    assert network.clip.frames == frames and network.side == 224 and len(network.classes) == 400
    assert pretrained.CATALOG[network.name] is CATALOG["i3d-kinetics400"]
